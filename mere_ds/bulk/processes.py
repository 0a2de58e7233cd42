"""Work on units in several processes, with the results in order and few of them in memory.

Each process has one unit at a time, over a pipe of its own: one that dies is noticed at once, and all of them end when
this process is killed, because their pipes close.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol, TypeVar

from mere_ds.errors import MachineError, UserError, from_memory_error

_AHEAD = 4
"""Results that may wait in memory for an earlier one, in numbers of processes."""


class _Numbered(Protocol):
    @property
    def number(self) -> int: ...


U = TypeVar("U", bound=_Numbered)
R = TypeVar("R")
Begin = Callable[[], Callable[[U], R]]
"""Called once in each process, gives the function that does the work. Both are pickled for the way there."""


class _Worker(NamedTuple):
    process: Any
    pipe: Connection


@contextmanager
def working(begin: Begin, processes: int) -> Iterator[Callable[[Iterator[U]], Iterator[R]]]:
    """A function from units to their results, in order. With one process the work is done in this one.

    Raises what the work raises as UserError or MachineError, and MachineError for a process that dies.
    """
    if processes == 1:
        work = begin()
        yield lambda units: map(work, units)
        return
    # Ctrl-C is sent to all processes of a terminal: the others must leave it to this one
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    workers: list[_Worker] = []
    try:
        try:
            workers += (_started(begin) for _ in range(processes))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield lambda units: _in_order(units, workers)
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()


def _started(begin: Begin) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, begin), daemon=True)
    process.start()
    theirs.close()  # so that the process's end is the pipe's
    return _Worker(process, ours)


def _in_order(units: Iterator[U], workers: list[_Worker]) -> Iterator[R]:
    """The results, in the order of the units."""
    idle, busy = list(workers), dict[Connection, tuple[_Worker, int]]()
    found: dict[int, Any] = {}
    given = taken = 0
    more = True
    while more or busy or found:
        while more and idle and given < taken + _AHEAD * len(workers):
            unit = next(units, None)
            if unit is None:
                more = False
                break
            worker = idle.pop()
            _talk(worker, partial(Connection.send, obj=unit))
            busy[worker.pipe] = worker, given
            given += 1
        for pipe in wait(list(busy)):
            worker, place = busy.pop(pipe)  # type: ignore[call-overload]
            found[place] = _talk(worker, Connection.recv)
            idle.append(worker)
        while taken in found:
            result = found.pop(taken)
            taken += 1
            if isinstance(result, Exception):
                raise result
            yield result


def _talk(worker: _Worker, act: Callable[[Connection], Any]) -> Any:
    """Raises MachineError if the process has died."""
    try:
        return act(worker.pipe)
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = ", maybe because memory ran out" if code == -signal.SIGKILL else ""
        raise MachineError(f"a worker process {how}{hint}: fix this or lower --processes") from None


def _serve(pipe: Connection, begin: Begin) -> None:
    """A process's work, by one thread, until the pipe closes. What the user or the machine did wrong is an answer too;
    any other exception ends the process and shows its traceback."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # before anything counts cores
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        work = _or_error(begin)
        while True:
            unit = pipe.recv()
            pipe.send(work if isinstance(work, Exception) else _or_error(partial(work, unit)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the program is gone


def _or_error(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (UserError, MachineError) as error:
        return error
    except (MemoryError, RuntimeError) as error:
        if not (out_of_memory := from_memory_error(error)):
            raise
        return out_of_memory
