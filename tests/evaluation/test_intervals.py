"""Bootstrap and randomisation against the same done sentence by sentence."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.evaluation.intervals import by_language, generator, interval, nested, resampled, shuffled, spread

OUTCOMES = Counter({(1, 1, 0): 30, (1, 0, 0): 5, (1, 1, 1): 25})


def test_resampling_kinds_is_resampling_sentences():
    random, rows = np.random.default_rng(1), np.array(list(OUTCOMES.elements()))
    slow = np.array([rows[random.integers(len(rows), size=len(rows))].sum(0) for _ in range(4000)])
    fast = resampled(OUTCOMES, generator("de"), 4000)
    assert (fast[:, 0] == 60).all() and (fast[:, 2] <= fast[:, 1]).all()
    np.testing.assert_allclose(fast.mean(0), slow.mean(0), atol=0.4)
    np.testing.assert_allclose(np.cov(fast.T), np.cov(slow.T), atol=1.5)
    np.testing.assert_allclose(interval(fast[:, 2]), interval(slow[:, 2]), atol=1)


def test_exchanging_kinds_is_exchanging_sentences():
    random, rows = np.random.default_rng(1), np.array(list(OUTCOMES.elements()))
    swap = [0, 2, 1]
    chosen = random.integers(2, size=(4000, len(rows), 1)).astype(bool)
    slow = np.where(chosen, rows[:, swap], rows).sum(1)
    fast = shuffled(OUTCOMES, swap, generator("de"), 4000)
    assert (fast[:, 1] + fast[:, 2] == rows[:, 1:].sum()).all()
    np.testing.assert_allclose(fast.mean(0), slow.mean(0), atol=0.4)
    np.testing.assert_allclose(np.cov(fast.T), np.cov(slow.T), atol=1.5)


@given(st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.integers(1, 50), min_size=1))
def test_what_is_drawn_depends_on_the_language_and_nothing_else(counts):
    counter = Counter(counts)
    assert (resampled(counter, generator("de"), 20) == resampled(counter, generator("de"), 20)).all()
    total = sum((a + b) * n for (a, b), n in counts.items())
    assert (shuffled(counter, [1, 0], generator("de"), 20).sum(1) == total).all()


def test_average_is_of_languages_and_pooled_of_sentences():
    sums = {"de": np.array([[10, 5], [10, 10]]), "ko": np.array([[30, 0], [30, 30]])}
    values = by_language(sums, lambda sums_RC: sums_RC[:, 1] / sums_RC[:, 0])
    assert values["average"].tolist() == [0.25, 1] and values["pooled"].tolist() == [5 / 40, 1]
    assert nested(values).keys() == {"languages", "average", "pooled"}
    assert nested(values)["languages"]["ko"].tolist() == [0, 1]


def test_spread_over_seeds():
    assert spread([1.0, 3.0]) == {"mean": 2.0, "deviation": pytest.approx(2**0.5)}
    assert spread([4.0]) == {"mean": 4.0, "deviation": None}
