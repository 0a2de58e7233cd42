"""A loss or a gradient that isn't finite on one rank: no rank updates, the batch is named, too many in a row end it."""

import json
import math
import signal
from functools import partial
from pathlib import Path

import pytest
from meddling import every, fp16_on_cpu, record_rows, record_weights, signal_before_update, spoil, spoil_a_weight
from outcomes import assert_same_results, metrics, names, state

from mere_ds.training.observers import Beginning, MetricsFile, Observers

pytestmark = pytest.mark.slow

MISUSE = 2
STEPS = 6
SHORT = {"stage": "1", "max_steps": STEPS, "save_steps": None}


@pytest.fixture
def fp16(zero, tmp_path):
    """fp16(stage): DeepSpeed's config; the loss scale of 16 halves at an overflow and doubles after 5 updates."""
    scale = {"initial_scale_power": 4, "loss_scale_window": 5, "hysteresis": 1, "min_loss_scale": 1}

    def config(stage: int) -> Path:
        path = tmp_path / f"fp16_zero{stage}.json"
        path.write_text(json.dumps(json.loads(zero(stage).read_text()) | {"fp16": {"enabled": True, **scale}}))
        return path

    return config


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("precision", "accumulation"), [("fp32", 1), ("bf16", 2)])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_no_rank_updates_and_the_batch_is_named(train, zero, tmp_path, zero_stage, precision, accumulation):
    run, notes = tmp_path / "run", tmp_path / "notes"
    notes.mkdir()
    spoiled = {2: ("loss", 1), 4: ("gradient", 0)}
    meddle = partial(every, partial(spoil, spoiled), partial(record_rows, notes), partial(record_weights, notes))
    result = train(
        2, run=run, deepspeed_config=zero(zero_stage, precision), meddle=meddle, nonfinite_limit=2,
        batch_size=2, accumulation=accumulation, **SHORT,
    ).ended(0)  # fmt: skip
    for rank in (0, 1):
        weights = lines(notes / f"weights-{rank}.jsonl")
        assert [w["step"] for w in weights if w["before"] == w["after"]] == list(spoiled)
        assert len(weights) == STEPS
    rows = {step: [lines(notes / f"{rank}.jsonl")[step - 1]["rows"] for rank in (0, 1)] for step in spoiled}
    loss, gradient = (row for row in metrics(run) if row["kind"] == "nonfinite")
    assert (loss["step"], loss["what"]) == (2, "loss") and list(loss["rows_by_rank"]) == ["1"]
    assert loss["rows_by_rank"]["1"] == rows[2][1][: len(rows[2][1]) // accumulation]
    assert (gradient["step"], gradient["what"]) == (4, "gradient")
    assert gradient["rows_by_rank"] == {"0": rows[4][0], "1": rows[4][1]}, "nobody knows whose it was"
    (warned, _) = [line for line in result.stderr[0].splitlines() if "isn't finite" in line]
    assert f"step 2: the loss isn't finite; rows of the train split: rank 1: {rows[2][1][0]}, " in warned
    assert [row["step"] for row in metrics(run) if row["kind"] == "train"] == [1, 3, 5, 6]


def test_on_nonfinite_stop_ends_at_the_first(train, tmp_path):
    meddle = partial(spoil, {3: ("loss", 1)})
    stopped = train(2, run=tmp_path, meddle=meddle, on_nonfinite="stop", **SHORT).ended(MISUSE)
    (told,) = [line for line in "".join(stopped.stderr).splitlines() if "isn't finite" in line]
    assert "step 3: the loss isn't finite; rows of the train split: rank 1: " in told
    assert [row["kind"] for row in metrics(tmp_path)] == ["train", "train", "nonfinite"]


def test_too_many_in_a_row_end_the_training(train, tmp_path):
    meddle = partial(spoil, dict.fromkeys((1, 3, 4, 5), ("gradient", 0)))
    stopped = train(2, run=tmp_path, meddle=meddle, nonfinite_limit=3, **SHORT).ended(MISUSE)
    (told,) = [line for line in "".join(stopped.stderr).splitlines() if "in a row" in line]
    assert "step 5: the gradient isn't finite" in told and "3 in a row" in told
    assert "Traceback" not in "".join(stopped.stderr)


@pytest.mark.parametrize(("zero_stage", "precision"), [(0, "fp32"), (1, "bf16"), (3, "fp32")])
def test_skipped_updates_are_remembered_over_an_interruption(train, zero, tmp_path, zero_stage, precision):
    bad = partial(spoil, {2: ("loss", 0), 7: ("gradient", 1)})
    knobs = {"deepspeed_config": zero(zero_stage, precision), "stage": "1", "max_steps": 8, "batch_size": 2}
    train(2, run=tmp_path / "whole", meddle=bad, **knobs).ended(0)
    kill = partial(every, bad, partial(signal_before_update, signal.SIGKILL, 1, 6, 0, saved=True))
    assert train(2, run=tmp_path / "run", meddle=kill, **knobs).codes == [-signal.SIGKILL, 1]
    assert "resumes from step-00000004" in train(2, run=tmp_path / "run", meddle=bad, **knobs).ended(0).stderr[0]
    assert_same_results(tmp_path / "run", tmp_path / "whole", stages=(1,))
    assert metrics(tmp_path / "run")[-2]["skipped_steps"] == 2


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_fp16_whose_scale_is_at_its_floor_ends_with_advice(train, fp16, tmp_path, zero_stage):
    meddle = partial(every, fp16_on_cpu, partial(spoil, dict.fromkeys(range(3, 40), ("gradient", 0))))
    knobs = {"deepspeed_config": fp16(zero_stage), "stage": "1", "batch_size": 2}
    ended = train(2, run=tmp_path, meddle=meddle, **knobs).ended(MISUSE)
    (told,) = [line for line in "".join(ended.stderr).splitlines() if "loss scale" in line]
    assert "step 7: fp16's loss scale has reached its minimum of 1" in told and "bf16" in told, "16, 8, 4, 2 failed too"
    assert [row["loss_scale"] for row in metrics(tmp_path)] == [16, 16]


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_fp16_s_loss_scale_goes_on_where_it_was(train, fp16, tmp_path, zero_stage):
    bad = partial(every, fp16_on_cpu, partial(spoil, {2: ("gradient", 1)}))
    knobs = {"deepspeed_config": fp16(zero_stage), "stage": "1", "max_steps": 8, "batch_size": 2}
    train(2, run=tmp_path / "whole", meddle=bad, **knobs).ended(0)
    scales = [row["loss_scale"] for row in metrics(tmp_path / "whole") if row["kind"] == "train"]
    assert scales[:5] == [16, 8, 8, 8, 8] and scales[-1] == 16, "it falls, and rises after 5 good updates"
    assert state(tmp_path / "whole", 1)["counters"]["updates"] == 7, "DeepSpeed's own at the start doesn't count"
    kill = partial(every, bad, partial(signal_before_update, signal.SIGKILL, 1, 6, 0, saved=True))
    assert train(2, run=tmp_path / "run", meddle=kill, **knobs).codes == [-signal.SIGKILL, 1]
    assert "resumes from step-00000004" in train(2, run=tmp_path / "run", meddle=bad, **knobs).ended(0).stderr[0]
    assert_same_results(tmp_path / "run", tmp_path / "whole", stages=(1,))


def test_what_is_not_finite_is_null_in_the_metrics(tmp_path):
    values = {"loss": math.nan, "loss_terms": {"relation": math.inf, "tail_end": 1.5}, "steps": 3}
    with Observers([MetricsFile(tmp_path / "metrics.jsonl", 1)]) as observers:
        observers.begin(Beginning("stage 1", 0, 4, {}))
        observers.record("train", 1, 0, values)
    (row,) = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "metrics.jsonl").open()]
    assert (row["loss"], row["loss_terms"], row["steps"]) == (None, {"relation": None, "tail_end": 1.5}, 3)


