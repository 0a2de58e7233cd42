"""transformers is imported without reading its 3,300 files of models, twice, to see what they define.

That takes a second, and far longer where the files lie on a network. What it finds, a dictionary of names, is kept in
the user's cache folder, for transformers as it is installed. Without a cache that can be read or written, or where
another version of transformers works in another way, all is as it was.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mere_ds.files import digest_of, user_cache, write_whole
from mere_ds.import_hooks import once_loaded

FUNCTION = "define_import_structure"
"""What transformers calls: (folder or a file in it, prefix) -> {frozenset of needed libraries: {module: set of
names}}."""

_NOT_SUCH = (ValueError, TypeError, AttributeError)  # a damaged file, or another structure than we know


def keep_contents() -> None:
    """Make the next import of transformers in this process use what is kept, or keep what it finds."""
    once_loaded("transformers.utils.import_utils", _wrap)


def _wrap(module: ModuleType) -> None:
    define: Callable | None = getattr(module, FUNCTION, None)
    installed = _installed(module)
    if not callable(define) or installed is None:
        return
    try:
        folder = user_cache() / "transformers"
    except RuntimeError:  # the user has no home folder
        return

    def kept(*args: Any, **kwargs: Any) -> Any:
        asked = digest_of(repr((installed, args, sorted(kwargs.items()))).encode())
        path = folder / f"{asked[:32]}.json"
        with contextlib.suppress(OSError, *_NOT_SUCH):
            return _decoded(path.read_bytes())
        found = define(*args, **kwargs)
        with contextlib.suppress(OSError, *_NOT_SUCH):
            content = _encoded(found)
            if _decoded(content) == found:
                write_whole(path, content)
        return found

    setattr(module, FUNCTION, kept)


def _installed(module: ModuleType) -> tuple | None:
    """What is different after each installation of transformers; None for a checkout, whose files may change."""
    package = Path(str(module.__file__)).parents[1]
    records = list(package.parent.glob("transformers-*.dist-info/RECORD"))
    if len(records) != 1:
        return None
    stat = records[0].stat()
    return str(records[0]), stat.st_size, stat.st_mtime_ns


def _encoded(structure: dict) -> bytes:
    rows = [[sorted(needed), {m: sorted(names) for m, names in found.items()}] for needed, found in structure.items()]
    content = json.dumps(rows, separators=(",", ":")).encode()
    return digest_of(content).encode() + b"\n" + content


def _decoded(kept: bytes) -> dict:
    """Raises ValueError if it is not as it was written."""
    digest, _, content = kept.partition(b"\n")
    if digest_of(content).encode() != digest:
        raise ValueError
    return {frozenset(needed): {m: set(names) for m, names in found.items()} for needed, found in json.loads(content)}
