"""What holds for all tests: Hypothesis' profiles, and the marks that `make test-quick` chooses by."""

import os
from pathlib import Path

from hypothesis import settings

TESTS = Path(__file__).parent
FOLDERS = {"cluster": "cluster", "end_to_end": "slow", "hostile": "slow"}
"""Folder -> the mark of all tests in it. Other modules say `pytestmark = pytest.mark.slow`."""

# no deadline: on a loaded machine any example may take long
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "local"))


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in FOLDERS:
            item.add_marker(FOLDERS[folder])
        if "browser" in item.fixturenames:
            item.add_marker("browser")
