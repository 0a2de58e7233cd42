"""Checks that files are still as they were written, against a folder's list of digests, `SHA256SUMS`.

`sha256sum -c SHA256SUMS` checks the same list.
"""

import logging
import re
import threading
from collections.abc import Container
from pathlib import Path

from mere_ds.errors import UserError
from mere_ds.files import digest_file

SUMS = "SHA256SUMS"
STATE, OPTIMIZER = "training.json", "optimizer.safetensors"
"""Files of a checkpoint that only training reads."""

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]*)\n")
_intact: set[tuple] = set()
_reading: dict[tuple, threading.Lock] = {}

log = logging.getLogger("mere_ds")


def is_intact(path: Path, sha256: str) -> bool:
    """Whether the file has this digest; an unchanged file is read only once per process. Raises OSError."""
    stat = path.stat()
    seen = (str(path.resolve()), sha256, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    with _reading.setdefault(seen, threading.Lock()):  # another thread may be at it
        if seen not in _intact:
            if digest_file(path) != sha256:
                return False
            _intact.add(seen)
    return True


def write_sums(folder: Path) -> None:
    """List all files of a folder, without those in folders of it, in its `SHA256SUMS`. Raises OSError."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    sums = "".join(f"{digest_file(path)}  {path.name}\n" for path in files)
    (folder / SUMS).write_text(sums, encoding="ascii")


def damage(folder: Path, unused: Container[str] = (), last: str = STATE) -> str | None:
    """What is wrong with the listed files, except the `unused` ones; None if all are as they were written.

    `last` is the last name of a complete list; the default is that of a checkpoint.
    """
    try:
        listed = _listed(folder)
    except (OSError, ValueError):
        return f"{SUMS} is missing or unreadable"
    if last not in listed:
        return f"{SUMS} is incomplete"
    for name, digest in listed.items():
        try:
            if name not in unused and not is_intact(folder / name, digest):
                return f"{name} does not match its sha256"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return None


def check_for_use(folder: Path) -> None:
    """Raises UserError unless the files needed to use a checkpoint's model are as they were written.

    A model that was saved without `SHA256SUMS` and without training state is accepted with a warning.
    """
    if not any((folder / name).exists() for name in (SUMS, STATE)):
        log.warning("%s: has no %s, so damage to this model cannot be detected", folder, SUMS)
    elif what := damage(folder, unused=(OPTIMIZER,)):
        raise UserError(f"{folder}: damaged ({what}): copy it again, or train this stage again with --overwrite")


def check_early(folder: Path, unused: Container[str] = (OPTIMIZER,)) -> None:
    """Begin to read what `check_for_use` or `damage` will check, beside other work: they then wait for the rest."""
    threading.Thread(target=damage, args=(folder, unused), daemon=True).start()


def recorded_digest(folder: Path, file: str) -> str:
    """The sha256 that a checkpoint recorded for one of its files. Raises UserError if there is none."""
    try:
        return _listed(folder)[file]
    except (OSError, ValueError, KeyError):
        raise UserError(f"{folder / SUMS}: does not list {file}: copy the checkpoint or train it again") from None


def identity_of(folder: Path) -> str:
    """The sha256 of a checkpoint's `SHA256SUMS`, which covers all its files. Raises UserError if there is none."""
    try:
        return digest_file(folder / SUMS)
    except OSError as error:
        raise UserError(f"{folder / SUMS}: {error.strerror}: copy the checkpoint again, or train it again") from None


def _listed(folder: Path) -> dict[str, str]:
    """{file: sha256}. Raises OSError and ValueError."""
    text = (folder / SUMS).read_bytes().decode("ascii")
    lines = list(_LINE.finditer(text))
    listed = {line[2]: line[1] for line in lines}
    if sum(len(line[0]) for line in lines) != len(text) or len(listed) != len(lines):
        raise ValueError("not a list of digests")
    return listed
