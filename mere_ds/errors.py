"""The two errors that are told in one line; everything else that is raised is a defect and keeps its traceback."""


class UserError(ValueError):
    """Bad input, a bad flag or a bad file: the user's to mend. Exit code 2."""


class MachineError(RuntimeError):
    """A full disk, a lost rank, an unreachable master. Exit code 1; the same command goes on from the checkpoint."""
