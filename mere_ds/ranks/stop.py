"""Leaving early: a signal to any rank stops all of them at the same step boundary, after a save.

Slurm sends USR1 when the time limit is near and TERM at preemption; Ctrl-C sends INT to all ranks on a terminal. No
heavy imports: the handlers stand before torch is loaded.
"""

import os
import signal
from types import FrameType, TracebackType

LEFT_EARLY = 85
"""Exit code of a run that was asked to stop, has saved and wants to be started again."""


class StopSignals:
    """Remembers whether this process was asked to stop. From its creation on USR1, TERM and the first INT do no harm.

    A second INT ends the process at once. INT stays ignored where it was: in a shell's background job. As a context it
    puts back at its end what was there before. Only the main thread can make one. `name`: the program's.
    """

    def __init__(self, name: str = "train.py") -> None:
        self.received: str | None = None
        self._saves = f"\n{name}: saves after this step and leaves; Ctrl-C again ends it at once, without saving\n"
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
            os.write(2, self._saves.encode())  # the stream may be in the middle of another line
