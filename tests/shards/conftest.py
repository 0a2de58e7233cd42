from pathlib import Path

import pytest

from mere_ds.shards.manifest import Manifest
from tests.shards.toy_corpus import make_shards, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def manifest(corpus, tmp_path_factory) -> Manifest:
    """Shards of 40 sentences; tests do not change them."""
    return make_shards(corpus, tmp_path_factory.mktemp("shards") / "out")
