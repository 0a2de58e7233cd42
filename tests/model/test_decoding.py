import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.model.decoding import best_spans
from mere_ds.model.limits import MASKED
from tests.model.reference import softmax

LOGITS = st.one_of(st.integers(-2, 2).map(float), st.floats(-8, 8))


@st.composite
def logits_and_words(draw):
    """Logits M x 4 as equation 9 gives them, words at positions first .. last - 1."""
    width = draw(st.integers(1, 8))
    first = draw(st.integers(0, width - 1))
    last = draw(st.integers(first + 1, width))
    logits = np.full((width, 4), MASKED)
    for i, y in itertools.product(range(first, last), range(4)):
        logits[i, y] = draw(LOGITS)
    return logits, range(first, last)


@given(logits_and_words())
def test_ordered_spans_are_the_best_of_all_pairs(case):
    logits, words = case
    positions, score = best_spans(torch.from_numpy(logits)[None], ordered=True)
    p = softmax(logits.T).T
    expected = 1.0
    for start, end in ((0, 1), (2, 3)):
        i, j = positions[0, start].item(), positions[0, end].item()
        best = max(p[a, start] * p[b, end] for a in words for b in words if a <= b)
        assert i in words and j in words and i <= j
        np.testing.assert_allclose(p[i, start] * p[j, end], best, rtol=1e-9)
        expected *= best
    np.testing.assert_allclose(score.item(), expected, rtol=1e-9)


@given(logits_and_words())
def test_free_spans_are_four_argmaxima(case):
    logits, words = case
    positions, score = best_spans(torch.from_numpy(logits)[None], ordered=False)
    p = softmax(logits.T).T
    assert all(p[positions[0, y], y] == p[:, y].max() and positions[0, y] in words for y in range(4))
    np.testing.assert_allclose(score.item(), p.max(axis=0).prod(), rtol=1e-9)


@given(st.lists(logits_and_words(), min_size=1, max_size=4))
def test_sentences_of_a_batch_do_not_meet(cases):
    width = max(len(logits) for logits, _ in cases)
    padded = [np.pad(logits, ((0, width - len(logits)), (0, 0)), constant_values=MASKED) for logits, _ in cases]
    together, scores = best_spans(torch.tensor(np.stack(padded)), ordered=True)
    for b, (logits, _) in enumerate(cases):
        alone, score = best_spans(torch.from_numpy(logits)[None], ordered=True)
        assert together[b].tolist() == alone[0].tolist()
        np.testing.assert_allclose(scores[b], score[0], rtol=1e-12)


def test_start_after_end_only_without_order():
    logits = torch.zeros(1, 3, 4)
    logits[0, 2, 0] = logits[0, 0, 1] = 5.0
    assert best_spans(logits, ordered=False)[0][0, :2].tolist() == [2, 0]
    start, end = best_spans(logits, ordered=True)[0][0, :2].tolist()
    assert (start, end) in [(0, 0), (2, 2)]


def test_a_sentence_without_words_has_no_span():
    logits = torch.full((2, 4, 4), MASKED)
    logits[1, 2] = 1.0
    for ordered in (True, False):
        positions, score = best_spans(logits, ordered)
        assert positions.tolist() == [[-1] * 4, [2] * 4]
        assert score[0] == 0 and score[1] == 1


def brute_force(p, words):
    """The largest product of the four probabilities over all two ordered spans that share no token, 0 without any."""
    spans = [(i, j) for i in words for j in words if i <= j]
    return max(
        (p[a, 0] * p[b, 1] * p[c, 2] * p[d, 3] for a, b in spans for c, d in spans if b < c or d < a), default=0.0
    )


@given(logits_and_words())
def test_spans_apart_are_the_best_of_all_two_that_share_no_token(case):
    logits, words = case
    positions, score = best_spans(torch.from_numpy(logits)[None], ordered=True, overlapping=False)
    p = softmax(logits.T).T
    head_start, head_end, tail_start, tail_end = found = positions[0].tolist()
    assert set(found) <= set(words) and head_start <= head_end and tail_start <= tail_end
    if len(words) > 1:
        assert head_end < tail_start or tail_end < head_start
        np.testing.assert_allclose(score.item(), brute_force(p, words), rtol=1e-9)
    np.testing.assert_allclose(score.item(), np.prod([p[i, y] for y, i in enumerate(found)]), rtol=1e-9)


@given(logits_and_words())
def test_spans_that_are_apart_anyway_stay(case):
    logits = torch.from_numpy(case[0])[None]
    (alone, score), (apart, lower) = (best_spans(logits, True, overlapping) for overlapping in (True, False))
    a, b, c, d = alone[0].tolist()
    if b < c or d < a:
        np.testing.assert_allclose(lower.item(), score.item(), rtol=1e-9)
    else:
        assert lower.item() <= score.item() * (1 + 1e-9)


@given(st.lists(logits_and_words(), min_size=1, max_size=4))
def test_spans_apart_do_not_depend_on_the_batch(cases):
    width = max(len(logits) for logits, _ in cases) + 2
    padded = [np.pad(logits, ((0, width - len(logits)), (0, 0)), constant_values=MASKED) for logits, _ in cases]
    together, scores = best_spans(torch.tensor(np.stack(padded)), ordered=True, overlapping=False)
    for b, (logits, _) in enumerate(cases):
        alone, score = best_spans(torch.from_numpy(logits)[None], ordered=True, overlapping=False)
        assert together[b].tolist() == alone[0].tolist()
        np.testing.assert_allclose(scores[b], score[0], rtol=1e-12)


def test_sentences_too_short_for_two_spans():
    logits = torch.full((3, 4, 4), MASKED)
    logits[1, 2] = 1.0
    logits[2, 1:3] = 1.0
    logits[2, 1] = 3.0  # both entities would rather have this one
    positions, score = best_spans(logits, ordered=True, overlapping=False)
    assert positions[:2].tolist() == [[-1] * 4, [2] * 4] and score[:2].tolist() == [0, 1]
    assert sorted(map(tuple, positions[2].view(2, 2).tolist())) == [(1, 1), (2, 2)]


def test_without_order_nothing_else_is_asked():
    logits = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(best_spans(logits, False, overlapping=False)[0], logits.argmax(dim=1))
