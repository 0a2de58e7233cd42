"""Files: written whole or not at all, digested in one way, read as JSON or refused in one line."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from mere_ds.errors import MachineError, UserError

PART = ".part"
"""Ends the name of a file that is still being written."""

_BLOCK = 1 << 20
_OF_RUST = re.compile(r"\(os error (\d+)\)")


def digest_of(content: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_of_json(content: dict) -> str:
    """sha256, in hex, of JSON in one canonical spelling: what is equal as JSON has one digest."""
    return digest_of(json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii"))


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
    with naming(path, part), parents_of(path):
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # the name must not outlive a power cut that loses the content
            os.replace(part, path)
            sync(path.parent)
        finally:
            part.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` as `writing` does."""
    with writing(path) as file:
        file.write(content)


def write_json(path: Path, content: dict) -> None:
    """Write indented JSON as `writing` does. Raises ValueError for NaN and infinity, which JSON lacks."""
    write_whole(path, (json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode())


def json_line(record: dict) -> bytes:
    """A JSON object as one line of UTF-8. Raises ValueError for NaN and infinity."""
    return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse_json(content: bytes, name: str, advice: str, distinct: bool = False) -> dict:
    """The JSON object in `content`. Raises UserError with `name` and `advice` for anything else.

    Also for NaN and infinity, for text that is not UTF-8, and for nesting beyond what Python reads; with `distinct`
    for an object that has a key twice (Python would take the last one).
    """
    pairs = _distinct if distinct else None
    try:
        found: Any = json.loads(content.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | _NoJson) else "too deep"
        raise UserError(f"{name}: not readable as JSON ({reason}): {advice}") from None
    if not isinstance(found, dict):
        raise UserError(f"{name}: contains no JSON object: {advice}")
    return found


def read_json(path: Path, advice: str, distinct: bool = False) -> dict:
    """The JSON object in a file, as `parse_json` reads it. Raises UserError for a missing or unreadable file too."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: {advice}") from None
    return parse_json(content, str(path), advice, distinct)


@contextmanager
def naming(path: Path, part: Path | None = None) -> Iterator[None]:
    """Every OSError of the block names a path: `path` where it names none, or `part` or something in it.

    Also where tokenizers or safetensors, written in Rust, raise something else that only quotes the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or part and Path(os.fsdecode(error.filename)).is_relative_to(part):
            error.filename = str(path)
        raise
    except (UserError, MachineError):
        raise
    except Exception as error:
        if found := _OF_RUST.search(str(error)):
            number = int(found[1])
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


@contextmanager
def parents_of(path: Path) -> Iterator[None]:
    """Make the folder that `path` lies in; where the block fails, what was made goes if it is empty."""
    made = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        if made:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in made:  # the innermost first
            with suppress(OSError):
                folder.rmdir()
        raise


def check_apart(name: str, made: str | Path, **others: str | Path | None) -> None:
    """Raises UserError where the folder `made`, called `name`, is, holds or lies in one of `others` (None: no folder).

    Links are followed. What is written into the one would mix with the other, and replacing it would remove it.
    """
    ours = Path(made).resolve()
    for other, place in others.items():
        theirs = Path(place).expanduser().resolve() if place is not None else None
        if theirs and (ours.is_relative_to(theirs) or theirs.is_relative_to(ours)):
            how = "are the same folder" if ours == theirs else "lie one in the other"
            raise UserError(f"{name} ({made}) and {other} ({place}) {how}: choose another place for {name}")


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


def _distinct(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _NoJson(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return found
