"""Commands as processes of their own, in milliseconds: forked from a server that has imported everything."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from launching import BIN, environment
from ranks import Forked

PATIENCE = 120
"""Seconds after which a command counts as hanging: the slowest takes one."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended; `code` is None if it had to be killed, negative for a signal."""

    code: int | None
    out: bytes
    err: bytes
    seconds: float


def command(place: Path, argv: Sequence[str], stdin: bytes = b"") -> Outcome:
    """`mere-ds ARGV` in the folder `place`."""
    return child(place, partial(_mere_ds, [str(word) for word in argv]), stdin)


def program(place: Path, argv: Sequence[str], stdin: bytes = b"") -> Outcome:
    """The same by the installed program, which takes seconds to start."""
    started = time.monotonic()
    ended = subprocess.run(
        [str(BIN / "mere-ds"), *argv], cwd=place, env=environment(), input=stdin, capture_output=True, timeout=PATIENCE
    )
    return Outcome(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - started)


def child(place: Path, work: Callable[[], None], stdin: bytes = b"") -> Outcome:
    """`work` (importable) in a process of its own, in the folder `place`."""
    streams = [place.with_name(f"{place.name}.{name}") for name in ("stdin", "stdout", "stderr")]
    streams[0].write_bytes(stdin)
    started = time.monotonic()
    process = Forked(partial(_work, place, streams, work), {})
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(PATIENCE)
    code = process.returncode
    with contextlib.suppress(ProcessLookupError):  # whatever it has left running
        os.killpg(process.pid, signal.SIGKILL)
    process.end()
    out, err = (stream.read_bytes() if stream.exists() else b"" for stream in streams[1:])
    return Outcome(code, out, err, time.monotonic() - started)


def _work(place: Path, streams: list[Path], work: Callable[[], None]) -> None:
    os.setsid()
    for number, stream in enumerate(streams):
        handle = os.open(stream, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if number else 0), 0o644)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # multiprocessing has put another in its place
    os.chdir(place)
    multiprocessing.current_process()._config["daemon"] = False  # it may have children of its own, as a program may
    work()


def _mere_ds(argv: list[str]) -> None:
    from mere_ds.cli import main

    sys.argv = ["mere-ds", *argv]
    main()
