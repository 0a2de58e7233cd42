"""Names of rows from what decided a training."""

import pytest

from mere_ds.evaluation.report.rows import PAPERS_ORDER, deciding_knobs, layers_label, order, row_name, variant, varied
from mere_ds.runs.resume import STAGE_ONE, START, WEIGHTS
from tests.evaluation.made_up_runs import ingredients_of


@pytest.mark.parametrize(
    ("system", "languages", "name"),
    [
        ("mERE", "all", "mERE"),
        ("HERBERTa", "all", "HERBERTa"),
        ("mERE", "EURO", "mERE (EURO)"),
        ("mERE", "en,es,de,pt,fr,it", "mERE (EURO)"),
        ("mERE", "svo", "mERE (SVO)"),
        ("mERE", "de,ko", "mERE (de,ko)"),
        ("mERE-LS-LA", "uk", "mERE-LS-LA (MONO)"),
        ("mERE-LS-LA", "de,uk", "mERE-LS-LA (de,uk)"),
        ("mBERT", "uk", "mBERT (uk)"),
    ],
)
def test_row_names(system, languages, name):
    assert row_name(system, languages) == name


def both_stages(**knobs) -> dict:
    return {f"stage{stage}": ingredients_of(stage, **knobs) for stage in (1, 2)}


def test_only_what_decides_scores_tells_rows_apart():
    one, other = both_stages(run="a"), both_stages(seed=1, run="b", log_every=7)
    other["stage1"]["global batch"] = 16
    other["stage2"][STAGE_ONE] = "7" * 64
    assert not varied([deciding_knobs(one), deciding_knobs(other)])
    faster = both_stages(seed=2, learning_rate=1e-3, concatenate=4)
    knobs = [deciding_knobs(told) for told in (one, other, faster)]
    assert set(varied(knobs)) == {"learning_rate", "concatenate"}
    assert variant(knobs[2], ["concatenate", "learning_rate"]) == "s = 4, learning_rate = 0.001"
    assert variant(knobs[0], varied(knobs)) == "learning_rate = 3e-05", "the paper's s has no name"


def test_other_data_other_weights_and_another_precision_tell_rows_apart():
    one, other = (deciding_knobs({"stage1": ingredients_of(1, shards=digit * 64)}) for digit in "56")
    assert varied([one, other]) == ["shards"] and variant(other, ["shards"]) == "shards = 666666666666"
    for name, values, shown in (
        (WEIGHTS, (None, "8" * 64), "encoder weights"),
        ("precision", "ab", "training precision"),
    ):
        assert varied(deciding_knobs({"stage1": ingredients_of(1) | {name: value}}) for value in values) == [shown]


@pytest.mark.parametrize(("name", "shown"), [(WEIGHTS, "encoder weights"), (START, "start")])
def test_weights_that_stage_one_started_from_tell_runs_of_two_stages_apart(name, shown):
    """Stage two starts from stage one, and records none."""
    one, other = (
        {stage: told | {name: digit * 64 if stage == "stage1" else None} for stage, told in both_stages().items()}
        for digit in "89"
    )
    assert varied([deciding_knobs(one), deciding_knobs(other)]) == [shown]
    assert variant(deciding_knobs(one), [shown]) == f"{shown} = 888888888888"


def test_a_knob_that_a_run_does_not_know_varies_nothing():
    own, elses = both_stages(), {"stage2": ingredients_of(2)}
    assert "concatenate" not in deciding_knobs(elses)
    assert not varied([deciding_knobs(own), deciding_knobs(elses)])


@pytest.mark.parametrize(
    ("layers", "label"),
    [([1, 1, 1, 2, 2, 2], "1-2"), ([4] * 6, "4-4"), ([1, 2], "1,2"), ([1, 2, 1, 2, 2, 2], "1,2,1,2,2,2"), ([3], "3")],
)
def test_layers_are_named_as_in_table_3(layers, label):
    assert layers_label(layers) == label


def test_rows_stand_in_the_papers_order_and_others_below():
    shuffled = ["zebra", "mERE-LS", "mERE, layers 1-3", "mERE", "HERBERTa"]
    assert sorted(shuffled, key=order) == ["HERBERTa", "mERE", "mERE, layers 1-3", "mERE-LS", "zebra"]
    assert sorted(PAPERS_ORDER, key=order) == list(PAPERS_ORDER)
