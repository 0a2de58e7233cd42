"""Work that is killed before a certain change on disk."""

import os
import signal
from collections.abc import Callable


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Does `act` in a process that is killed before its call with this number that changes what is on disk; whether it
    came so far."""
    child = os.fork()
    if child == 0:
        calls = 0

        def dying(call):
            def counted(*given, **how):
                nonlocal calls
                calls += 1
                if calls == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*given, **how)

            return counted

        for name in ("fsync", "replace", "unlink", "rmdir"):
            setattr(os, name, dying(getattr(os, name)))
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0
