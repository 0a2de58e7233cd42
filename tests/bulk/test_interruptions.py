"""An output whose making is killed, stopped or disturbed at any point: the same command makes the same bytes."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mere_ds import lease
from mere_ds.bulk import finishing, reading
from mere_ds.bulk.answering import Answerer
from mere_ds.bulk.finishing import record_of
from mere_ds.bulk.progress import work_folder
from mere_ds.bulk.reading import format_of, open_source
from mere_ds.bulk.run import STREAM, Job, Options, Target, answer_file, input_digest, join_parts
from mere_ds.bulk.writing import Writer, form_of
from mere_ds.errors import MachineError, UserError
from mere_ds.parts import Part
from tests.full_disk import files_of_at_most
from tests.killing import killed_at

LINES, AT_ONCE = 100, 40
"""Of the input and of a unit: three units."""


class Echo:
    """Finds the first two words of a text."""

    def answers(self, texts, languages):
        return [{"text": text, "lang": language, "triples": self.triples(text)} for text, language in
                zip(texts, languages, strict=True)]  # fmt: skip

    def triples(self, text):
        head, _, tail = text.partition(" ")
        begin = len(head) + 1
        spans = {"text": head, "start": 0, "end": len(head)}, {"text": tail, "start": begin, "end": len(text)}
        return [{"head": spans[0], "relation": "before", "tail": spans[1], "score": 0.5}] if tail else []


@dataclass(frozen=True)
class EchoJob(Job):
    """A job without a model."""

    def begin(self, threads):
        return partial(self._answer, Answerer(Echo(), ["de"], "de"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Small units; no waiting for leases, whose holders are known to be dead, and no asking git."""
    monkeypatch.setattr(reading, "LINES_AT_ONCE", AT_ONCE)
    monkeypatch.setattr(lease.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(finishing, "commit", lambda: None)


@pytest.fixture
def file(tmp_path) -> Path:
    (file := tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"id": n, "text": f"w{n} v{n % 7}"}) + "\n" for n in range(LINES - 1)) + "no JSON\n"
    )
    return file


def make(file: Path, out: Path, part: str = "1/1", act: Callable = answer_file, **how):
    """What the command does, with one process."""
    processes, made_from = how.pop("processes", 1), how.pop("made_from", {})
    source = open_source(str(file), format_of(str(file)), "text", None)
    writer = Writer(*form_of(str(out), how.pop("to", None)), keep_fields=file.suffix != ".parquet")
    job = EchoJob(Path(), Options(None, None, None, (), 32, "fp32"), "de", source.parser, writer, not source.path)
    target = Target(out, {"input": input_digest(source), **made_from}, Part.parse(part), **how)
    return act(job, source, target, processes) if act is answer_file else act(job, source, target)


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out.iterdir() if out.is_dir() else [out])}


def begun_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in work_folder(out).glob("1-of-1.[dj]*")}


OUTPUTS = [("a.jsonl", None), ("a.csv.gz", None), ("a.parquet", None), ("graph", "neo4j")]


@pytest.mark.slow
@pytest.mark.parametrize(("output", "step"), [*zip(OUTPUTS, (1, 4, 4, 2), strict=True)])
def test_killed_anywhere_the_same_command_makes_the_same(file, tmp_path, output, step):
    name, to = output
    make(file, whole := tmp_path / "whole" / name, to=to)
    number, finished_before = 1, 0
    while True:
        out = tmp_path / str(number) / name
        if not killed_at(number, lambda out=out: make(file, out, to=to)):
            break
        finished_before += out.exists()
        assert not out.exists() or content(out) == content(whole), "whole or not at all"
        make(file, out, to=to)
        assert content(out) == content(whole)
        assert sorted(path.name for path in out.parent.iterdir()) == sorted(
            path.name for path in whole.parent.iterdir()
        )
        assert record_of(out).read_bytes() == record_of(whole).read_bytes()
        shutil.rmtree(out.parent)
        number += step
    assert number > 12 and finished_before > 0


