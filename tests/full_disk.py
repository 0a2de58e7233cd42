"""A disk that takes no more, in this process."""

import resource
from contextlib import contextmanager


@contextmanager
def files_of_at_most(size: int):
    """No file may grow beyond `size` bytes, as if the disk were full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
