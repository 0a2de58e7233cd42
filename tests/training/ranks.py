"""Training on several real ranks, each a process, without paying for the imports each time.

The processes are forked from a server that has imported the heavy modules once; from there on all is as with a
launcher: `train.py`'s own main with a command line, a TCP rendezvous, gloo, real exit codes and signals.
"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
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
}
HEAVY = [
    "mere_ds.training.stages",
    # what these import only when they are used
    "deepspeed.runtime.zero.muon.original_muon",
    "transformers.conversion_mapping",
    "transformers.models.bert.modeling_bert",
    "matplotlib.pyplot",
]

_context = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Result:
    """How the ranks of one run ended: exit codes (negative: the signal that killed it), stderr, seconds in all."""

    codes: list[int]
    stderr: list[str]
    seconds: float

    def ended(self, code: int) -> "Result":
        """This result, if every rank ended with `code`; else the test fails and shows what they said."""
        assert set(self.codes) == {code}, f"exit codes {self.codes}, not {code}\n{self}"
        return self

    def __str__(self) -> str:
        return "\n".join(f"--- rank {rank}\n{text[-4000:]}" for rank, text in enumerate(self.stderr))


def run_ranks(ranks: int, *, meddle: Callable[[], None] | None = None, deadline: float = 90, **knobs) -> Result:
    """`train.py --knob=value ...` on `ranks` ranks; `meddle` runs in each before training (RANK tells which it is).

    `meddle` is pickled, so it must be importable from tests/training. Fails the test if a rank is still there after
    `deadline` seconds.
    """
    flags = [f"--{name}={value}" for name, value in knobs.items()]
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="ranks") as folder:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        _context.set_forkserver_preload(HEAVY)
        ensure_running()
        port, logs = free_port(), [Path(folder, str(rank)) for rank in range(ranks)]
        processes = [
            _context.Process(target=_rank, args=(rank, ranks, port, flags, meddle, log), daemon=True)
            for rank, log in enumerate(logs)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(max(0, started + deadline - time.monotonic()))
        late = [rank for rank, process in enumerate(processes) if process.is_alive()]
        for process in processes:
            process.kill()
            process.join()
        stderr = [log.read_text(errors="replace") if log.exists() else "" for log in logs]
        result = Result([p.exitcode for p in processes], stderr, time.monotonic() - started)
    assert not late, f"after {deadline} s ranks {late} were still there\n{result}"
    return result


def _rank(rank: int, ranks: int, port: int, flags: list[str], meddle: Callable | None, log: Path) -> None:
    """One rank, in its own process."""
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.argv = ["train.py", *flags]
    from tqdm import tqdm

    from mere_ds.train import main

    tqdm.set_lock(threading.RLock())  # its own is a semaphore that a killed process leaves behind
    if meddle:
        meddle()
    main()
