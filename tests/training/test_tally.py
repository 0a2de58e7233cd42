"""Sums between two records, as checkpoints keep them."""

import math

import pytest
import torch

from mere_ds.errors import UserError
from mere_ds.training.operations import Tokens
from mere_ds.training.tally import Tally, restored, slowest, stored

ONE = ("head_start", "head_end", "tail_start", "tail_end", "relation")
MANY = ("heads", "tails", "links", "relation")
CPU = torch.device("cpu")


def kept(*terms: float) -> dict:
    return {"steps": 2, "seconds": 1.0, "ranks": [[9.0, *terms, 8.0, 70.0, 80.0, 0.5]]}


@pytest.mark.parametrize(
    ("names", "terms"),
    [
        (ONE, [1, 2, 3, 4, 5]),
        ((*ONE, "characters"), [1, 2, 3, 4, 5, 6]),
        (MANY, [1, 2, 3, 5]),
        ((*MANY, "characters"), [1, 2, 3, 5, 6]),
    ],
)
def test_tallies_of_earlier_versions_are_read_by_their_places(names, terms):
    tally = restored(kept(1, 2, 3, 4, 5, 6), names, 0, 1, CPU)
    assert tally.terms_N.tolist() == terms
    assert (tally.loss, tally.sentences, tally.tokens, tally.places, tally.steps) == (9, 8, 70, 80, 2)
    again = restored({"steps": 2, "seconds": 1.0, "ranks": [tally.sums()]}, names, 0, 1, CPU)
    assert again.terms_N.tolist() == terms


def test_a_tally_of_other_terms_is_refused():
    with pytest.raises(UserError, match="3 loss terms instead of 4"):
        restored(kept(1, 2, 3), MANY, 0, 1, CPU)


def test_what_operations_depend_on_is_kept():
    tally = Tally(ONE, sentences=3, work=Tokens(3, 10, 40, 60))
    back = restored(stored(tally, 0.0, 1, CPU), ONE, 0, 1, CPU)
    assert back.work == tally.work
    assert restored(kept(1, 2, 3, 4, 5) | {"work": [1, 2, 3, 4]}, ONE, 0, 2, CPU).work == Tokens(1, 2, 3, 4)
    assert restored(kept(1, 2, 3, 4, 5) | {"work": [1, 2, 3, 4]}, ONE, 1, 2, CPU).work == Tokens(), "rank 0 has all"


def test_work_before_an_earlier_version_s_checkpoint_is_unknown_and_stays_so():
    tally = restored(kept(1, 2, 3, 4, 5), ONE, 0, 1, CPU)
    assert math.isnan((tally.work + Tokens(1, 1, 1, 1)).tokens)
    again = stored(tally, 0.0, 1, CPU)
    assert again["work"] is None and math.isnan(restored(again, ONE, 0, 1, CPU).work.tokens)


def test_the_slowest_rank_is_the_one_that_waited_longest():
    assert slowest([1.0, 3.0, 0.5], seconds=4.0) == {"slowest_rank": 1, "slowest_rank_waiting_share": 0.75}
    assert slowest([2.0], seconds=4.0) == {}, "nobody waits for a rank alone"
