"""What scores mean, learnt from a split's candidates: a curve that makes them probabilities, and the best threshold.

Candidates are found triples, right and wrong, down to a low score. All in float64 NumPy; shape suffix F candidates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mere_ds.model.calibration import Calibration, Curve, logits, sigmoid

ENOUGH = 200
"""Candidates on dev from which on a language gets a curve of its own: with fewer, its noise costs more than a
temperature that is half as high again as the language's."""
BINS = 10
"""Of equal width, in a reliability table."""
_SHARPEST = 1e-2  # the least temperature; the greatest is its inverse
_STEPS = 100  # of Newton's method, which takes some ten
_SHORTEST = 1e-10  # a shorter one changes nothing


@dataclass(frozen=True)
class Candidates:
    """Found triples of a split, or of a rank's share of it."""

    raw_F: np.ndarray
    """float64; scores as the model gives them."""
    right_F: np.ndarray
    """bool; whether the triple is gold, strictly by tokens."""
    languages_F: np.ndarray
    """int64; index into the languages."""
    gold: int
    """Number of gold triples, found or not."""

    @classmethod
    def join(cls, parts: Iterable["Candidates"]) -> "Candidates":
        """Those of all ranks together."""
        parts = list(parts)
        return cls(
            np.concatenate([part.raw_F for part in parts]),
            np.concatenate([part.right_F for part in parts]),
            np.concatenate([part.languages_F for part in parts]),
            sum(part.gold for part in parts),
        )


def calibrate(found: Candidates, languages: Sequence[str]) -> Calibration:
    """The curves that fit best, and the threshold with the best F1 on the calibrated scores."""
    if not len(found.raw_F):
        return Calibration()
    own = {}
    for n, language in enumerate(languages):
        of_it_F = found.languages_F == n
        if of_it_F.sum() >= ENOUGH:
            own[language] = fit_curve(found.raw_F[of_it_F], found.right_F[of_it_F])
    curves = Calibration(0.5, fit_curve(found.raw_F, found.right_F), own, len(found.raw_F))
    best = best_threshold(calibrated(found, curves, languages), found.right_F, found.gold)
    return Calibration(best, curves.pooled, own, curves.candidates)


def calibrated(found: Candidates, calibration: Calibration, languages: Sequence[str]) -> np.ndarray:
    """The candidates' calibrated scores (F)."""
    scores_F = np.empty(len(found.raw_F))
    for n, language in enumerate(languages):
        of_it_F = found.languages_F == n
        scores_F[of_it_F] = calibration.calibrated(found.raw_F[of_it_F], language)
    return scores_F


def fit_curve(raw_F: np.ndarray, right_F: np.ndarray) -> Curve:
    """The temperature and the shift of the logit with the least log loss (Platt, 1999; the temperature of Guo et al.,
    2017, alone would leave a raw score of 0.5 at 0.5, however seldom such triples are right).

    A normal prior on slope and shift, worth about one candidate, holds the curve near raw scores if there are few
    candidates, and makes it finite if they are told apart without a fault. Scores keep their order: the temperature is
    greater than 0 whatever the candidates say.
    """
    x_F = logits(raw_F)
    slope, shift = _newton(x_F, right_F, None)
    if not _SHARPEST <= slope <= 1 / _SHARPEST:
        slope = min(max(slope, _SHARPEST), 1 / _SHARPEST)
        shift = _newton(x_F, right_F, slope)[1]
    return Curve(1 / slope, shift)


def _loss(z_F: np.ndarray, right_F: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0, z_F) - right_F * z_F))


def _newton(x_F: np.ndarray, right_F: np.ndarray, fixed: float | None) -> tuple[float, float]:
    """Slope and shift with the least loss of sigmoid(slope x + shift), or of the shift alone at a fixed slope. The loss
    is convex; a step that would raise it is halved."""
    free = slice(1, 2) if fixed is not None else slice(0, 2)
    raw_2 = np.array([1.0, 0.0])  # the curve that changes nothing
    w_2 = np.array([1.0 if fixed is None else fixed, 0.0])
    design_F2 = np.stack((x_F, np.ones_like(x_F)), axis=1)
    weight = 1 / len(x_F)

    def loss(w_2: np.ndarray) -> float:
        return _loss(design_F2 @ w_2, right_F) + weight / 2 * float(((w_2 - raw_2) ** 2).sum())

    for _ in range(_STEPS):
        p_F = sigmoid(design_F2 @ w_2)
        slopes_2 = design_F2.T @ (p_F - right_F) * weight + weight * (w_2 - raw_2)
        bends_22 = (design_F2 * (p_F * (1 - p_F))[:, None]).T @ design_F2 * weight + weight * np.eye(2)
        step_2 = np.zeros(2)
        step_2[free] = np.linalg.solve(bends_22[free, free], slopes_2[free])
        while loss(w_2 - step_2) > loss(w_2) and np.abs(step_2).max() > _SHORTEST:
            step_2 /= 2
        if np.abs(step_2).max() <= _SHORTEST:
            break
        w_2 = w_2 - step_2
    return float(w_2[0]), float(w_2[1])


def best_threshold(scores_F: np.ndarray, right_F: np.ndarray, gold: int) -> float:
    """The score from which on to answer for the best micro F1; 0.5 where no candidate is right.

    Of equally good ones the highest. It lies halfway between the lowest score that is taken and the next one below.
    """
    if not right_F.any():
        return 0.5
    order_F = np.argsort(-scores_F, kind="stable")
    sorted_F = scores_F[order_F]
    taken_F = np.arange(1, len(sorted_F) + 1)
    f1_F = 2 * np.cumsum(right_F[order_F]) / (taken_F + gold)
    f1_F[:-1][sorted_F[:-1] == sorted_F[1:]] = -1  # equal scores are taken together
    last = int(f1_F.argmax())
    below = sorted_F[last + 1] if last + 1 < len(sorted_F) else 0.0
    return float(sorted_F[last] + below) / 2


def errors(found: Candidates, calibration: Calibration, languages: Sequence[str]) -> dict:
    """Expected calibration error `{"raw", "calibrated"}`, as shares of 1."""
    scores_F = calibrated(found, calibration, languages)
    return {
        name: reliability(x_F, found.right_F)["error"] for name, x_F in (("raw", found.raw_F), ("calibrated", scores_F))
    }


def reliability(scores_F: np.ndarray, right_F: np.ndarray) -> dict:
    """How far scores are probabilities: `{"error", "bins": [{"from", "to", "candidates", "score", "right"}]}`.

    Each bin has the mean score and the share that is right, null where it is empty; the error is the expected
    calibration error (Naeini et al., 2015): the mean of their distances, weighted by candidates; all are shares of 1.
    """
    places_F = np.minimum((scores_F * BINS).astype(int), BINS - 1)
    counts = np.bincount(places_F, minlength=BINS)
    scored, right = (np.bincount(places_F, weights=x_F, minlength=BINS) for x_F in (scores_F, right_F))
    bins = [
        {
            **{"from": b / BINS, "to": (b + 1) / BINS, "candidates": int(n)},
            **{"score": float(scored[b] / n) if n else None, "right": float(right[b] / n) if n else None},
        }
        for b, n in enumerate(counts)
    ]
    return {"error": calibration_error(bins), "bins": bins}


def calibration_error(bins: Iterable[dict]) -> float:
    """The expected calibration error of the bins of `reliability`; 0 without candidates."""
    filled = [b for b in bins if b["candidates"]]
    distance = sum(b["candidates"] * abs(b["score"] - b["right"]) for b in filled)
    return distance / max(1, sum(b["candidates"] for b in filled))
