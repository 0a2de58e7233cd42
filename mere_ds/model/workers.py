"""Threads that compute different sentences at the same time, each by itself.

Several threads in one operation wait for each other at its end, a hundred times a batch: two threads were hardly faster
than one.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> list[Result]:
    """The function's results, without gradients, computed by so many threads; by this one where there is one item."""
    if workers == 1 or len(items) == 1:
        return [function(item) for item in items]
    return list(_pool(workers).map(torch.no_grad()(function), items))


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads whose operations use one thread each."""
    as_before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "mere-ds", torch.set_num_threads, (1,))
    barrier = Barrier(workers)
    list(pool.map(lambda _: barrier.wait(), range(workers)))  # all of them have begun
    torch.set_num_threads(as_before)  # what the new threads have set is of the whole process in part
    return pool
