"""The two errors that are shown as one line; everything else that is raised is a defect and keeps its traceback."""

import errno
import re


class UserError(ValueError):
    """Bad input, a bad flag or a bad file: needs the user's attention. Exit code 2."""


class MachineError(RuntimeError):
    """A full disk, a lost rank, an unreachable master. Exit code 1; the same command resumes from the checkpoint."""


_OF_THE_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOMEM),
    *(errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET),
}


def from_os_error(error: OSError) -> UserError | MachineError:
    """The line that tells of an OSError which no caller expected, as the kind that its errno makes it."""
    where = f"{error.filename}: " if error.filename is not None else ""
    what = f"{where}{error.strerror or error}"
    if error.errno in _OF_THE_MACHINE:
        return MachineError(f"{what}. What was complete before is unchanged: fix this, then run the same command again")
    return UserError(what)


_OUT_OF_MEMORY = ("DefaultCPUAllocator: ", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How torch's RuntimeErrors say that there is not enough memory, where they have no type of their own."""
_HOW_MUCH = re.compile(r"allocate ([\d.]+ \w+)")


def from_memory_error(error: BaseException) -> MachineError | None:
    """The line that tells of memory that ran out, in Python, NumPy or torch; None for any other error.

    torch's errors are known by name and text, so that no command has to load it for this.
    """
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not named and not (isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)):
        return None
    found = _HOW_MUCH.search(str(error))
    tried = f" (no room for {found[1]} more)" if found else ""
    return MachineError(
        f"out of memory{tried}: free some, or use less; in training that is a smaller --batch_size with more "
        "--accumulation, or a smaller reduce_bucket_size and allgather_bucket_size in DeepSpeed's JSON"
    )
