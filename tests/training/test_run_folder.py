"""A run folder whose files were damaged, copied or replaced: training resumes where it can, else one line says why."""

import json
import logging
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from meddling import signal_before_update
from outcomes import assert_same_tensors, checkpoint, metrics, names, tensors

from mere_ds import lease
from mere_ds.errors import UserError
from mere_ds.lease import WriterLease
from mere_ds.runs.checkpoint import Checkpoints
from mere_ds.runs.run_folder import RunFolder
from mere_ds.sums import SUMS, write_sums

pytestmark = pytest.mark.slow

MISUSE = 2
ONE_RANK = {"stage": "1", "batch_size": 16, "save_steps": 3}


@pytest.fixture(scope="module")
def stopped(train, tmp_path_factory) -> Path:
    """A run folder whose stage one, on one rank, was stopped after 6 updates."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    train(1, run=run, meddle=partial(signal_before_update, signal.SIGTERM, 1, 6, 0), **ONE_RANK).ended(85)
    assert names(run, 1) == {"step-00000003", "step-00000006", "latest"}
    return run


@pytest.fixture(scope="module")
def finished(train, stopped, tmp_path_factory) -> Path:
    """The same, gone on to the end."""
    run = shutil.copytree(stopped, tmp_path_factory.mktemp("finished") / "run", symlinks=True)
    train(1, run=run, **ONE_RANK).ended(0)
    return run


@pytest.fixture
def run(stopped, tmp_path) -> Path:
    return shutil.copytree(stopped, tmp_path / "run", symlinks=True)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "precious").touch()


def with_odd(**values) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        told = json.loads(path.read_text())
        path.write_text(json.dumps({"stage1": told["stage1"] | values}))

    return spoil


LOSSES = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "folder": folder,
    "list": lambda path: path.write_text("[]"),
    "empty object": lambda path: path.write_text("{}"),
    "another program's": lambda path: path.write_text('{"model_type": "bert"}'),
    "stage a list": lambda path: path.write_text('{"stage1": []}'),
    "ranks text": with_odd(ranks="1"),
    "batch size 0": with_odd(batch_size=0),
    "shards null": with_odd(shards=None),
}


@pytest.mark.parametrize("lost", LOSSES)
def test_what_config_json_told_comes_back_from_the_checkpoints(run, lost, caplog):
    before = json.loads((run / "config.json").read_text())
    LOSSES[lost](run / "config.json")
    assert RunFolder(run).started(1) == RunFolder(run).settings(1) == before["stage1"]
    logging.getLogger("mere_ds").propagate = True
    RunFolder(run).restore_config()
    assert json.loads((run / "config.json").read_text()) == before
    (warning,) = caplog.messages
    assert str(run / "config.json") in warning
    assert (run / "damaged-config.json/precious").exists() == (lost == "folder")


@pytest.mark.parametrize("lost", sorted(set(LOSSES) - {"missing"}))
def test_config_json_that_is_lost_with_no_checkpoint_is_one_line(run, lost):
    """Also of a run by an earlier version, whose checkpoints don't keep it; nothing is changed."""
    LOSSES[lost](run / "config.json")
    for path in (run / "checkpoints/stage1").glob("step-*"):
        state = json.loads((path / "training.json").read_text())
        del state["told"]
        (path / "training.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match="config.json") as error:
        RunFolder(run).started(1)
    assert "\n" not in str(error.value)
    shutil.rmtree(run / "checkpoints")
    before = sorted(run.rglob("*"))
    with pytest.raises(UserError, match="config.json"), RunFolder(run).created():
        pass
    assert sorted(run.rglob("*")) == before


def test_with_many_faults_at_once_it_ends_with_the_same_bits(train, run, finished, tmp_path):
    """Copied with links followed, config.json cut, records damaged."""
    copy = shutil.copytree(run, tmp_path / "copy", symlinks=False)
    LOSSES["cut"](copy / "config.json")
    lines = (copy / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    strange = [b"\xff" + lines[0], b'{"stage": "1", "step": []}\n', b"[3]\n", b'{"stage": 1}\n', b"\n"]
    (copy / "metrics.jsonl").write_bytes(b"".join([*lines[:2], *strange, *lines[2:], lines[0][:20]]))
    result = train(1, run=copy, **ONE_RANK).ended(0)
    assert "resumes from step-00000006" in result.stderr[0] and "Traceback" not in result.stderr[0]
    assert result.stderr[0].count("WARNING") == 2, result
    assert (copy / "damaged-metrics.jsonl").read_bytes() == b"".join(strange)
    assert names(copy, 1) == names(finished, 1)
    assert checkpoint(copy, 1).is_symlink() and metrics(copy) == metrics(finished)
    assert_same_tensors(tensors(copy, 1), tensors(finished, 1))


@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt", "writer.json"])
def test_a_folder_in_a_files_place_is_one_line(train, run, name):
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    result = train(1, run=run, **ONE_RANK)
    said = result.stderr[0].splitlines()
    assert result.codes[0] in (1, MISUSE) and f"{run / name}: Is a directory" in said[-1], result
    assert "Traceback" not in result.stderr[0] and names(run, 1) == {"step-00000003", "step-00000006", "latest"}


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 512, b"[" * 100_000, b"{}" + b" " * 10_000_000, b'{"pid": 1e300}', b'{"pid": -1, "host": "a\\nb"}'],
)
def test_whatever_writer_json_holds_a_silent_one_is_followed(tmp_path, content, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.05)
    (tmp_path / "writer.json").write_bytes(content)
    WriterLease.take(tmp_path / "writer.json", patience=0).release()
    assert not list(tmp_path.iterdir())


