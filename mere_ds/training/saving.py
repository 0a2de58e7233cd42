"""Checkpoints are written by a thread of rank 0 while training goes on: it waits only until its state is copied.

What the thread does, writing, digests and fsync, releases the GIL.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch

from mere_ds.errors import MachineError, UserError
from mere_ds.runs.checkpoint import Checkpoints
from mere_ds.training.observers import Observers
from mere_ds.training.process import Process

log = logging.getLogger("mere_ds")


class Copies:
    """Copies of tensors on the CPU, in memory that each next copy reuses: new memory costs more than copying."""

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor] = {}

    def of(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """A contiguous copy, in fp32 if it has a fraction; the next copy of this `name` overwrites it."""
        if name not in self._kept:
            dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
            self._kept[name] = torch.empty(tensor.shape, dtype=dtype)
        return self._kept[name].copy_(tensor.detach())


class _UnderWay(NamedTuple):
    step: int
    folder: Path
    written: Future


class Saver:
    """Writes a training's checkpoints, one at a time and in order; only rank 0 has any to write.

    Its methods are for the main thread, which calls the observers. As a context manager it waits at the end for the
    checkpoint under way, whether training ended well or not.
    """

    def __init__(self, process: Process, checkpoints: Checkpoints, observers: Observers) -> None:
        self.process, self.checkpoints, self.observers = process, checkpoints, observers
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._under_way: _UnderWay | None = None

    def start(self, step: int, name: str, fill: Callable[[Path], None], best: str | None) -> None:
        """Write the checkpoint `name` in the background, as `Checkpoints.write` does; none may be under way."""
        assert self._under_way is None, "its state would be overwritten by this one's"
        written = self._thread.submit(self._write, name, fill, best)
        self._under_way = _UnderWay(step, self.checkpoints.folder / name, written)

    def look(self) -> None:
        """Tell the observers if the checkpoint under way is whole by now. Raises what went wrong in writing it."""
        if self._under_way and self._under_way.written.done():
            self.wait()

    def wait(self) -> None:
        """Return once no checkpoint is under way. Raises what went wrong in writing it: a MachineError, or a UserError
        for weights that aren't finite."""
        if self._under_way:
            (step, folder, written), self._under_way = self._under_way, None
            written.result()
            self.observers.saved(step, folder)

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._thread:
            try:
                self.wait()
            except (MachineError, UserError) as failed:
                if error is None:
                    raise
                log.error("%s", failed)  # the error that ends the training is another one

    def _write(self, name: str, fill: Callable[[Path], None], best: str | None) -> None:
        started = time.perf_counter()
        assert self.process.lease is not None, "rank 0 has it"
        self.process.lease.check()
        self.checkpoints.write(name, fill, best)
        log.info("saved %s in %.1f s", name, time.perf_counter() - started)
