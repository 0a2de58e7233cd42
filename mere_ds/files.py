"""Files: atomic writes, digests, and JSON that is either read or rejected with a one-line error."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from mere_ds.errors import MachineError, UserError

PART = ".part"
"""Suffix of a file that is still being written."""

_BLOCK = 1 << 20
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)  # json.dumps would make one for every line
_OF_RUST = re.compile(r"\(os error (\d+)\)")


def digest_of(content: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_of_json(content: dict) -> str:
    """sha256, in hex, of JSON in a canonical form: equal objects have equal digests."""
    return digest_of(json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii"))


def digest_file(path: Path) -> str:
    """sha256 of a file, in hex, read block by block. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that atomically becomes `path` when the block ends without an error.

    Several processes may do this at once, each with its own temporary file; the last one wins. A device or a pipe, such
    as /dev/null, is never replaced but written to. Raises OSError that names `path`.
    """
    path = Path(path)
    path = Path(os.path.realpath(path)) if path.is_symlink() else path  # such as /dev/stdout
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    with naming(path, part), parents_of(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # otherwise a power cut could leave the new name without its content
            os.replace(part, path)
            sync(path.parent)
        finally:
            part.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` atomically, see `writing`."""
    with writing(path) as file:
        file.write(content)


def write_json(path: Path, content: dict) -> None:
    """Write indented JSON atomically, see `writing`. Raises ValueError for NaN and infinity, which JSON lacks."""
    write_whole(path, (json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode())


def json_line(record: dict) -> bytes:
    """A JSON object as one line of UTF-8. Raises ValueError for NaN and infinity."""
    return (_ENCODER.encode(record) + "\n").encode()


def parse_json(content: bytes, name: str, advice: str, distinct: bool = False) -> dict:
    """The JSON object in `content`. Raises UserError with `name` and `advice` for anything else.

    That includes NaN and infinity, text that is not UTF-8, nesting too deep for Python and, with `distinct`, an object
    with a repeated key (Python would use the last value).
    """
    try:
        found: Any = parser(distinct_keys if distinct else None)(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | _NoJson) else "too deep"
        raise UserError(f"{name}: invalid JSON ({reason}): {advice}") from None
    if not isinstance(found, dict):
        raise UserError(f"{name}: not a JSON object: {advice}")
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
    """Make every OSError of the block name `path` if it names no file, or `part` or a file in it.

    Exceptions of tokenizers and safetensors (written in Rust) that only quote the system's error become OSErrors too.
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


def user_cache() -> Path:
    """The folder, not made yet, of what this program keeps for the user and can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mere_ds"


def share(file: Path) -> None:
    """Make a file that a library wrote only for its owner readable for others, as far as the umask allows.

    A new file tells, as `os.umask` can't be asked without changing it, for other threads too.
    """
    new = file.with_name(f".{file.name}.new")
    new.touch()
    file.chmod(new.stat().st_mode)
    new.unlink()


@contextmanager
def parents_of(path: Path) -> Iterator[None]:
    """Create the parent folders of `path`; if the block fails, those that were created are removed if empty."""
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


def expanded(place: str | Path) -> Path:
    """With `~` as the user's home; a name such as `~draft`, which is no user's, stays as it is."""
    return Path(os.path.expanduser(place))  # Path.expanduser would raise RuntimeError


def check_apart(name: str, made: str | Path, **others: str | Path | None) -> None:
    """Raises UserError if the folder `made`, called `name`, equals, contains or is inside one of `others`.

    `others` are folders by name, None for no folder. Links are followed. Writing to one of two such folders would
    mix their files, and replacing one would remove the other.
    """
    ours = Path(made).resolve()
    for other, place in others.items():
        theirs = expanded(place).resolve() if place is not None else None
        if theirs and (ours.is_relative_to(theirs) or theirs.is_relative_to(ours)):
            how = "are the same folder" if ours == theirs else "are inside one another"
            raise UserError(f"{name} ({made}) and {other} ({place}) {how}: choose another folder for {name}")


def sync(path: Path) -> None:
    """Flush a file or folder to disk, so that a power cut cannot keep a rename but lose the content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _NoJson(ValueError):
    pass


@cache
def parser(make_object: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Callable[[str], Any]:
    """What gives the one JSON value in a text. Raises ValueError for NaN and infinity too, and what `make_object`
    raises. json.loads would make a decoder for every text."""
    decoder = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=make_object)

    def parse(text: str) -> Any:
        try:
            value, end = decoder.raw_decode(text)
        except json.JSONDecodeError:
            end = -1
        return value if end == len(text) else decoder.decode(text)  # which allows blanks around the value

    return parse


def _no_constant(name: str) -> None:
    raise _NoJson(f"{name} is not JSON")


def distinct_keys(pairs: list[tuple[str, Any]]) -> dict:
    """For `object_pairs_hook` of json.loads: the object. Raises ValueError for a repeated key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _NoJson(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return found
