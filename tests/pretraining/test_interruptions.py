"""A pretraining that is killed, asked to stop, damaged or started twice: on the loop and checkpoints of the stages."""

import json
import os
import shutil
import signal
import threading
from functools import partial

import pytest

from mere_ds import lease
from mere_ds.runs.checkpoint import Checkpoints
from tests.pretraining.following import at_step, follow, refused, ruin


def with_dropout(encoder):
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.1}))
    return encoder


@pytest.fixture(scope="module")
def uninterrupted(pretrain, wee, tmp_path_factory):
    """(folder, knobs) of a training of 9 steps, with dropout, which must be drawn again as it was."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    encoder = with_dropout(shutil.copytree(wee, folder / "encoder"))
    knobs = {"encoder": encoder, "steps": 9, "log_every": 4}
    pretrain(out=folder / "out", **knobs)
    return folder / "out", knobs


def assert_same(one, other):
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    results = [json.loads((out / "pretraining.json").read_text())["result"] for out in (one, other)]
    assert results[0] == results[1], "the last record's means too, begun before the interruption"


def test_killed_it_goes_on_bit_for_bit_from_its_checkpoint(pretrain, uninterrupted, tmp_path, monkeypatch):
    whole, knobs = uninterrupted

    def die():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="130"):
        follow(patch, at_step(8, die))
        pretrain(out=tmp_path, save_steps=3, **knobs)
    assert not list(tmp_path.glob("model*.safetensors"))  # nobody takes it for an encoder yet
    steps = []
    follow(monkeypatch, *(at_step(n, partial(steps.append, n)) for n in range(10)))
    pretrain(out=tmp_path, save_steps=3, **knobs)
    assert steps == [7, 8, 9]
    assert_same(tmp_path, whole)


def test_a_checkpoint_is_of_its_step_though_training_went_on_before_it_was_written(
    pretrain, uninterrupted, tmp_path, monkeypatch
):
    whole, knobs = uninterrupted
    gone_on, write = threading.Event(), Checkpoints.write

    def write_late(*what):
        gone_on.wait()
        write(*what)

    def die():
        gone_on.set()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="130"):
        patch.setattr(Checkpoints, "write", write_late)
        follow(patch, at_step(5, die))
        pretrain(out=tmp_path, save_steps=3, **knobs)
    assert (tmp_path / "checkpoints" / "latest").resolve().name == "step-00000003"
    pretrain(out=tmp_path, save_steps=3, **knobs)
    assert_same(tmp_path, whole)


@pytest.fixture
def heeds_interrupts():
    """A shell's background job ignores INT, and so would the training."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_told_to_stop_it_saves_leaves_with_code_85_and_goes_on_bit_for_bit(
    pretrain, uninterrupted, tmp_path, monkeypatch, capfd, heeds_interrupts, number
):
    whole, knobs = uninterrupted
    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="85"):
        follow(patch, at_step(5, lambda: os.kill(os.getpid(), number)))
        pretrain(out=tmp_path, **knobs)
    assert signal.getsignal(number) == before and not (tmp_path / "writer.json").exists()
    assert ("pretrain-mtmb: saving after this step" in capfd.readouterr().err) == (number == signal.SIGINT)
    assert (tmp_path / "checkpoints" / "latest").resolve().name == "step-00000005"
    pretrain(out=tmp_path, **knobs)
    assert_same(tmp_path, whole)
    assert not (tmp_path / "checkpoints").exists()


def test_a_damaged_checkpoint_is_refused_until_overwritten(pretrain, uninterrupted, tmp_path, monkeypatch, capsys):
    whole, knobs = uninterrupted
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="85"):
        follow(patch, at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        pretrain(out=tmp_path, **knobs)
    ruin(tmp_path / "checkpoints" / "step-00000005" / "optimizer.safetensors", "flip")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=tmp_path, **knobs)
    refused(capsys, "every checkpoint in", "is damaged", "--overwrite")
    pretrain(out=tmp_path, overwrite=True, **knobs)
    assert_same(tmp_path, whole)


def test_a_checkpoint_of_an_older_version_is_refused(pretrain, tmp_path, monkeypatch, capsys):
    """It was one file."""
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="85"):
        follow(patch, at_step(1, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        pretrain(out=tmp_path, steps=2)
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "checkpoint.safetensors").write_bytes(b"weights")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        pretrain(out=tmp_path, steps=2)
    refused(capsys, "checkpoint.safetensors was written by an older version", "--overwrite")
    pretrain(out=tmp_path, steps=2, overwrite=True)
    assert (tmp_path / "model.safetensors").is_file() and not (tmp_path / "checkpoint.safetensors").exists()


def test_a_disk_that_takes_no_checkpoint_is_one_line(pretrain, tmp_path, monkeypatch, capsys):
    follow(monkeypatch, at_step(1, (tmp_path / "checkpoints").touch))
    with pytest.raises(SystemExit, match="1"):
        pretrain(out=tmp_path, steps=3, save_steps=2)
    assert f"checkpoint {tmp_path}/checkpoints/step-00000002 could not be written" in capsys.readouterr().err


def test_of_two_at_once_the_second_is_refused_and_the_first_finishes(pretrain, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"

    def listed():
        return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "writer.json"}

    def start_another():
        before = listed()
        with pytest.raises(SystemExit, match="1"):
            pretrain(out=out, overwrite=True)
        refused(capsys, f"{out}: process", "is writing here", "another --out")
        assert listed() == before

    monkeypatch.setattr(lease, "BEAT", 0.1)
    follow(monkeypatch, at_step(2, start_another))
    pretrain(out=out, steps=3, save_steps=2)
    assert (out / "model.safetensors").is_file() and not (out / "writer.json").exists()
