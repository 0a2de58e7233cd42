"""A save that is killed at any moment, a full disk, damaged checkpoints: training resumes from a whole one."""

import json
import random
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
from meddling import (
    every,
    full_disk_at_save_point,
    keep_copies,
    scores_that_rise,
    scores_that_stay,
    signal_at_save_point,
    signal_before_update,
    stall_save,
)
from outcomes import assert_same_results, assert_same_tensors, checkpoint, is_whole, names, tensors

from mere_ds.runs.checkpoint import Checkpoints

pytestmark = pytest.mark.slow

MISUSE, MACHINE = 2, 1
KILL = signal.SIGKILL
ONE_RANK = {"stage": "1", "batch_size": 16, "save_steps": 12, "keep": 1}


def rising(*meddles):
    return partial(every, scores_that_rise, *meddles)


@pytest.fixture(scope="module")
def alone(train, tmp_path_factory) -> Path:
    """Stage one on one rank, each epoch better than the one before; never interrupted."""
    run = tmp_path_factory.mktemp("alone") / "run"
    train(1, run=run, meddle=rising(), **ONE_RANK).ended(0)
    return run


@pytest.fixture(scope="module")
def two_left(train, tmp_path_factory) -> Path:
    """Killed before update 14, with checkpoints of update 9 (an epoch's end, best) and 12."""
    run = tmp_path_factory.mktemp("two_left") / "run"
    train(
        1, run=run, meddle=rising(partial(signal_before_update, signal.SIGKILL, 1, 14, 0, saved=True)), **ONE_RANK
    ).ended(-9)
    assert names(run, 1) == {"step-00000012", "step-00000009-epoch-1", "latest", "best"}
    return run


def folders(run: Path) -> list[Path]:
    """The stage's checkpoints, the newest last."""
    return sorted(p for p in (run / "checkpoints/stage1").glob("step-*") if p.suffix != ".part")


def test_a_kill_at_any_point_of_a_save_leaves_whole_checkpoints(train, alone, tmp_path):
    """A copy of the files at a point is what a kill at this point leaves; of copies that look alike one continues."""
    run, copies = tmp_path / "run", tmp_path / "copies"
    train(1, run=run, meddle=rising(partial(keep_copies, run, copies)), **ONE_RANK).ended(0)
    assert_same_results(run, alone, stages=(1,))
    distinct = {}
    for copy in sorted(copies.iterdir()):
        assert all(is_whole(folder) for folder in folders(copy)), copy
        latest = checkpoint(copy, 1)
        assert latest.exists() or len(folders(copy)) < 2, "only the first one is there before it is named"
        looks = [(p.name, p.is_symlink() and str(p.readlink())) for p in sorted(latest.parent.glob("*"))]
        distinct[str(looks)] = copy
    assert len(list(copies.iterdir())) > 90 and len(distinct) > 15, "of three saves"
    for copy in distinct.values():
        train(1, run=copy, meddle=rising(), **ONE_RANK).ended(0)
        assert_same_results(copy, alone, stages=(1,))
        assert names(copy, 1) == names(alone, 1)


def test_killed_in_saves_it_ends_with_the_same_bits(train, reference, tmp_path):
    """A real kill of rank 0 while rank 1 waits for the save's end."""
    points = random.Random(3).sample(range(1, 160), 3)
    print("killed at save points", points)
    for point in points:
        killed = train(2, run=tmp_path, meddle=partial(signal_at_save_point, signal.SIGKILL, tmp_path, point))
        assert killed.codes == [-signal.SIGKILL, 1], killed
    train(2, run=tmp_path).ended(0)
    assert_same_results(tmp_path, reference)


OFTEN = ONE_RANK | {"save_steps": 3}
KILLS_BESIDE_SAVES = [
    ("step-00000006", "os.mkdir stage1/step-00000006.part", 8, "step-00000003"),
    ("step-00000006", "open stage1/step-00000006.part/SHA256SUMS", 9, "step-00000003"),
    ("step-00000006", "fsync stage1/step-00000006.part/optimizer.safetensors", 8, "step-00000003"),
    ("step-00000006", "os.rename stage1/step-00000006", 9, "step-00000003"),
    ("step-00000006", "os.symlink stage1/latest.part", 8, "step-00000006"),
    ("step-00000012", "os.rename stage1/latest", 14, "step-00000012"),
    ("step-00000015", "os.rename stage1/step-00000012.part", 17, "step-00000015"),
]
"""(the save that stands still, before what, the update before which all is killed, the newest checkpoint then)."""