def test_killed_again_and_again(file, tmp_path):
    make(file, whole := tmp_path / "whole.jsonl")
    out, kills = tmp_path / "out.jsonl", 6
    while killed_at(kills, lambda: make(file, out)):  # each time a little later
        kills += 1
    assert kills > 8 and out.read_bytes() == whole.read_bytes()


def test_what_was_cut_off_in_the_middle_is_made_again(file, tmp_path):
    make(file, whole := tmp_path / "whole.jsonl")
    out = tmp_path / "out.jsonl"
    assert killed_at(6, lambda: make(file, out))
    data, journal = (work_folder(out) / f"1-of-1.{name}" for name in ("data", "journal"))
    done = journal.read_bytes().count(b"\n")
    assert done > 1 and data.stat().st_size
    for path in (data, journal):
        with path.open("ab") as opened:
            opened.write(b'{"unit": 2, "en')
    make(file, out)
    assert out.read_bytes() == whole.read_bytes()


def test_finished_units_are_not_made_again(file, tmp_path, monkeypatch):
    out, read = tmp_path / "out.jsonl", []
    assert killed_at(6, lambda: make(file, out))
    answer = Answerer.answer
    monkeypatch.setattr(Answerer, "answer", lambda self, rows: (read.append(rows[0].number), answer(self, rows))[1])
    make(file, out)
    assert 0 < len(read) < 3 and read == sorted(read)
    read.clear()
    assert make(file, out) is None and not read, "it is there"


def test_another_input_model_or_setting_is_refused(file, tmp_path):
    out = tmp_path / "out.jsonl"
    begun = {"model": "a" * 64, "k": None}
    assert killed_at(6, lambda: make(file, out, made_from=begun))
    before = begun_of(out)
    for other, says in (
        ({"model": "b" * 64, "k": None}, 'model was "aaaaaaaaaaaaaaaaaaa..., is "bbbbbbbbbbbbbbbbbbb...'),
        ({"model": "a" * 64, "k": 2}, "k was null, is 2"),
    ):
        with pytest.raises(UserError, match="begun from something else") as refused:
            make(file, out, made_from=other)
        assert says in str(refused.value) and begun_of(out) == before
    with file.open("a") as opened:
        opened.write("one more line\n")
    with pytest.raises(UserError, match="input was"):
        make(file, out, made_from=begun)
    make(file, out, made_from=begun, resume=False)
    assert out.read_bytes().count(b"\n") == LINES + 1


def test_an_output_that_is_there_is_only_replaced_on_demand(file, tmp_path):
    (out := tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(UserError, match="exists already: choose another file or pass --overwrite"):
        make(file, out)
    assert out.read_text() == "mine" and not work_folder(out).exists()
    make(file, out, overwrite=True)
    assert out.read_bytes().count(b"\n") == LINES
    (folder := tmp_path / "graph").mkdir()
    (folder / "mine").write_text("mine")
    with pytest.raises(UserError, match="not a folder of this command"):
        make(file, folder, to="neo4j", overwrite=True)


def test_a_stream_goes_on_if_it_is_the_same(file, tmp_path):
    """It can't be read before, so its units are compared as they come."""
    make(file, whole := tmp_path / "whole.jsonl")
    lines = file.read_bytes()

    def make_of(content: bytes) -> None:
        read, write = os.pipe()
        if (writer := os.fork()) == 0:
            try:
                os.close(read)
                with os.fdopen(write, "wb") as pipe:
                    pipe.write(content)
            finally:
                os._exit(0)
        os.close(write)
        source = open_source(f"/dev/fd/{read}", "jsonl", "text", None)
        job = EchoJob(Path(), Options(None, None, None, (), 32, "fp32"), "de", source.parser, Writer("jsonl"), True)
        try:
            answer_file(job, source, Target(tmp_path / "out.jsonl", {"input": input_digest(source)}), 1)
        finally:
            os.close(read)
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)

    assert killed_at(7, lambda: make_of(lines))
    for other in (lines.replace(b"w3 ", b"x3 "), lines[:1000]):
        with pytest.raises(UserError, match="is not what .* was begun from"):
            make_of(other)
    make_of(lines)
    assert (tmp_path / "out.jsonl").read_bytes() == whole.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        make_of(b"")  # it may be another one
    assert json.loads(record_of(tmp_path / "out.jsonl").read_text())["made_from"]["input"] == STREAM


def test_a_full_disk_is_one_error_and_goes_on(file, tmp_path):
    make(file, whole := tmp_path / "whole.jsonl")
    out = tmp_path / "out.jsonl"
    with files_of_at_most(whole.stat().st_size // 2), pytest.raises(OSError, match="File too large") as full:
        make(file, out)
    assert full.value.filename == str(out) and not out.exists()
    make(file, out)
    assert out.read_bytes() == whole.read_bytes()


def test_a_second_command_is_refused(file, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    answer = EchoJob._answer

    def meanwhile(self, answerer, unit):
        monkeypatch.undo()
        monkeypatch.setattr(lease, "BEAT", 0.1)
        with pytest.raises(MachineError, match="is writing here: wait for it, stop it or choose another --out"):
            make(file, out)
        return answer(self, answerer, unit)

    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(EchoJob, "_answer", meanwhile)
    make(file, out)
    assert out.read_bytes().count(b"\n") == LINES


# --- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "to"), [*OUTPUTS, ("a.csv", None)])
@pytest.mark.parametrize("parts", [2, 5])
def test_parts_are_joined_to_the_whole(file, tmp_path, name, to, parts):
    make(file, whole := tmp_path / "whole" / name, to=to)
    out = tmp_path / "parts" / name
    for number in range(parts, 0, -1):
        make(file, out, f"{number}/{parts}", to=to)
        assert not out.exists()
    make(file, out, f"{parts}/{parts}", join_parts, to=to)
    assert content(out) == content(whole)
    assert make(file, out, f"{parts}/{parts}", join_parts, to=to) is None
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(path.name for path in whole.parent.iterdir())


def test_parts_of_parquet(tmp_path):
    rows = [{"text": f"w{n} v", "n": n} for n in range(100)]
    pq.write_table(pa.Table.from_pylist(rows), file := tmp_path / "in.parquet", row_group_size=30)
    out = tmp_path / "out.parquet"
    for number in (1, 2):
        make(file, out, f"{number}/2")
    make(file, out, "2/2", join_parts)
    assert pq.read_table(out)["n"].to_pylist() == list(range(100))


def test_a_part_that_is_missing_unfinished_or_of_another_input_is_named(file, tmp_path):
    out = tmp_path / "out.jsonl"
    make(file, out, "1/3")
    with pytest.raises(UserError, match="of its 3 parts, 2/3, 3/3 are not finished: run the command with --part"):
        make(file, out, "3/3", join_parts)
    assert killed_at(5, lambda: make(file, out, "2/3"))
    make(file, out, "3/3", made_from={"k": 2})
    with pytest.raises(UserError, match="of its 3 parts, 2/3 is not finished"):
        make(file, out, "3/3", join_parts)
    make(file, out, "2/3")
    with pytest.raises(UserError, match="k was 2, is null"):
        make(file, out, "3/3", join_parts)
    make(file, out, "3/3", resume=False)
    make(file, out, "3/3", join_parts)
    assert out.read_bytes().count(b"\n") == LINES


def test_several_processes_make_the_same(file, tmp_path):
    make(file, one := tmp_path / "one.jsonl")
    make(file, two := tmp_path / "two.jsonl", processes=2)
    assert one.read_bytes() == two.read_bytes()
