"""Isotonic regression by its definition, and what both fits do to candidates whose truth is known."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.calibration import by_language, isotonic, pooled_blocks, quality, temperature
from mere_ds.evaluation.calibration import Candidates


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_isotonic_is_the_best_of_all_non_decreasing_step_functions(right):
    """All means of consecutive groups are tried: the best fit is one of them."""
    raw_F, right_F = np.linspace(0.1, 0.9, len(right)), np.array(right, bool)

    def error(values):
        return float(((np.array(values) - right_F) ** 2).sum())

    best = np.inf
    for cuts in itertools.product([False, True], repeat=len(right) - 1):
        groups = np.cumsum([0, *cuts])
        values = [right_F[groups == group].mean() for group in groups]
        if all(a <= b for a, b in itertools.pairwise(values)):
            best = min(best, error(values))
    right_X, count_X, _ = pooled_blocks(raw_F, right_F).T
    fitted = np.repeat(right_X / count_X, count_X.astype(int))
    assert all(a < b for a, b in itertools.pairwise(right_X / count_X))
    assert abs(error(fitted) - best) < 1e-9


def test_both_find_what_made_the_candidates_and_each_language_gets_its_own():
    rng = np.random.default_rng(0)
    raw_F, language_F = rng.uniform(0.02, 0.98, 20_000), rng.integers(0, 2, 20_000)
    right_F = rng.uniform(size=20_000) < np.where(language_F == 0, raw_F**2, raw_F)
    half = slice(0, 10_000), slice(10_000, None)
    dev, test = (Candidates(raw_F[s], right_F[s], language_F[s], int(right_F[s].sum())) for s in half)
    raw, _ = quality(test.raw_F, test.right_F)
    for fit in (temperature, isotonic):
        pooled = quality(fit(dev.raw_F, dev.right_F)(test.raw_F), test.right_F)
        own = quality(by_language(fit, dev, test, 2), test.right_F)
        assert pooled[0] < 3 < raw and own[1] < pooled[1], fit