def test_a_kill_beside_a_save_costs_the_steps_after_the_newest_whole_checkpoint(train, alone, tmp_path):
    """One kill after the other, each while a save stands still and training has gone on for one or two steps."""
    for save, point, update, newest in KILLS_BESIDE_SAVES:
        stalled = partial(stall_save, tmp_path, save, point)
        killed = train(
            1, run=tmp_path, meddle=rising(stalled, partial(signal_before_update, KILL, 1, update, 0)), **OFTEN
        )
        killed.ended(-KILL)
        assert all(is_whole(folder) for folder in folders(tmp_path)) and folders(tmp_path)[-1].name == newest
        recorded = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert recorded[-1] == update - 1, "training had gone on"
    last = train(1, run=tmp_path, meddle=rising(), **OFTEN).ended(0)
    assert f"resumes from {newest}" in last.stderr[0]
    assert_same_results(tmp_path, alone, stages=(1,))


@pytest.mark.parametrize("zero_stage", [0, 1])
def test_a_checkpoint_is_of_its_step_though_training_went_on_before_it_was_written(train, zero, tmp_path, zero_stage):
    knobs = ONE_RANK | {"save_steps": 6, "max_steps": 8, "deepspeed_config": zero(zero_stage)}
    at_once, late = tmp_path / "at_once", tmp_path / "late"
    stalled = partial(stall_save, late, "step-00000006", "os.mkdir stage1/step-00000006.part", until=8)
    for run, meddle in ((at_once, ()), (late, (stalled,))):
        kill = partial(signal_before_update, KILL, 1, 8, 0, saved=True)
        train(1, run=run, meddle=rising(kill, *meddle), **knobs).ended(-KILL)
        assert checkpoint(run, 1).resolve().name == "step-00000006"
    assert_same_tensors(tensors(at_once, 1), tensors(late, 1))
    for name in ("config.json", "tokenizer.json"):
        assert (checkpoint(late, 1) / name).read_bytes() == (checkpoint(at_once, 1) / name).read_bytes()


def test_a_full_disk_is_one_line_and_costs_no_checkpoint(train, alone, tmp_path):
    for point in (1, 3, 20, 45, 25):
        full = train(1, run=tmp_path, meddle=rising(partial(full_disk_at_save_point, tmp_path, point)), **ONE_RANK)
        assert full.codes == [MACHINE], full
        last = full.stderr[0].splitlines()[-1]
        assert "No space left on device" in last and "Traceback" not in full.stderr[0], full
        assert all(is_whole(folder) for folder in folders(tmp_path))
    assert [folder.name for folder in folders(tmp_path)] == ["step-00000009-epoch-1"], "45 is in the second save"
    full = train(1, run=tmp_path, meddle=rising(partial(full_disk_at_save_point, tmp_path, 60)), **ONE_RANK)
    assert full.codes == [MACHINE] and "No space left on device" in full.stderr[0].splitlines()[-1], full
    assert folders(tmp_path)[-1].name == "step-00000012", "60 is in the last save, for which the stage's end waits"
    train(1, run=tmp_path, meddle=rising(), **ONE_RANK).ended(0)
    assert_same_results(tmp_path, alone, stages=(1,))


def test_a_full_disk_ends_all_ranks_with_one_line(train, tmp_path):
    full = train(2, run=tmp_path, meddle=partial(full_disk_at_save_point, tmp_path, 10)).ended(MACHINE)
    assert "".join(full.stderr).count("No space left on device") == 1 and "Traceback" not in str(full)


def test_a_stop_signal_does_not_hide_that_nothing_could_be_saved(train, tmp_path):
    stop = partial(signal_before_update, signal.SIGTERM, 1, 5, 0)
    full = train(1, run=tmp_path, meddle=rising(partial(full_disk_at_save_point, tmp_path, 5), stop), **ONE_RANK)
    assert full.codes == [MACHINE] and "No space left on device" in full.stderr[0].splitlines()[-1], full
    assert not folders(tmp_path)


def flip(path: Path) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [
    *((flip, name) for name in ("model.safetensors", "optimizer.safetensors", "config.json", "training.json")),
    *((flip, name) for name in ("tokenizer.json", "tokenizer_config.json", "SHA256SUMS")),
    *((cut, name) for name in ("model.safetensors", "optimizer.safetensors", "training.json", "SHA256SUMS")),
    *((Path.unlink, name) for name in ("model.safetensors", "training.json", "SHA256SUMS")),
    (empty, "SHA256SUMS"),
]


