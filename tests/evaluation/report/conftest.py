"""Made-up runs of every kind, and their report."""

from pathlib import Path

import pytest

from mere_ds.evaluation.report.making import make_report
from tests.evaluation.report.made_up import TEXTS, knobs, make_many_run, make_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> list[str]:
    """Two seeds of mERE with a sweep of k, other layers, s = 2 and 3, EURO, a model a language, two more systems."""
    root = tmp_path_factory.mktemp("runs")
    folders = [
        make_run(root / "mERE-0", knobs("mERE", 0), right=0.9, ks=(1, 6)),
        make_run(root / "mERE-1", knobs("mERE", 1), right=0.9, ks=(1, 6)),
        make_run(root / "mERE-13", knobs("mERE", submodule_layers=(1, 1, 1, 3, 3, 3))),
        make_run(root / "EURO", knobs("mERE", languages="EURO"), ("de", "en")),
        make_run(root / "LS", knobs("mERE-LS")),
        make_run(root / "LS-3", knobs("mERE-LS", concatenate=3)),
        make_run(root / "LS-LA", knobs("mERE-LS-LA"), right=0.5),
        make_run(root / "mBERT", knobs("mBERT"), right=0.5),
        *(make_run(root / f"MONO-{x}", knobs("mERE-LS-LA", languages=x), (x,), right=0.4) for x in TEXTS),
    ]
    return [str(folder) for folder in folders]


@pytest.fixture(scope="session")
def page(runs, tmp_path_factory) -> Path:
    """index.html of the report of all these runs."""
    return make_report(runs, str(tmp_path_factory.mktemp("report")))


@pytest.fixture(scope="session")
def many_runs(tmp_path_factory) -> list[str]:
    """Of any number of triples: two seeds of mERE, and mBERT."""
    root = tmp_path_factory.mktemp("many")
    folders = [
        *(make_many_run(root / f"mERE-{seed}", knobs("mERE", seed)) for seed in (0, 1)),
        make_many_run(root / "mBERT", knobs("mBERT")),
    ]
    return [str(folder) for folder in folders]


@pytest.fixture(scope="session")
def many_page(many_runs, tmp_path_factory) -> Path:
    """index.html of the report of these runs."""
    return make_report(many_runs, str(tmp_path_factory.mktemp("report of many")))
