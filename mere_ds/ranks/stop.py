"""Stopping early: a signal to any rank stops all ranks after the same step, with a checkpoint.

Slurm sends USR1 when the time limit is near and TERM at preemption; Ctrl-C sends INT to all ranks on a terminal. No
heavy imports here: the handlers are installed before torch is loaded.
"""

import os
import signal
from types import FrameType, TracebackType

LEFT_EARLY = 85
"""Exit code of a run that was asked to stop and has saved a checkpoint to resume from."""


class StopSignals:
    """Records whether this process was asked to stop. Once created, USR1, TERM and the first INT are only recorded.

    A second INT ends the process immediately. INT stays ignored if it was ignored before, as in a shell's background
    job. As a context manager it restores the previous handlers at the end. Must be created in the main thread. `name`
    is the program's.
    """

    def __init__(self, name: str = "train.py") -> None:
        self.received: str | None = None
        self._saves = f"\n{name}: saving after this step and stopping; press Ctrl-C again to quit now without saving\n"
        self._before = {n: signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)}
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._remember)
        if self._before[signal.SIGINT] is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupt)

    def __enter__(self) -> "StopSignals":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            if handler is not None:  # not one that was set in C
                signal.signal(number, handler)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._remember(number, frame)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if os.environ.get("RANK", "0") == "0":
            os.write(2, self._saves.encode())  # not sys.stderr: it may be in the middle of a write
