"""A changed bit in any file that is loaded to be used is one line, whatever the file."""

import os
import random
import threading
from pathlib import Path

import pytest

from mere_ds import sums, train
from mere_ds.errors import UserError
from mere_ds.model.loading import load_model
from mere_ds.sums import OPTIMIZER, SUMS, check_for_use, damage, identity_of, recorded_digest, write_sums
from tests.model.samples import tiny_model

USED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "training.json", SUMS)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "step-00000001"
    tiny_model().save_pretrained(folder)
    for name in (OPTIMIZER, "tokenizer.json", "tokenizer_config.json", "training.json"):
        (folder / name).write_bytes(f"what {name} holds".encode() * 9)
    write_sums(folder)
    return folder


@pytest.mark.parametrize("flags", [{}, {"overwrite": True}], ids=str)
def test_a_resumed_training_reads_its_checkpoints_once_beside_its_imports(checkpoint, tmp_path, monkeypatch, flags):
    stage = tmp_path / "run" / "checkpoints" / "stage1"
    stage.mkdir(parents=True)
    checkpoint.rename(stage / checkpoint.name)
    (stage / "latest").symlink_to(checkpoint.name)
    read, threads, digest = [], [], sums.digest_file

    def digest_file(path: Path) -> str:
        read.append(path.name)
        return digest(path)

    class Thread(threading.Thread):
        def start(self) -> None:
            threads.append(self)
            super().start()

    def imported() -> None:
        for thread in threads:
            thread.join()
        raise InterruptedError

    monkeypatch.setattr(sums, "digest_file", digest_file)
    monkeypatch.setattr(threading, "Thread", Thread)
    monkeypatch.setattr(train, "import_deepspeed", imported)
    monkeypatch.setattr(train, "StopSignals", lambda: None)  # it would stay after the test
    with pytest.raises(InterruptedError):
        train.run({"shards": "s", "run": str(tmp_path / "run"), **flags})
    assert bool(read) == (not flags)
    assert damage(stage / "latest") is None
    listed = sorted(path.name for path in (stage / "latest").iterdir() if path.name != SUMS)
    assert sorted(read) == listed


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as refused:
        load_model(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", USED)
def test_a_flipped_bit_is_refused_and_its_file_named(checkpoint, name):
    path, draw = checkpoint / name, random.Random(name)
    content = path.read_bytes()
    load_model(checkpoint)
    for place in draw.sample(range(len(content)), 30):
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        assert name == SUMS or f"{name} does not match its sha256" in refusal(checkpoint)
        if name == SUMS:  # a digest of a file that nobody reads in use may be another
            assert damage(checkpoint)
    path.write_bytes(content)
    load_model(checkpoint)


@pytest.mark.parametrize("name", USED)
@pytest.mark.parametrize("ruin", ["remove", "cut", "empty", "folder", "nul"])
def test_a_file_that_is_not_what_was_written_is_refused(checkpoint, name, ruin):
    path = checkpoint / name
    content = path.read_bytes()
    path.unlink()
    if ruin == "folder":
        path.mkdir()
    elif ruin != "remove":
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "nul": bytes(len(content))}[ruin])
    assert name in refusal(checkpoint)


def test_what_only_training_reads_does_not_stand_in_the_way_of_use(checkpoint):
    (checkpoint / OPTIMIZER).unlink()
    load_model(checkpoint)
    assert OPTIMIZER in damage(checkpoint)


def test_a_file_is_digested_once_while_it_stays_the_same(checkpoint, monkeypatch):
    check_for_use(checkpoint)
    monkeypatch.setattr("mere_ds.sums.digest_file", lambda path: pytest.fail(f"{path} was read again"))
    check_for_use(checkpoint)
    monkeypatch.undo()
    content = bytearray((checkpoint / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (checkpoint / "other").write_bytes(content)
    os.replace(checkpoint / "other", checkpoint / "model.safetensors")  # the same size and, on some disks, time
    with pytest.raises(UserError, match="model.safetensors does not match its sha256"):
        check_for_use(checkpoint)


def test_a_model_saved_without_digests_is_used_and_said_to_prove_nothing(tmp_path, caplog):
    tiny_model().save_pretrained(tmp_path)
    with caplog.at_level("WARNING", "mere_ds"):
        load_model(tmp_path)
    (line,) = caplog.messages
    assert str(tmp_path) in line and SUMS in line


@pytest.mark.parametrize(
    "text", ["", "x  model.safetensors\n", f"{'0' * 64}  ../../model.safetensors\n", f"{'0' * 64}  a\n" * 2]
)
def test_a_strange_list_is_one_line(checkpoint, text):
    (checkpoint / SUMS).write_text(text)
    assert SUMS in refusal(checkpoint)
    with pytest.raises(UserError, match=SUMS):
        recorded_digest(checkpoint, "model.safetensors")


def test_the_list_stands_for_all_files(checkpoint):
    before = identity_of(checkpoint)
    assert len(before) == 64 and len(recorded_digest(checkpoint, "config.json")) == 64
    (checkpoint / OPTIMIZER).write_bytes(b"other")
    (checkpoint / SUMS).unlink()
    write_sums(checkpoint)
    assert identity_of(checkpoint) != before
    (checkpoint / SUMS).unlink()
    with pytest.raises(UserError, match=SUMS):
        identity_of(checkpoint)
