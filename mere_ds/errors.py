"""The two errors that are shown as one line; everything else that is raised is a defect and keeps its traceback."""

import errno


class UserError(ValueError):
    """Bad input, a bad flag or a bad file: needs the user's attention. Exit code 2."""


class MachineError(RuntimeError):
    """A full disk, a lost rank, an unreachable master. Exit code 1; the same command goes on from the checkpoint."""


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
