"""The text of each target, from made-up runs."""

import pytest

from mere_ds.evaluation.report.runs import Row, load_rows
from mere_ds.reproduction.plan import TARGETS
from mere_ds.reproduction.reporting import text_of
from tests.evaluation.report.made_up import knobs, make_many_run, make_run

RUNS = {
    "mERE": (knobs("mERE"), 0.9, (1, 6)),
    "another seed": (knobs("mERE", 1), 0.8, (1, 6)),
    "layers": (knobs("mERE", submodule_layers=(1, 1, 1, 3, 3, 3)), 0.5, ()),
    "T": (knobs("mERE", submodule_layers=(1, 2, 3)), 0.5, ()),
    "LS": (knobs("mERE-LS", concatenate=2), 0.8, ()),
    "s": (knobs("mERE-LS", concatenate=3), 0.2, ()),
}
SHOWS = {
    "table 2": ["Table 2", "mERE ", "mERE-LS ", "paper"],
    "table 3": ["Table 3", "1-3"],
    "sweep T": ["Table 3", "layers 1,2"],
    "sweep k": ["k = 1", "k = 3", "k = 6"],
    "figure 6": ["All scores", "mERE-LS ", "mERE-LS, s = 3", "±"],
    "all": ["Table 2", "Table 3", "k = 1", "s = 3"],
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Row]:
    root = tmp_path_factory.mktemp("runs")
    folders = [make_run(root / name, told, right=right, ks=ks) for name, (told, right, ks) in RUNS.items()]
    return load_rows(map(str, folders))


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_has_its_text(rows, target):
    said = text_of(target, rows)
    for word in SHOWS.get(target, SHOWS["table 2"]):
        assert word in said


def test_runs_of_any_number_of_triples_show_their_tables_too(tmp_path):
    rows = load_rows([str(make_many_run(tmp_path / "run", knobs("mERE")))])
    said = text_of("table 2", rows)
    for title in ("Table 2", "Precision, recall", "By kind of overlap", "By label", "What scores mean"):
        assert title in said
