"""Making the shards' folder while disks fill up, processes are stopped or killed, and others do the same."""

import logging
import os
import signal
import subprocess
import time

import pytest
from launching import start_program

from mere_ds import flags, lease
from mere_ds.cli import COMMANDS
from mere_ds.errors import MachineError, UserError
from mere_ds.shards import tokenising
from mere_ds.shards.manifest import Manifest
from tests.full_disk import files_of_at_most
from tests.shards.toy_corpus import make_shards


def meddle(monkeypatch, act) -> None:
    """Call `act` when the encoder is there and the corpus is about to be read."""
    collect = tokenising.collect
    monkeypatch.setattr(tokenising, "collect", lambda *given: (act(), collect(*given))[1])


def run(*argv) -> None:
    flags.run(COMMANDS, list(map(str, argv)), "mere-ds")


def one_line(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mere-ds: ")]
    return line


LEASE_BYTES = 512


def test_wherever_the_disk_fills_up_it_is_one_error_that_names_the_folder(corpus, tmp_path):
    make_shards(corpus, tmp_path / "whole")
    sizes = sorted({path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file()})
    out = tmp_path / "folder" / "out"
    for size in (0, *sizes[1:]):
        with files_of_at_most(max(size - 1, 0)), pytest.raises((OSError, MachineError), match="File too large") as full:
            make_shards(corpus, out)
        named = str(out.with_name(".out.writer.json")) if size <= LEASE_BYTES else str(out)
        assert getattr(full.value, "filename", None) == named or str(full.value).startswith(f"{named}: ")
        assert not out.parent.exists(), "what was made for it is gone"


def test_a_full_disk_is_one_line_with_code_1(corpus, tmp_path, capsys):
    with files_of_at_most(10_000), pytest.raises(SystemExit) as ended:
        run("shard", corpus, tmp_path / "out", "--encoder=tiny")
    assert ended.value.code == 1
    assert one_line(capsys).startswith(f"mere-ds: {tmp_path / 'out'}: File too large: fix this")
    assert not list(tmp_path.iterdir())


def test_of_two_at_once_the_second_is_refused_and_the_first_finishes(corpus, tmp_path, monkeypatch):
    refused = []

    def another() -> None:
        monkeypatch.undo()
        monkeypatch.setattr(lease, "BEAT", 0.1)
        with pytest.raises(MachineError) as error:
            make_shards(corpus, tmp_path / "out", overwrite=True)
        refused.append(str(error.value))

    monkeypatch.setattr(lease, "BEAT", 0.1)
    meddle(monkeypatch, another)
    manifest = make_shards(corpus, tmp_path / "out")
    assert len(refused) == 1 and f"{tmp_path / 'out'}: process {os.getpid()} on" in refused[0]
    assert Manifest.load(tmp_path / "out") == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_appears_meanwhile_is_not_replaced(corpus, tmp_path, monkeypatch):
    take = lease.WriterLease.take

    def late(*given, **how):
        (tmp_path / "out").mkdir()
        return take(*given, **how)

    monkeypatch.setattr(lease.WriterLease, "take", late)
    with pytest.raises(UserError, match="exists already"):
        make_shards(corpus, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_one_left_is_removed_and_nothing_else(corpus, tmp_path, caplog):
    left = tmp_path / ".out.k3j_8s2x.part"
    others = [tmp_path / name for name in (".out.backup", ".b.out.k3j_8s2x.part", ".out.b.k3j_8s2x.part", ".out.part")]
    for folder in (left, *others):
        folder.mkdir()
        (folder / "tokens").write_bytes(b"half")
    with caplog.at_level(logging.WARNING, logger="mere_ds"):
        logging.getLogger("mere_ds").propagate = True
        make_shards(corpus, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out", *(folder.name for folder in others)}
    assert [str(left) in record.message for record in caplog.records] == [True]


def test_ctrl_c_is_one_line_and_leaves_nothing(corpus, tmp_path, monkeypatch, capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    meddle(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        with pytest.raises(SystemExit) as ended:
            run("shard", corpus, tmp_path / "folder/out", "--encoder=tiny")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130 and one_line(capsys) == "mere-ds: stopped by SIGINT"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_program_that_is_told_to_stop_leaves_nothing(corpus, tmp_path):
    process = start_program("mere-ds", "shard", corpus, tmp_path / "out", "--encoder=tiny")
    try:
        while not list(tmp_path.glob(".out.*.part")):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        process.terminate()
        said = process.communicate(timeout=120)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 143 and said.splitlines()[-1] == "mere-ds: stopped by SIGTERM"
    assert "Traceback" not in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["corpus", "corpus/shards", ".", "link/shards"])
def test_shards_and_corpus_lie_apart(corpus, tmp_path, out):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "link").symlink_to("corpus")
    for path in corpus.iterdir():
        (tmp_path / "corpus" / path.name).symlink_to(path)
    (tmp_path / "manifest.json").touch()  # else "." would be refused for another reason
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="OUT .* and SOURCE .* folder|are inside one another"):
        make_shards(tmp_path / "corpus", tmp_path / out, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_encoder_is_not_replaced_by_what_is_made_from_it(corpus, tmp_path):
    make_shards(corpus, tmp_path / "out")
    with pytest.raises(UserError, match="--encoder"):
        make_shards(corpus, tmp_path / "out", encoder=str(tmp_path / "out/encoder"), overwrite=True)
    assert Manifest.load(tmp_path / "out")


def test_the_encoder_counts_in_the_room_that_is_needed(corpus, tmp_path, monkeypatch):
    sentences = 4 * sum(path.stat().st_size for path in corpus.glob("*.tsv"))
    whole = make_shards(corpus, tmp_path / "whole")
    encoder = sum(file.bytes for file in whole.encoder_files)
    free = type("usage", (), {"free": sentences + encoder - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(UserError, match="make room"):
        make_shards(corpus, tmp_path / "out")
