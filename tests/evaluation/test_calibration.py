"""Threshold, curve and errors of scores against brute force."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.errors import UserError
from mere_ds.evaluation.calibration import (
    BINS,
    ENOUGH,
    Candidates,
    best_threshold,
    calibrate,
    calibrated,
    errors,
    fit_curve,
    reliability,
)
from mere_ds.files import write_json
from mere_ds.model.calibration import CALIBRATION, Calibration, Curve


def made_up(temperature: float, shift: float, size: int = 5_000, seed: int = 0) -> Candidates:
    """Candidates of "de" that are right as often as this curve of their raw scores says."""
    random = np.random.default_rng(seed)
    logit_F = random.normal(0, 2, size)
    raw_F, true_F = (1 / (1 + np.exp(-x_F)) for x_F in (logit_F, logit_F / temperature + shift))
    right_F = random.random(size) < true_F
    return Candidates(raw_F, right_F, np.zeros(size, int), int(right_F.sum()) + 100)


def log_loss(found: Candidates, curve: Curve) -> float:
    """The mean cross-entropy of the curve's probabilities, from the definition."""
    right_F = 1 / (1 + np.exp(-(np.log(found.raw_F / (1 - found.raw_F)) / curve.temperature + curve.shift)))
    return -np.log(np.where(found.right_F, right_F, 1 - right_F)).mean()


scored = st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=30)


@given(scored, st.integers(0, 5))
def test_no_other_threshold_has_a_better_f1(pairs, missed):
    scores_F = np.array([score / 8 for score, _ in pairs])
    right_F = np.array([right for _, right in pairs], bool)
    gold = int(right_F.sum()) + missed

    def f1(least: float) -> float:
        taken_F = scores_F >= least
        return 2 * (taken_F & right_F).sum() / max(1, taken_F.sum() + gold)

    found = best_threshold(scores_F, right_F, gold)
    if not right_F.any():
        assert found == 0.5
        return
    by_hand = {least: f1(least) for least in {*scores_F}}
    assert f1(found) == pytest.approx(max(by_hand.values()))
    highest = max(least for least, value in by_hand.items() if value == pytest.approx(max(by_hand.values())))
    assert (scores_F >= found).tolist() == (scores_F >= highest).tolist(), "of equally good ones the highest"


@pytest.mark.parametrize(("temperature", "shift"), [(1.0, 0.0), (2.5, -1.0), (0.5, 1.5)])
def test_the_curve_that_made_the_answers_is_found(temperature, shift):
    found = made_up(temperature, shift)
    curve = fit_curve(found.raw_F, found.right_F)
    assert curve == pytest.approx((temperature, shift), rel=0.15, abs=0.1)
    grid = [Curve(t, b) for t in np.linspace(0.2, 4, 20) for b in np.linspace(-3, 3, 25)]
    assert log_loss(found, curve) <= min(log_loss(found, one) for one in grid) + 1e-6


@pytest.mark.parametrize(
    ("raw", "right"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]),  # told apart without a fault
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]),  # the wrong way round
        ([0.5] * 4, [0, 1, 1, 1]),
        ([0.0, 1.0], [1, 1]),
        ([0.3], [0]),
    ],
)
def test_a_curve_keeps_the_order_and_is_finite(raw, right):
    curve = fit_curve(np.array(raw), np.array(right, bool))
    assert curve.temperature > 0 and np.isfinite(curve).all()
    values = Calibration(pooled=curve).calibrated(np.linspace(0, 1, 21), "de")
    assert (np.diff(values) >= 0).all() and 0 <= values.min() <= values.max() <= 1


def test_a_few_candidates_change_little():
    """All of three are right: that says little of a raw score of 0.1."""
    curve = fit_curve(np.array([0.9, 0.95, 0.99]), np.ones(3, bool))
    assert Calibration(pooled=curve).calibrated(np.array([0.1, 0.9]), "de") == pytest.approx([0.1, 0.9], abs=0.1)
    assert fit_curve(np.array([0.9]), np.array([False])).shift < 0


def test_calibration_by_language_where_there_are_enough():
    one, other = made_up(2.5, -1.0, seed=1), made_up(0.5, 1.0, size=ENOUGH - 1, seed=2)
    found = Candidates.join([one, replace(other, languages_F=np.ones(ENOUGH - 1, int))])
    told = calibrate(found, ["de", "ko"])
    assert set(told.languages) == {"de"} and told.candidates == 5_000 + ENOUGH - 1
    assert told.languages["de"] == fit_curve(one.raw_F, one.right_F)
    assert (told.calibrated(other.raw_F, "ko") == Calibration(pooled=told.pooled).calibrated(other.raw_F, "xx")).all()
    scores_F = calibrated(found, told, ["de", "ko"])
    assert told.min_score == best_threshold(scores_F, found.right_F, found.gold)
    error = errors(found, told, ["de", "ko"])
    assert error["calibrated"] < 0.03 < 0.1 < error["raw"]
    assert calibrate(Candidates.join([replace(one, raw_F=one.raw_F[:0], right_F=one.right_F[:0])]), []) == Calibration()


