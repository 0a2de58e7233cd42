"""NumPy decodes the same numbers into the same triples as torch."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mere_ds.backends import decoding
from mere_ds.model import pair_decoding
from mere_ds.model.decoding import best_spans
from mere_ds.model.limits import CANDIDATES, MASKED
from mere_ds.model.pair_heads import PairScores

COARSE = st.integers(-6, 6).map(lambda x: x / 2)
"""Few values, so that many are equal."""


@st.composite
def position_logits(draw):
    B, M = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    logits_BM4 = draw(arrays(np.float32, (B, M, 4), elements=COARSE))
    for b in range(B):
        first, words = draw(st.integers(0, M)), draw(st.integers(0, M))
        logits_BM4[b, :first] = MASKED
        logits_BM4[b, first + words :] = MASKED
    return logits_BM4


@given(position_logits(), st.booleans(), st.booleans())
def test_spans(logits_BM4, ordered, overlapping):
    positions_B4, score_B = decoding.best_spans(logits_BM4, ordered, overlapping)
    expected_B4, expected_B = best_spans(torch.from_numpy(logits_BM4), ordered, overlapping)
    np.testing.assert_allclose(score_B, expected_B.numpy(), rtol=1e-5)
    log_BM4 = torch.from_numpy(logits_BM4).log_softmax(dim=1).numpy().round(4)
    for b in np.flatnonzero((positions_B4 != expected_B4.numpy()).any(axis=1)):  # of equally good ones any
        sums = [sum(log_BM4[b, p, y] for y, p in enumerate(its)) for its in (positions_B4[b], expected_B4[b])]
        assert abs(sums[0] - sums[1]) < 1e-3
        assert not ordered or (positions_B4[b, 0::2] <= positions_B4[b, 1::2]).all()
    assert ((positions_B4 == -1).all(axis=1) == (logits_BM4 <= MASKED).all(axis=(1, 2))).all()


@given(arrays(np.float32, (3, 7), elements=st.floats(-5, 5, width=32)), st.floats(0.01, 0.99), st.integers(1, 9))
def test_likely_relations(relation_BU, least, most):
    allowed_BU = np.arange(21).reshape(3, 7) % 3 > 0
    probability_BU = torch.from_numpy(relation_BU).sigmoid().masked_fill(~torch.from_numpy(allowed_BU), -1).numpy()
    ours = decoding.likely_relations(probability_BU, least, most)
    theirs = pair_decoding.likely_relations(torch.from_numpy(relation_BU), torch.from_numpy(allowed_BU), least, most)
    for a, b in ((ours[0], theirs[0]), (ours[2], theirs[2])):  # of equal probabilities any label
        np.testing.assert_array_equal(a, b.numpy())


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0.02, 0.3, 0.6]), st.integers(1, 300))
def test_triples_of_pairs(seed, P, least, most):
    M = 6
    random = np.random.default_rng(seed)
    spans_S2MM = torch.from_numpy(random.normal(size=(P, 2, M, M)).astype(np.float32))
    links_PKK = torch.from_numpy(random.normal(size=(P, CANDIDATES, CANDIDATES)).astype(np.float32))
    probability_P = torch.from_numpy(random.random(P).astype(np.float32))

    class Scores(PairScores):
        def links(self, spans_P2K):
            return links_PKK

    every_P, none = torch.arange(P), torch.empty(0)
    scores = Scores(spans_S2MM, every_P, every_P, none, none, None, none)
    expected = pair_decoding.triples_of_pairs(scores, probability_P, least, most)
    candidates = [x.numpy() for x in pair_decoding.likeliest_spans(scores)]
    positions_PX4, score_PX = decoding.triples_of_pairs(*candidates, probability_P.numpy(), M)
    pair_F, place_F = decoding.best_of_pairs(score_PX, least, most)
    np.testing.assert_array_equal(pair_F, expected.pair_F.numpy())
    np.testing.assert_array_equal(score_PX[pair_F, place_F], expected.score_F.numpy())
    np.testing.assert_array_equal(positions_PX4[pair_F, place_F], expected.positions_F4.numpy())


@given(st.lists(st.tuples(st.integers(0, 3), COARSE), max_size=30), st.integers(1, 5))
def test_the_best_of_each_sentence(found, most):
    sentence_F = np.array(sorted(sentence for sentence, _ in found), dtype=np.int64)
    score_F = np.array([score for _, score in found], dtype=np.float32)
    ours = decoding.best_of_sentences(sentence_F, score_F, most)
    theirs = pair_decoding.best_of_sentences(torch.from_numpy(sentence_F), torch.from_numpy(score_F), most)
    np.testing.assert_array_equal(ours, theirs.numpy())