def test_weights_that_are_not_finite_are_never_saved(train, zero, tmp_path):
    """Rank 0's, which are those that are saved: both ranks end. What was saved before stays, and nothing is best."""
    meddle = partial(spoil_a_weight, 3)
    knobs = SHORT | {"run": tmp_path, "save_steps": 2, "max_steps": 3, "deepspeed_config": zero(0)}
    ended = train(2, meddle=meddle, **knobs).ended(MISUSE)
    (told,) = {line for line in ended.stderr[0].splitlines() if "aren't finite" in line}
    assert "step 3: " in told and "the last checkpoint is kept" in told and "--learning_rate" in told
    assert "Traceback" not in str(ended)
    assert names(tmp_path, 1) == {"step-00000002", "latest"}


def test_a_stage_without_one_update_fails_and_leaves_nothing_that_counts_as_trained(train, tmp_path):
    meddle = partial(spoil, dict.fromkeys(range(1, 30), ("gradient", 0)))
    knobs = {"run": tmp_path, "stage": "1", "batch_size": 16, "epochs": 1, "nonfinite_limit": 99, "save_steps": None}
    ended = train(1, meddle=meddle, learning_rate=3e-5, **knobs).ended(MISUSE)
    told = ended.stderr[0].splitlines()
    assert "learned nothing" in told[-1] and "Traceback" not in str(ended)
    assert not (tmp_path / "checkpoints").exists()
    (warned,) = [line for line in told if "random" in line]
    assert "--learning_rate=3e-05" in warned and "try --learning_rate=2e-3" in warned
    refused = train(1, stage="2", batch_size=16, run=tmp_path).ended(MISUSE)
    assert "train stage one first" in refused.stderr[0]
