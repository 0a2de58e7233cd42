"""Files: written whole or not at all, digested in one way, read as JSON or refused in one line."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mere_ds.errors import UserError

PART = ".part"
"""Ends the name of a file that is still being written."""

_BLOCK = 1 << 20


def digest_of(content: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file, in hex, a block at a time. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears as `path` when the block ends without an error: the old content or the new, whole.

    Several processes may do this at once, each in a temporary file of its own; the last one stays. Raises OSError
    that names `path`.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # the name must not outlive a power cut that loses the content
        os.replace(part, path)
        sync(path.parent)
    except OSError as error:
        error.filename = error.filename if error.filename not in (None, str(part)) else str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` as `writing` does."""
    with writing(path) as file:
        file.write(content)


def write_json(path: Path, content: dict) -> None:
    """Write indented JSON as `writing` does. Raises ValueError for NaN and infinity, which JSON lacks."""
    write_whole(path, (json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode())


def write_json_lines(path: Path, records: Iterable[dict]) -> None:
    """Write one JSON object per line as `writing` does. Raises ValueError for NaN and infinity."""
    with writing(path) as file:
        for record in records:
            file.write((json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode())


def parse_json(content: bytes, name: str, advice: str) -> dict:
    """The JSON object in `content`. Raises UserError with `name` and `advice` for anything else.

    Also for NaN and infinity, for text that is not UTF-8, and for nesting beyond what Python reads.
    """
    try:
        found: Any = json.loads(content.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | _NoJson) else "too deep"
        raise UserError(f"{name}: not readable as JSON ({reason}): {advice}") from None
    if not isinstance(found, dict):
        raise UserError(f"{name}: holds no JSON object: {advice}")
    return found


def read_json(path: Path, advice: str) -> dict:
    """The JSON object in a file. Raises UserError with `advice`, also for a missing or unreadable file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: {advice}") from None
    return parse_json(content, str(path), advice)


def sync(path: Path) -> None:
    """Wait until the disk has a file or folder: a rename must not outlive a power cut that loses what was renamed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _NoJson(ValueError):
    pass


def _no_constant(name: str) -> None:
    raise _NoJson(f"{name} is not JSON")
