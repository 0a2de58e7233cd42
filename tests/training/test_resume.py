"""An interrupted training, started again by the same command, ends as if nothing had happened."""

import json
import random
import shutil
import signal
from functools import partial

import pytest
from meddling import every, signal_at_once, signal_before_update, signal_in_scoring
from outcomes import assert_same_results, assert_same_tensors, checkpoint, metrics, names, state, tensors

from mere_ds.encoders.tokenizer_files import TOKENIZER_FILES

pytestmark = pytest.mark.slow

LEFT_EARLY = 85


def test_the_reference_is_what_these_tests_need(reference, dropout_shards):
    for stage in (1, 2):
        kept = [(checkpoint(reference, stage) / name).read_bytes() for name in TOKENIZER_FILES]
        assert kept == [(dropout_shards / "encoder" / name).read_bytes() for name in TOKENIZER_FILES]
        assert state(reference, stage)["epoch"] == 2 and 12 <= state(reference, stage)["step"] <= 20
        trained = [row["step"] for row in metrics(reference) if (row["kind"], row["stage"]) == ("train", stage)]
        assert trained == list(range(1, state(reference, stage)["step"] + 1))


def test_killed_at_ten_random_steps_it_ends_with_the_same_bits(train, reference, tmp_path):
    draw = random.Random(1)
    steps = [(stage, step) for stage in (1, 2) for step in range(1, state(reference, stage)["step"] + 1)]
    kills = [(*where, draw.randrange(2)) for where in sorted(draw.sample(steps, 10))]
    print("killed at (stage, step, rank):", kills)
    for stage, step, rank in kills:
        latest = checkpoint(tmp_path, stage)
        goes_on = f"stage {stage} resumes from {latest.resolve().name}" if latest.exists() else ""
        result = train(2, run=tmp_path, meddle=partial(signal_before_update, signal.SIGKILL, stage, step, rank))
        assert result.codes[rank] == -signal.SIGKILL and result.codes[1 - rank] == 1, result
        assert goes_on in result.stderr[0], "else the same bits would tell nothing"
    train(2, run=tmp_path).ended(0)
    assert_same_results(tmp_path, reference)


def test_killed_while_scoring_it_scores_again(train, reference, tmp_path):
    for stage, epoch in ((1, 2), (2, 1)):
        result = train(2, run=tmp_path, meddle=partial(signal_in_scoring, signal.SIGKILL, stage, epoch, rank=1))
        assert result.codes[1] == -signal.SIGKILL, result
    train(2, run=tmp_path).ended(0)
    assert_same_results(tmp_path, reference)


def test_a_stop_signal_to_any_rank_stops_all_after_a_save(train, reference, tmp_path):
    last = state(reference, 1)["step"]
    usr1, term, interrupt = signal.SIGUSR1, signal.SIGTERM, signal.SIGINT
    both = (partial(signal_before_update, term, 1, 7, rank) for rank in (0, 1))
    told_and_left_with = [
        (partial(signal_at_once, usr1, rank=1), None),
        (partial(signal_before_update, term, 1, 1, rank=0), "step-00000001"),
        (partial(signal_before_update, usr1, 1, 5, rank=1), "step-00000005"),
        (partial(every, *both), "step-00000007"),
        (partial(signal_before_update, interrupt, 1, 8, rank=0), "step-00000008"),
        (partial(signal_in_scoring, usr1, 1, 1, rank=1), f"step-{last // 2:08d}-epoch-1"),
        (partial(signal_before_update, term, 1, last, rank=1), f"step-{last:08d}-epoch-2"),
    ]
    for told, left in told_and_left_with:
        train(2, run=tmp_path, meddle=told).ended(LEFT_EARLY)
        assert (checkpoint(tmp_path, 1).resolve().name if left else None) == left
        assert not checkpoint(tmp_path, 2).exists()
    train(2, run=tmp_path, meddle=partial(signal_before_update, usr1, 2, 6, rank=1)).ended(LEFT_EARLY)
    assert checkpoint(tmp_path, 2).resolve().name == "step-00000006"
    train(2, run=tmp_path).ended(0)
    assert_same_results(tmp_path, reference)


def test_a_second_ctrl_c_ends_it_at_once(train, tmp_path):
    both = (partial(signal_before_update, signal.SIGINT, 1, 5, 0, saved) for saved in (False, True))
    ended = train(1, run=tmp_path / "run", stage="1", meddle=partial(every, *both))
    assert ended.codes == [-signal.SIGINT] and "Traceback" not in ended.stderr[0]
    assert ended.stderr[0].count("press Ctrl-C again to quit now") == 1
    assert checkpoint(tmp_path / "run", 1).resolve().name == "step-00000004"


