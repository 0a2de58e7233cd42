import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.model.limits import CANDIDATES, MASKED
from mere_ds.model.pair_decoding import best_of_sentences, likely_relations, triples_of_pairs
from mere_ds.model.pair_heads import PairHeads, PairScores, StatePairHeads
from tests.model import pair_reference
from tests.model.pair_reference import PairReference, sigmoid
from tests.model.reference import arrays

LOGITS = st.one_of(st.integers(-2, 2).map(float), st.floats(-8, 8))


def found_by(heads, h_BMD, mask_BM, sentence_P, labels_P, probability_P, least, most):
    """Of each pair its triples as (score, head, tail)."""
    [found] = heads(
        h_BMD,
        mask_BM,
        sentence_P,
        labels_P,
        lambda scores, _: triples_of_pairs(scores, probability_P, least, most),
        len(labels_P),
    )
    result = [[] for _ in labels_P]
    rows = zip(found.pair_F.tolist(), found.score_F.tolist(), found.positions_F4.tolist(), strict=True)
    for pair, score, (i, j, k, m) in rows:
        result[pair].append((score, (i, j), (k, m)))
    return result


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(3, 8), min_size=1, max_size=3),  # at most 5 words, so 15 spans: all are candidates
    kind=st.sampled_from([PairHeads, StatePairHeads]),
    least=st.floats(0.01, 0.9),
    most=st.integers(1, 300),
)
def test_triples_are_those_of_a_search_through_all(seed, lengths, kind, least, most):
    torch.manual_seed(seed)
    heads = kind(2, 4, 2).double()
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    h_BMD = torch.randn(len(lengths), max(lengths), 4, dtype=torch.float64)
    mask_BM = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    sentence_P, labels_P = torch.cartesian_prod(torch.arange(len(lengths)), torch.arange(2)).unbind(1)
    probability_P = torch.rand(len(labels_P), dtype=torch.float64)
    ours = found_by(heads, h_BMD, mask_BM, sentence_P, labels_P, probability_P, least, most)
    weights = arrays(heads)
    for p, found in enumerate(ours):
        pair = PairReference(weights, h_BMD[sentence_P[p], : lengths[sentence_P[p]]].numpy(), int(labels_P[p]))
        every = pair_reference.triples(pair, float(probability_P[p]), least)
        score_of = {(head, tail): score for score, head, tail in every}
        assert len(found) == min(most, len(every))
        np.testing.assert_allclose([s for s, _, _ in found], [s for s, _, _ in every[:most]], rtol=1e-9)
        assert len({(head, tail) for _, head, tail in found}) == len(found)
        for score, head, tail in found:
            np.testing.assert_allclose(score, score_of[head, tail], rtol=1e-9)


def test_more_spans_than_candidates():
    """The spans of what is found are then of the likeliest."""
    M = 9
    spans_S2MM = torch.randn(1, 2, M, M, generator=torch.Generator().manual_seed(0))
    allowed_MM = torch.ones(M, M, dtype=torch.bool).triu()
    spans_S2MM.masked_fill_(~allowed_MM, MASKED)
    zero_1 = torch.zeros(1, dtype=torch.long)
    scores = PairScores(spans_S2MM, zero_1, zero_1, torch.zeros(1, M, 1), torch.zeros(4, 1, 1), None, torch.tensor(9.0))
    found = triples_of_pairs(scores, torch.ones(1), 1e-6, 10**4)
    assert len(found.score_F) == CANDIDATES**2
    assert (found.score_F.diff() <= 0).all()
    for entity in range(2):
        likeliest = spans_S2MM[0, entity].flatten().topk(CANDIDATES).indices
        i_F, j_F = found.positions_F4[:, 2 * entity : 2 * entity + 2].unbind(1)
        assert set((i_F * M + j_F).tolist()) == set(likeliest.tolist())


@pytest.mark.parametrize("kind", [PairHeads, StatePairHeads])
def test_a_sentence_without_words_has_no_triple(kind):
    torch.manual_seed(0)
    heads = kind(2, 4, 2)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, std=5)
    mask_BM = torch.arange(6) < torch.tensor([[3], [1]])
    pairs = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    assert found_by(heads, torch.randn(2, 6, 4), mask_BM, *pairs, torch.ones(4), 1e-6, 9) == [[]] * 4


@given(
    logits=st.lists(st.lists(st.integers(-4, 4), min_size=4, max_size=4), min_size=1, max_size=4),
    allowed=st.lists(st.booleans(), min_size=16, max_size=16),
    least=st.integers(-4, 3),
    most=st.integers(1, 5),
)
def test_likely_relations(logits, allowed, least, most):
    allowed_BU = torch.tensor(allowed).view(4, 4)[: len(logits)]
    sentence_P, labels_P, probability_P = likely_relations(
        torch.tensor(logits).double(), allowed_BU, sigmoid(least + 0.5), most
    )
    pairs = list(zip(sentence_P.tolist(), labels_P.tolist(), strict=True))
    assert sentence_P.tolist() == sorted(sentence_P.tolist()) and len(set(pairs)) == len(pairs)
    for b, row in enumerate(logits):
        enough = sorted((x for u, x in enumerate(row) if allowed_BU[b, u] and x > least), reverse=True)
        assert [row[u] for s, u in pairs if s == b] == enough[:most]
    np.testing.assert_allclose(probability_P, [sigmoid(logits[b][u]) for b, u in pairs], rtol=1e-12)
    assert all(allowed_BU[b, u] for b, u in pairs)


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.1, 0.4, 0.8])), max_size=20), most=st.integers(1, 6)
)
def test_best_of_sentences(rows, most):
    sentence_F = torch.tensor([b for b, _ in rows], dtype=torch.long)
    score_F = torch.tensor([s for _, s in rows])
    kept = best_of_sentences(sentence_F, score_F, most).tolist()
    expected = []
    for _, group in itertools.groupby(
        sorted(range(len(rows)), key=lambda f: (rows[f][0], -rows[f][1], f)), lambda f: rows[f][0]
    ):
        expected += list(group)[:most]
    assert kept == expected


def test_a_score_is_the_least_of_its_four_probabilities():
    """A triple of one word each, of which everything is known."""
    spans_S2MM = torch.full((1, 2, 4, 4), MASKED)
    spans_S2MM[0, 0, 2, 2], spans_S2MM[0, 1, 2, 2] = 2.0, 3.0
    zero_1, no_links = torch.zeros(1, dtype=torch.long), (torch.zeros(1, 4, 1), torch.zeros(4, 1, 1), None)
    for bias, probability, expected in ((1.0, 0.9, sigmoid(1.0)), (9.0, 0.9, sigmoid(2.0)), (9.0, 0.3, 0.3)):
        scores = PairScores(spans_S2MM, zero_1, zero_1, *no_links, torch.tensor(bias))
        found = triples_of_pairs(scores, torch.tensor([probability]), 0.05, 3)
        assert found.positions_F4.tolist() == [[2, 2, 2, 2]] and found.pair_F.tolist() == [0]
        assert found.score_F.item() == pytest.approx(expected)
