"""Who is compared with whom: everybody once an epoch, across languages where it can be, near others that are like."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.errors import UserError
from mere_ds.pretraining.pairing import Pairing, pair_up, with_hard_negatives
from mere_ds.pretraining.statements import Statements, merge_groups


def statements(entities, languages=None, marked=None) -> Statements:
    """Sentences without words."""
    entities = np.array(entities, np.int64).reshape(-1, 2)
    n = len(entities)
    _, groups = np.unique(entities, axis=0, return_inverse=True)
    return Statements(
        pieces=np.zeros(0, np.int32),
        ends=np.zeros(n + 1, np.int64),
        spans=np.where(np.reshape(np.ones(n, bool) if marked is None else marked, (-1, 1)), [0, 1, 2, 3], -1),
        languages=np.zeros(n, np.int32) if languages is None else np.array(languages, np.int32),
        codes=["de", "en", "ko"],
        entities=entities,
        groups=groups.reshape(-1),
        notes=Counter(),
    )


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.integers(0, 99))
def test_partners_speak_different_languages_as_often_as_can_be(languages, seed):
    languages = np.array(languages)
    rows = np.arange(len(languages))
    partners, left = pair_up(rows, languages, np.random.default_rng(seed))
    assert sorted([*sum(partners, ()), *left]) == rows.tolist()
    assert len(left) == len(rows) % 2
    paired = Counter(languages[list(sum(partners, ()))].tolist())
    possible = min(len(partners), 2 * len(partners) - max(paired.values()))
    assert sum(languages[a] != languages[b] for a, b in partners) == possible
    if left:
        assert Counter(languages.tolist())[languages[left[0]]] == max(Counter(languages.tolist()).values())


sentences = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60)


@given(sentences, st.data())
def test_an_epoch_has_every_sentence_once_and_partners_side_by_side(entities, data):
    marked = data.draw(st.lists(st.booleans(), min_size=len(entities), max_size=len(entities)))
    said = statements(entities, marked=marked)
    counts = Counter(said.groups[said.marked].tolist())
    if sum(count > 1 for count in counts.values()) < 2:
        with pytest.raises(UserError, match="entity pairs of the training files occur in more than one sentence"):
            Pairing(said)
        return
    pairing = Pairing(said)
    size = data.draw(st.sampled_from([4, 6, 16]))
    epochs = [pairing.epoch(size, seed=7, epoch=epoch) for epoch in range(3)]
    for batches in epochs:
        assert len(batches) == len(epochs[0])
        assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(len(entities)))
        assert all(0 < len(batch.rows) <= size for batch in batches)
        matched = [batch.rows for batch in batches if batch.matched]
        assert sum(map(len, matched)) == 2 * sum(count // 2 for count in counts.values())
        for rows in matched:
            assert said.marked[rows].all()
            assert (said.groups[rows[0::2]] == said.groups[rows[1::2]]).all()
    again = pairing.epoch(size, seed=7, epoch=1)
    assert all((a.rows == b.rows).all() for a, b in zip(again, epochs[1], strict=True))


@given(sentences, st.integers(0, 99))
def test_every_pair_is_placed_once(entities, seed):
    said = statements(entities)
    pairs = [(row, row) for row in range(len(entities))]
    placed = with_hard_negatives(pairs, said.entities, said.groups, np.random.default_rng(seed))
    assert sorted(placed[:, 0]) == list(range(len(entities)))


@given(st.integers(2, 20), st.integers(0, 99))
def test_pairs_that_share_an_entity_stand_side_by_side(count, seed):
    """Pairs 2i and 2i + 1 share their head, and nobody else."""
    said = statements([(100 + i // 2, i) for i in range(2 * count)])
    pairs = [(row, row) for row in range(2 * count)]
    placed = with_hard_negatives(pairs, said.entities, said.groups, np.random.default_rng(seed))[:, 0]
    assert (placed[0::2] // 2 == placed[1::2] // 2).all()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_groups_are_what_equal_values_link(rows):
    first, second = [a for a, _ in rows], [b for _, b in rows]
    groups = merge_groups(first, second)
    reached = [{i} for i in range(len(rows))]
    for _ in rows:  # as many rounds as the longest chain of links can have
        for links in reached:
            links |= {
                j for i in list(links) for j in range(len(rows)) if first[i] == first[j] or second[i] == second[j]
            }
    for i in range(len(rows)):
        assert reached[i] == set(np.flatnonzero(groups == groups[i]))
