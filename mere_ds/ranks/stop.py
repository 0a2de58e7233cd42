"""Leaving early: a signal to any rank stops all of them at the same step boundary, after a save.

Slurm sends USR1 when the time limit is near and TERM at preemption; Ctrl-C sends INT to all ranks on a terminal. No
heavy imports: the handlers stand before torch is loaded.
"""

import os
import signal
from types import FrameType

LEFT_EARLY = 85
"""Exit code of a run that was told to stop, has saved and wants to be started again."""


_SAVES = b"\ntrain.py: saves after this step and leaves; Ctrl-C again ends it at once, without saving\n"


class StopSignals:
    """Remembers whether this process was told to stop. From its creation on USR1, TERM and the first INT do no harm.

    A second INT ends the process at once. INT stays ignored where it was: in a shell's background job.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._remember)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupt)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._remember(number, frame)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if os.environ.get("RANK", "0") == "0":
            os.write(2, _SAVES)  # the stream may be in the middle of another line