@pytest.mark.parametrize(("damage", "name"), DAMAGES, ids=lambda x: getattr(x, "__name__", x))
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(train, alone, two_left, tmp_path, damage, name):
    run = shutil.copytree(two_left, tmp_path / "run", symlinks=True)
    damage(run / "checkpoints/stage1/step-00000012" / name)
    result = train(1, run=run, meddle=rising(), **ONE_RANK | {"save_steps": 2}).ended(0)
    (warning,) = [line for line in result.stderr[0].splitlines() if "WARNING" in line]
    assert "step-00000012" in warning
    assert name in warning or name == "SHA256SUMS", "a wrong digest puts the blame on its file"
    assert "resumes from step-00000009-epoch-1" in result.stderr[0]
    assert_same_results(run, alone, stages=(1,))
    assert names(run, 1) == names(alone, 1) | {"damaged-step-00000012"}


def test_with_every_checkpoint_damaged_it_refuses_to_start_from_scratch(train, two_left, tmp_path):
    run = shutil.copytree(two_left, tmp_path / "run", symlinks=True)
    for folder in folders(run):
        flip(folder / "optimizer.safetensors")
    refused = train(1, run=run, meddle=rising(), **ONE_RANK).ended(MISUSE)
    last = refused.stderr[0].splitlines()[-1]
    assert str(run) in last and "--overwrite" in last, refused
    assert names(run, 1) == names(two_left, 1), "nothing is lost"


BEST = "step-00000009-epoch-1"
LOSSES_OF_BEST = {
    "a bit of its weights": lambda best: flip(best / "model.safetensors"),
    "a bit of its state": lambda best: flip(best / "training.json"),
    "half its weights": lambda best: cut(best / "model.safetensors"),
    "its weights": lambda best: (best / "model.safetensors").unlink(),
    "its sums": lambda best: (best / "SHA256SUMS").unlink(),
    "all": shutil.rmtree,
}


@pytest.mark.parametrize("lost", LOSSES_OF_BEST)
def test_training_does_not_go_on_without_its_best_checkpoint(train, two_left, tmp_path, lost):
    """No later epoch may be taken for the best in its place; nothing is changed."""
    run = shutil.copytree(two_left, tmp_path / "run", symlinks=True)
    LOSSES_OF_BEST[lost](run / "checkpoints/stage1" / BEST)
    before = contents(run / "checkpoints")
    refused = train(1, run=run, meddle=rising(), **ONE_RANK).ended(MISUSE)
    last = refused.stderr[0].splitlines()[-1]
    assert f"{BEST}, the best checkpoint so far, is {'missing' if lost == 'all' else 'damaged'}" in last, refused
    assert "restore it from a copy" in last and "--overwrite" in last and "Traceback" not in refused.stderr[0]
    assert contents(run / "checkpoints") == before
    shutil.rmtree(run / "checkpoints/stage1" / BEST, ignore_errors=True)
    shutil.copytree(two_left / "checkpoints/stage1" / BEST, run / "checkpoints/stage1" / BEST)
    assert Checkpoints(run / "checkpoints/stage1", keep=1).newest_whole().name == "step-00000012"


def test_without_the_optimizer_of_its_best_checkpoint_training_goes_on(two_left, tmp_path):
    run = shutil.copytree(two_left, tmp_path / "run", symlinks=True)
    flip(run / "checkpoints/stage1" / BEST / "optimizer.safetensors")
    assert Checkpoints(run / "checkpoints/stage1", keep=1).newest_whole().name == "step-00000012"


def test_a_stage_is_not_finished_without_its_best_checkpoint(train, two_left, tmp_path):
    """Its first epoch stays the best."""
    run = shutil.copytree(two_left, tmp_path / "run", symlinks=True)
    train(1, run=run, meddle=scores_that_stay, **ONE_RANK).ended(0)
    assert checkpoint(run, 1, "best").resolve().name == BEST
    flip(checkpoint(run, 1, "best") / "model.safetensors")
    refused = train(1, run=run, **ONE_RANK).ended(MISUSE)
    said = refused.stderr[0]
    assert f"{BEST}, the best checkpoint so far, is damaged" in said and "is finished" not in said


def contents(folder: Path) -> dict[Path, bytes]:
    """Of all files below a folder, and where its links lead."""
    return {
        path: str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }
