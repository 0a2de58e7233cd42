"""The installed program on a file that takes it a while: stopped, killed and robbed of a process, it goes on."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from launching import BIN, environment

from mere_ds.bulk.progress import work_folder
from mere_ds.streams import LINES_AT_ONCE
from tests.small_model import TEXTS

UNITS = 4

pytestmark = pytest.mark.slow


class Started:
    """`mere-ds extract` with two processes. Leaving the block, all of it is gone."""

    def __init__(self, run: Path, file: Path, out: Path):
        words = ("--lang=de", f"--file={file}", f"--out={out}", "--processes=2", "--batch_size=64", "--precision=fp32")
        self._journal = work_folder(out) / "1-of-1.journal"
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        self.program = subprocess.Popen(
            [BIN / "mere-ds", "extract", run, *words], env=environment(), stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        signal.signal(signal.SIGINT, before)

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_) -> None:
        self.program.kill()
        self.program.wait()
        self.program.stderr.close()

    def done(self) -> int:
        return self._journal.read_bytes().count(b"\n") - 1 if self._journal.exists() else 0

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert self.program.poll() is None, self.program.stderr.read()
            time.sleep(0.05)

    def workers(self) -> list[psutil.Process]:
        """Both, as soon as they are there."""

        def found() -> list[psutil.Process]:
            children = psutil.Process(self.program.pid).children()
            return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

        self.until(lambda: len(found()) == 2)
        return found()

    def ended(self) -> tuple[int, list[str]]:
        said = self.program.communicate(timeout=120)[1]
        return self.program.returncode, [line for line in said.splitlines() if line.startswith(("mere-ds: ", "/"))]


def test_whatever_ends_it_the_same_command_makes_the_same_file(run, extract, tmp_path):
    lines = [f"{text} {n}" for n in range(UNITS * LINES_AT_ONCE // 3) for text in TEXTS]
    (file := tmp_path / "in.txt").write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    with Started(run, file, out) as first:
        first.until(first.done)
        first.program.send_signal(signal.SIGINT)
        code, said = first.ended()
    assert code == 130 and said == [
        f"mere-ds: stopped by SIGINT: nothing is lost: the same command goes on with {out}",
    ]
    with Started(run, file, out) as second:
        second.workers()[0].kill()
        code, said = second.ended()
    assert code == 1 and said == [
        "mere-ds: a worker process was killed by SIGKILL, maybe because memory ran out: fix this or lower --processes",
    ]
    with Started(run, file, out) as third:
        workers = third.workers()
        third.program.kill()
        third.ended()
    assert not psutil.wait_procs(workers, timeout=60)[1], "they end with it"
    assert not out.exists()
    with Started(run, file, out) as last:
        code, said = last.ended()
    assert code == 0 and said == [f"{out}: rows: {len(lines):,}, triples: {len(lines):,}"]
    argv = ("--lang=de", f"--file={file}", "--batch_size=64", "--precision=fp32", "--processes=1")
    extract(*argv, f"--out={(whole := tmp_path / 'whole.jsonl')}")
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [file.name, *(f"{name}{more}" for name in ("out.jsonl", "whole.jsonl") for more in ("", ".record.json"))]
    )


def test_a_row_of_standard_input_is_answered_before_the_next_comes(run):
    """In one program, whatever the locale and format."""
    env = environment() | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [BIN / "mere-ds", "extract", run, "--lang=de", "--input_format=csv"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as program:
        program.stdin.write(b"id,text\n")
        for number, text in enumerate(["Jürgen Groß", '"two\nlines"', "K\u00f6ln"]):
            program.stdin.write(f"{number},{text}\n".encode())
            program.stdin.flush()
            answer = json.loads(program.stdout.readline().decode("utf-8"))
            assert answer["id"] == str(number) and answer["text"] == text.strip('"')
        program.stdin.close()
        assert program.stdout.read() == b"" and program.stderr.read() == b""
    assert program.returncode == 0
