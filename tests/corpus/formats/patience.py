"""A test that hangs fails."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 120
"""After which a block counts as hanging; it takes milliseconds."""


@contextmanager
def patience() -> Iterator[None]:
    """Raises AssertionError in a block that hangs in Python's code."""

    def hangs(*_: object) -> None:
        raise AssertionError("hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