@pytest.mark.parametrize(("size", "own"), [(ENOUGH - 1, {"de"}), (ENOUGH, {"de", "ko"})])
def test_the_bound_is_the_number_of_candidates_of_the_language(size, own):
    few = replace(made_up(0.5, 1.0, size, seed=2), languages_F=np.ones(size, int))
    assert set(calibrate(Candidates.join([made_up(2.5, -1.0, seed=1), few]), ["de", "ko"]).languages) == own


@pytest.mark.parametrize("truth", [Curve(1.0, 0.0), Curve(1.0, -3.0), Curve(1.5, -1.0)])
def test_at_the_bound_an_own_curve_is_worth_its_noise(truth):
    """On unseen candidates it loses less to the true curve, on average over samples, than one whose temperature is
    half as high again; with a quarter of the candidates it would lose more."""
    unseen = made_up(*truth, size=20_000, seed=1_000)

    def loss(curve: Curve) -> float:
        return log_loss(unseen, curve) - log_loss(unseen, truth)

    def own(size: int) -> float:
        samples = (made_up(*truth, size, seed) for seed in range(40))
        return np.mean([loss(fit_curve(sample.raw_F, sample.right_F)) for sample in samples])

    assert own(ENOUGH) < 0.01 < loss(Curve(1.5 * truth.temperature, truth.shift)) < own(ENOUGH // 4)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_reliability_by_hand(pairs):
    told = reliability(np.array([score for score, _ in pairs]), np.array([right for _, right in pairs], bool))
    error = 0.0
    for b, row in enumerate(told["bins"]):
        own = [(s, r) for s, r in pairs if b / BINS <= s < (b + 1) / BINS or b == BINS - 1 and s == 1]
        if abs(row["candidates"] - len(own)):
            return  # a score on a bin's edge, that floats put on either side
        if own:
            assert row["score"] == pytest.approx(sum(s for s, _ in own) / len(own))
            assert row["right"] == pytest.approx(sum(r for _, r in own) / len(own))
            error += abs(sum(s - r for s, r in own)) / len(pairs)
        else:
            assert row["score"] is row["right"] is None
    assert told["error"] == pytest.approx(error)


def test_a_calibration_is_read_as_it_was_written(tmp_path):
    assert Calibration.load(tmp_path) == Calibration(), "a model without one"
    told = Calibration(0.4, Curve(2.0, -0.5), {"de": Curve(1.5, 0.25)}, 300)
    write_json(tmp_path / CALIBRATION, told.as_dict() | {"error": {"raw": 0.1, "calibrated": 0.01}})
    assert Calibration.load(tmp_path) == told
    raw_F = np.array([0.0, 0.3, 1.0])
    assert told.calibrated(raw_F[1:2], "de") == pytest.approx(1 / (1 + np.exp(-(np.log(0.3 / 0.7) / 1.5 + 0.25))))
    assert told.calibrated(raw_F[1:2], "fr") == pytest.approx(1 / (1 + np.exp(-(np.log(0.3 / 0.7) / 2 - 0.5))))
    assert (Calibration().calibrated(raw_F, "de") == raw_F).all()


def test_the_format_of_saved_calibrations_stays(tmp_path):
    """As the first checkpoints with one have it, byte for byte."""
    curve = '{"temperature": %s, "shift": %s}'
    saved = '{"min_score": 0.4, "candidates": 300, "pooled": %s, "languages": {"de": %s}}'
    (tmp_path / CALIBRATION).write_text(saved % (curve % (2.0, -0.5), curve % (1.5, 0.25)))
    told = Calibration(0.4, Curve(2.0, -0.5), {"de": Curve(1.5, 0.25)}, 300)
    assert Calibration.load(tmp_path) == told
    assert told.as_dict().keys() == {"min_score", "candidates", "pooled", "languages"}


@pytest.mark.parametrize(
    "wrong",
    [{"min_score": None}, {"min_score": -1}, {"pooled": {"temperature": 0.0, "shift": 0.0}}, {"languages": []},
     {"languages": {"de": {"temperature": 1.0}}}, {"candidates": "3"}, {"pooled": None}],
)  # fmt: skip
def test_what_is_no_calibration_is_refused(wrong, tmp_path):
    write_json(tmp_path / CALIBRATION, Calibration().as_dict() | wrong)
    with pytest.raises(UserError, match=f"{CALIBRATION}: not a calibration of scores: copy the checkpoint again"):
        Calibration.load(tmp_path)
