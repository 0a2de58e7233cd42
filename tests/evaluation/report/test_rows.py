"""Names of rows from config.json alone."""

import pytest

from mere_ds.evaluation.report.rows import PAPERS_ORDER, deciding_knobs, layers_label, order, row_name, variant, varied
from tests.evaluation.report.made_up import config


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (config("mERE"), "mERE"),
        (config("HERBERTa"), "HERBERTa"),
        (config("mERE", languages="EURO"), "mERE (EURO)"),
        (config("mERE", languages="en,es,de,pt,fr,it"), "mERE (EURO)"),
        (config("mERE", languages="svo"), "mERE (SVO)"),
        (config("mERE", languages="de,ko"), "mERE (de,ko)"),
        (config("mERE-LS-LA", languages="uk"), "mERE-LS-LA (MONO)"),
        (config("mERE-LS-LA", languages="de,uk"), "mERE-LS-LA (de,uk)"),
        (config("mBERT", languages="uk"), "mBERT (uk)"),
        ({"stage1": config("mERE")["stage1"]}, "mERE-LS"),  # its second stage never began
        ({"stage2": config("mERE")["stage2"]}, "mERE"),  # its stage one is another run's
    ],
)
def test_row_names(told, name):
    assert row_name(told) == name


def test_only_what_decides_scores_tells_rows_apart():
    one, other = config("mERE", 0, run="a", global_batch=16), config("mERE", 1, run="b", global_batch=32)
    assert not varied([deciding_knobs(one), deciding_knobs(other)])
    faster = config("mERE", 2, learning_rate=1e-3, concatenate=3)
    knobs = [deciding_knobs(told) for told in (one, other, faster)]
    assert set(varied(knobs)) == {"learning_rate", "concatenate"}
    assert variant(knobs[2], varied(knobs)) == "s = 3, learning_rate = 0.001"
    assert variant(knobs[0], varied(knobs)) == "learning_rate = 3e-05", "the paper's s has no name"
    elsewhere = deciding_knobs(config("mERE", shards="other"))
    assert varied([elsewhere, deciding_knobs(config("mERE", shards="shards"))]) == ["shards"]


def test_a_knob_that_a_run_does_not_know_varies_nothing():
    own, elses = config("mERE"), {"stage2": config("mERE")["stage2"]}
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
