"""Sums between two records, as checkpoints keep them."""

import pytest
import torch

from mere_ds.errors import UserError
from mere_ds.training.tally import restored

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