DROPPED = "(dropped)"
ODD_STATES = [
    b"", b"[]", b'{"step": 5', b"{}", {"step": "5"}, {"epoch": None}, {"finished": 1}, {"ingredients": []},
    {"counters": {}}, {"best": "../../../step-00000003"}, {"step": -5}, {"best_dev": 0}, {"tally": {"steps": 1}},
    {"step": 10**30}, {"step": 7}, {"epoch": 10**30}, {"best": DROPPED}, {"best": "step-00000003"},
    {"tally": {"steps": 1, "seconds": 1.0, "ranks": [[1.0], "x"]}},
    *({"tally": {"steps": 1, "seconds": 1.0, "ranks": [[1.0] * 9], "work": w}} for w in ([1, 2], [1, 2, 3, "x"], 7)),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_STATES, ids=str)
def test_a_state_that_tells_nothing_is_set_aside_though_its_digest_is_right(run, odd):
    newest = run / "checkpoints/stage1/step-00000006"
    if not isinstance(odd, bytes):
        state = json.loads((newest / "training.json").read_text()) | odd
        odd = json.dumps({name: value for name, value in state.items() if value != DROPPED}).encode()
    (newest / "training.json").write_bytes(odd)
    (newest / SUMS).unlink()
    write_sums(newest)
    found = Checkpoints(run / "checkpoints/stage1", keep=2).newest_whole()
    assert found.name == "step-00000003"
    assert names(run, 1) == {"step-00000003", "damaged-step-00000006", "latest"}


@pytest.mark.parametrize("epoch", [0, 2])
def test_an_epoch_that_does_not_follow_from_the_step_is_refused(train, finished, tmp_path, epoch):
    """Though all digests are right: continuing would train sentences twice, or leave some out."""
    run = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    (last,) = (run / "checkpoints/stage1").glob("*-epoch-2")
    shutil.rmtree(last)
    (run / "checkpoints/stage1/latest").unlink()
    halfway = max((run / "checkpoints/stage1").glob("step-*"))
    state = json.loads((halfway / "training.json").read_text())
    assert state["epoch"] == 1 and state["dev"] is None
    (halfway / "training.json").write_text(json.dumps(state | {"epoch": epoch}))
    (halfway / SUMS).unlink()
    write_sums(halfway)
    refused = train(1, run=run, **ONE_RANK).ended(MISUSE)
    assert f"records {epoch} finished epochs after step {state['step']}" in refused.stderr[0].splitlines()[-1]
    assert (halfway / "training.json").is_file() and "Traceback" not in refused.stderr[0]


def test_a_copy_of_one_checkpoint_gets_its_name_back(run, tmp_path):
    """Links followed, and the rest left behind."""
    stage = tmp_path / "alone"
    shutil.copytree(run / "checkpoints/stage1/latest", stage / "best")
    assert Checkpoints(stage, keep=2).newest_whole() == stage / "step-00000006"
    assert os.readlink(stage / "latest") == "step-00000006" and not (stage / "best").exists()
    shutil.copytree(run / "checkpoints/stage1/step-00000003", stage / "best")
    (stage / "best/training.json").write_bytes(b"{}")
    assert Checkpoints(stage, keep=2).newest_whole() == stage / "step-00000006"
    assert (stage / "damaged-best").is_dir() and not (stage / "best").exists()


def test_folders_that_lie_in_each_other_are_refused_and_nothing_is_left(train, dropout_shards, tmp_path):
    shards = shutil.copytree(dropout_shards, tmp_path / "shards")
    (tmp_path / "link").symlink_to("shards")
    before = sorted(tmp_path.rglob("*"))
    for places in (
        {"run": shards},
        {"run": tmp_path / "link"},
        {"run": tmp_path},
        {"run": shards / "run"},
        {"run": tmp_path / "run", "feature_cache": tmp_path / "link" / "cache"},
        {"run": shards / "encoder", "encoder_weights": shards / "encoder", "shards": dropout_shards},
    ):
        refused = train(1, **{"shards": shards, **ONE_RANK, **places}).ended(MISUSE)
        assert refused.stderr[0].count("\n") == 1 and "choose another folder for" in refused.stderr[0], refused
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("refused", [{"shards": "/nowhere"}, {"stage": "2"}, {"languages": "fr"}])
def test_a_refused_training_leaves_nothing(train, tmp_path, refused):
    train(2, run=tmp_path / "runs/run", **ONE_RANK | refused).ended(MISUSE)
    assert not list(tmp_path.iterdir())
