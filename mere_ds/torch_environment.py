"""What torch reads from the environment when it is loaded, set for the use of a model; needs no torch."""

import os

FOR_USE = {
    # Threads that have nothing to do sleep. By default they spin, which takes the cores from the threads that have: on
    # a busy machine several threads were then slower than one.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Large weights lie in large pages, and are read in half the time.
    "THP_MEM_ALLOC_ENABLE": "1",
}


def prepare_use() -> None:
    """Set what isn't set yet. Too late where torch is loaded already, which then goes on as it is."""
    for name, value in FOR_USE.items():
        os.environ.setdefault(name, value)
