"""Leaving early: a signal to any rank stops all of them at the same step boundary, after a save.

Slurm sends USR1 when the time limit is near and TERM at preemption. No heavy imports: the handlers stand before torch
is loaded.
"""

import signal
from types import FrameType

LEFT_EARLY = 85
"""Exit code of a run that was told to stop, has saved and wants to be started again."""


class StopSignals:
    """Remembers whether this process was told to stop. Makes USR1 and TERM harmless from its creation on."""

    def __init__(self) -> None:
        self.received: str | None = None
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._remember)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
