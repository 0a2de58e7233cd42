"""An output folder: one writer at a time, written atomically, cleaned up after an interruption."""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mere_ds.errors import UserError
from mere_ds.files import PART, naming, parents_of
from mere_ds.lease import WriterLease

_REPLACED = "replaced"

log = logging.getLogger("mere_ds")


@contextmanager
def making(out: Path, overwrite: bool, needed: int, mark: str, kind: str, besides: str = "") -> Iterator[Path]:
    """A new, empty folder beside `out`, whose `part` becomes `out` when the block ends without an error.

    `needed` is how many bytes it may take, the others as in `check_new`. Raises what that raises, UserError if the disk
    has too little space, MachineError while another process writes `out`, OSError that names `out`.
    """
    check_new(out, overwrite, mark, kind, besides)
    _check_room(out, needed)
    lease_file = out.parent / f".{out.name}.writer.json"
    with parents_of(out):
        lease = WriterLease.take(lease_file, folder=out, flag="OUT")
        try:
            _remove_leftovers(out)
            check_new(out, overwrite, mark, kind, besides)  # another process may have just created it
            with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=PART, dir=out.parent) as temporary:
                work = Path(temporary)
                with naming(out, work):
                    yield work
                    lease.check()
                    if out.exists():
                        os.replace(out, work / _REPLACED)  # removed with the temporary folder
                    os.replace(work / "part", out)
        finally:
            lease.release()


def check_new(out: Path, overwrite: bool, mark: str, kind: str, besides: str = "") -> None:
    """Raises UserError if `out` exists (with `overwrite`: and has no file `mark`, so that it isn't a folder of this
    `kind`). With `besides` a folder in which nothing else is does not count."""
    if not out.exists() or (besides and out.is_dir() and {path.name for path in out.iterdir()} <= {besides}):
        return
    if not overwrite:
        raise UserError(f"{out}: exists already: choose another folder or pass --overwrite")
    if not (out / mark).is_file():
        raise UserError(f"{out}: is not a {kind} folder, so it is not overwritten: choose another folder or remove it")


def _check_room(out: Path, needed: int) -> None:
    there = next(folder for folder in out.absolute().parents if folder.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(f"{there}: {free >> 20} MiB free, but {needed >> 20} MiB may be needed: make room")


def _remove_leftovers(out: Path) -> None:
    """Remove the folders of killed processes. No other process can be using one: we hold the lease of `out`. One that
    was killed between its last two steps has put `out` aside, and it is put back."""
    name = re.compile(rf"\.{re.escape(out.name)}\.[a-z0-9_]{{8}}{re.escape(PART)}")
    for path in out.parent.iterdir():
        if name.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            if not out.exists() and (path / _REPLACED).exists():
                os.replace(path / _REPLACED, out)
            log.warning("removed %s, left behind by an interrupted command", path)
            shutil.rmtree(path)
