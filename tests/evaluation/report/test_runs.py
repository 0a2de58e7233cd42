"""Which runs share a row, and which folders are refused."""

import statistics

import pytest

from mere_ds.errors import UserError
from mere_ds.evaluation.report.runs import load_rows
from tests.evaluation.report.made_up import TEXTS, knobs, make_run


@pytest.fixture(scope="module")
def rows(runs):
    return {row.name: row for row in load_rows(runs)}


def test_rows_of_all_runs(rows):
    assert list(rows) == [
        *("mBERT", "mERE", "mERE, layers 1-3", "mERE (EURO)", "mERE-LS", "mERE-LS, s = 3"),
        *("mERE-LS-LA (MONO)", "mERE-LS-LA"),
    ]
    assert [result.name for result in rows["mERE"].results] == ["mERE, seed 0", "mERE, seed 1"]
    assert rows["mERE-LS, s = 3"].paper == "mERE-LS"


def test_a_model_a_language_is_one_result(rows):
    (result,) = rows["mERE-LS-LA (MONO)"].results
    assert len(result.runs) == len(TEXTS) and set(result.scores["languages"]) == set(TEXTS)
    own = [run.content["average"]["triple"] for run in result.runs]
    assert result.scores["average"]["triple"] == pytest.approx(statistics.mean(own))


def test_seeds_give_mean_and_deviation(rows):
    own = [run.content["average"]["triple"] for result in rows["mERE"].results for run in result.runs]
    value = rows["mERE"].triple(None)
    assert value["mean"] == pytest.approx(statistics.mean(own))
    assert value["deviation"] == pytest.approx(statistics.stdev(own))
    assert rows["mERE (EURO)"].triple("uk") is None


def test_folders_that_are_no_evaluated_run(tmp_path):
    with pytest.raises(UserError, match="RUN is missing"):
        load_rows([])
    with pytest.raises(UserError, match=r"evaluation/test.json: missing: run mere-ds evaluate "):
        load_rows([str(tmp_path)])
    with pytest.raises(UserError, match="no such folder"):
        load_rows([str(tmp_path / "elsewhere")])
    empty = make_run(tmp_path / "empty", knobs(), languages=())
    with pytest.raises(UserError, match="empty: run"):
        load_rows([str(empty)])


def test_the_same_settings_and_seed_twice_are_refused(tmp_path):
    one, other = (make_run(tmp_path / name, knobs("mBERT")) for name in "ab")
    with pytest.raises(UserError, match="are both mBERT with seed 0: pass only one of them"):
        load_rows([str(one), str(other)])
    assert len(load_rows([str(one), str(one)])) == 1, "one folder named twice is one run"
