"""The two errors that are shown as one line; any other exception is a bug and keeps its traceback."""

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
    """An OSError that no caller handled as a one-line error; its errno decides which of the two kinds it is."""
    where = f"{error.filename}: " if error.filename is not None else ""
    what = f"{where}{error.strerror or error}"
    if error.errno in _OF_THE_MACHINE:
        return MachineError(f"{what}: fix this, then run the same command again; complete files are unchanged")
    return UserError(what)


_OUT_OF_MEMORY = ("DefaultCPUAllocator: ", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""The texts of torch's plain RuntimeErrors for too little memory."""
_HOW_MUCH = re.compile(r"allocate ([\d.]+ \w+)")


def from_memory_error(error: BaseException) -> MachineError | None:
    """An out-of-memory error of Python, NumPy or torch as a one-line error; None for any other error.

    torch's errors are recognised by name and text, so that no command has to import torch for this.
    """
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not named and not (isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)):
        return None
    found = _HOW_MUCH.search(str(error))
    tried = f" (could not allocate {found[1]})" if found else ""
    return MachineError(
        f"out of memory{tried}: free memory or use less; in training, lower --batch_size and raise --accumulation, or "
        "lower reduce_bucket_size and allgather_bucket_size in the DeepSpeed JSON"
    )


def first_line(error: BaseException) -> str:
    """An error's text as one short line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