def test_records_are_those_of_an_uninterrupted_training(train, tmp_path):
    """Though a stop falls between two records, and for other ranks too, up to rounding."""
    whole, same, other = (tmp_path / name for name in ("whole", "same", "other"))
    knobs = {"stage": "1", "log_every": 5, "save_steps": None}
    train(2, run=whole, **knobs).ended(0)
    for run, ranks in ((same, 2), (other, 1)):
        for step in (4, 8):
            train(2, run=run, meddle=partial(signal_before_update, signal.SIGTERM, 1, step, 0), **knobs).ended(
                LEFT_EARLY
            )
        train(ranks, run=run, **knobs).ended(0)
    assert_same_results(same, whole, stages=(1,))
    of_whole, of_other = ([row for row in metrics(run) if row["kind"] == "train"] for run in (whole, other))
    assert [row["step"] for row in of_other] == [row["step"] for row in of_whole]
    for row, its_whole in zip(of_other, of_whole, strict=True):
        assert row["loss"] == pytest.approx(its_whole["loss"], rel=1e-2)
        assert row["padding_share"] == pytest.approx(its_whole["padding_share"])
    assert all(
        json.loads(line)["sentences_per_second"] > 0
        for line in (other / "metrics.jsonl").read_text().splitlines()
        if '"train"' in line
    )


def test_a_signal_in_the_last_scoring_of_all_comes_too_late_to_stop(train, reference, tmp_path):
    run = shutil.copytree(reference, tmp_path / "run", symlinks=True)
    knobs = {"stage": "1", "overwrite": True, "run": run}
    train(2, meddle=partial(signal_in_scoring, signal.SIGTERM, 1, 2, rank=0), **knobs).ended(0)
    assert_same_tensors(tensors(run, 1), tensors(reference, 1))


def test_a_finished_run_is_left_alone_unless_overwritten(train, reference, tmp_path):
    run = shutil.copytree(reference, tmp_path / "run", symlinks=True)
    again = train(1, run=run).ended(0)
    for stage in (1, 2):
        assert f"stage {stage} of {run} is finished" in again.stderr[0]
    assert_same_results(run, reference)
    again = train(1, run=run, stage="1", overwrite=True, learning_rate=2e-3, batch_size=16, epochs=1).ended(0)
    assert "is finished" not in again.stderr[0]
    assert state(run, 1)["epoch"] == 1 and state(run, 1)["step"] == state(reference, 1)["step"] // 2
    for of_stage_two in ([row for row in metrics(r) if row["stage"] == 2] for r in (run, reference)):
        assert len(of_stage_two) == state(reference, 2)["step"] + 4, "every step, both epochs' scores and router"


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_and_the_best_checkpoints_are_kept(train, tmp_path, keep):
    run, knobs = tmp_path / "run", {"stage": "1", "batch_size": 16, "keep": keep}
    train(1, run=run, meddle=partial(signal_before_update, signal.SIGTERM, 1, 13, 0), **knobs).ended(LEFT_EARLY)
    for part in ("step-00000099.part", "step-00000012.part"):
        (run / "checkpoints/stage1" / part).mkdir()
        (run / "checkpoints/stage1" / part / "model.safetensors").write_bytes(b"half")
    train(1, run=run, **knobs).ended(0)
    assert all(row["average"]["triple"] == 0 for row in metrics(run) if row["kind"] == "dev"), "so the first is best"
    last = state(run, 1)["step"]
    saved = ["step-00000013", "step-00000016", f"step-{last:08d}-epoch-2"]
    assert names(run, 1) == {*saved[-keep:], "latest", "best", f"step-{last // 2:08d}-epoch-1"}


def test_checkpoints_by_time_or_at_the_end_of_epochs_alone(train, tmp_path):
    knobs = {"stage": "1", "epochs": 1, "batch_size": 16, "save_steps": None, "keep": 99}
    always, never = tmp_path / "always", tmp_path / "never"
    train(1, run=always, save_minutes=1e-9, **knobs).ended(0)
    train(1, run=never, save_minutes=0, **knobs).ended(0)
    last = state(never, 1)["step"]
    end = {f"step-{last:08d}-epoch-1", "latest", "best"}
    assert names(never, 1) == end
    assert names(always, 1) == end | {f"step-{step:08d}" for step in range(1, last)}
