"""Training on several real ranks, each a process, without paying for the imports each time.

The processes are forked from a server that has imported `warm`; from there on all is as with a launcher: `train.py`'s
own main with a command line, a TCP rendezvous, gloo, real exit codes and signals.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from launching import free_port

ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_CPP_LOG_LEVEL": "ERROR",  # train.py sets it before it imports torch, which is too late here
    "PYTHONPATH": str(Path(__file__).parent),  # the server finds warm.py
}

_context = multiprocessing.get_context("forkserver")


class Forked:
    """A process that runs from now on, with as much of `subprocess.Popen` as the tests want."""

    def __init__(self, work: Callable[[], None], environment: dict[str, object]) -> None:
        """`work` is pickled, so it must be importable from tests/training."""
        self._folder = TemporaryDirectory(prefix="forked")
        self._log = Path(self._folder.name, "log")
        env = {name: str(value) for name, value in environment.items()}
        with pytest.MonkeyPatch.context() as patch:  # the server's environment, which its forks inherit
            for name, value in ENVIRONMENT.items():
                patch.setenv(name, value)
            _context.set_forkserver_preload(["warm"])
            ensure_running()
        self._process = _context.Process(target=_work, args=(work, env, self._log), daemon=True)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that killed it."""
        return self._process.exitcode

    def communicate(self, timeout: float) -> tuple[str, None]:
        """What it has said, stdout and stderr, once it has ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        said = self._log.read_text(errors="replace") if self._log.exists() else ""
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout, said)
        return said, None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it if it still runs."""
        self._process.kill()
        self._process.join()


@dataclass(frozen=True)
class Result:
    """How the ranks of one run ended: exit codes (negative: the signal that killed it) and what they said."""

    codes: list[int]
    stderr: list[str]

    def ended(self, code: int) -> "Result":
        """This result, if every rank ended with `code`; else the test fails and shows what they said."""
        assert set(self.codes) == {code}, f"exit codes {self.codes}, not {code}\n{self}"
        return self

    def __str__(self) -> str:
        return "\n".join(f"--- rank {rank}\n{text[-4000:]}" for rank, text in enumerate(self.stderr))


def rank(flags: Sequence[str], place: dict[str, object], meddle: Callable[[], None] | None = None) -> Forked:
    """One rank; `place`: what a launcher would put into its environment. `meddle` is run before training."""
    return Forked(partial(_train, list(flags), meddle), place)


def places(ranks: int) -> list[dict[str, object]]:
    """What a launcher tells each of so many ranks on this machine."""
    everyone = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [everyone | {"RANK": rank, "LOCAL_RANK": rank} for rank in range(ranks)]


def run_ranks(ranks: int, *, meddle: Callable[[], None] | None = None, deadline: float = 90, **knobs) -> Result:
    """`train.py --knob=value ...` on `ranks` ranks; `meddle` runs in each before training (RANK tells which it is).

    `meddle` is pickled, so it must be importable from tests/training. Fails the test if a rank is still there after
    `deadline` seconds.
    """
    flags = [f"--{name}={value}" for name, value in knobs.items()]
    started = time.monotonic()
    running = [rank(flags, place, meddle) for place in places(ranks)]
    said = []
    for process in running:
        try:
            said.append(process.communicate(max(0, started + deadline - time.monotonic()))[0])
        except subprocess.TimeoutExpired as late:
            said.append(late.output)
    codes = [process.returncode for process in running]
    for process in running:
        process.end()
    result = Result(codes, said)
    assert None not in codes, f"after {deadline} s ranks were still there, of {codes} those without a code\n{result}"
    return result


def _work(work: Callable[[], None], env: dict[str, str], log: Path) -> None:
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.environ |= env
    work()


def _train(flags: list[str], meddle: Callable[[], None] | None) -> None:
    sys.argv = ["train.py", *flags]
    from tqdm import tqdm

    from mere_ds.train import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    tqdm.set_lock(threading.RLock())  # its own is a semaphore that a killed process leaves behind
    if meddle:
        meddle()
    main()
