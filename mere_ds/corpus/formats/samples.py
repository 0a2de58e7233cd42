"""The beginning of a file, from which its format is recognised."""

import json
from codecs import getincrementaldecoder
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mere_ds.corpus.rows import open_file
from mere_ds.streams import BOM

_BYTES = 1 << 18
_LINES = 20  # that are tried


class Sample:
    """What `Format.recognise` may look at; of a folder, its path alone."""

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def _content(self) -> bytes:
        if self.path.is_dir():
            return b""
        with open_file(self.path) as stream:
            return stream.read(_BYTES)

    @property
    def head(self) -> bytes:
        """The first 256 KiB, without a byte order mark."""
        return self._content.removeprefix(BOM)

    @property
    def is_whole(self) -> bool:
        """Whether `head` is the whole file."""
        return len(self._content) < _BYTES

    @cached_property
    def text(self) -> str:
        """`head` as UTF-8, without a cut last letter; invalid bytes become U+FFFD."""
        return getincrementaldecoder("utf-8")("replace").decode(self.head, final=self.is_whole)

    @cached_property
    def lines(self) -> list[str]:
        """The whole lines of `text`, and the last one of a short file."""
        lines = self.text.split("\n")
        return lines if self.is_whole or len(lines) == 1 else lines[:-1]

    @cached_property
    def _json(self) -> tuple[Literal["lines", "array", "object"] | None, Any]:
        text = self.text.lstrip()
        if text.startswith("["):
            return "array", _first_value(text[1:].lstrip())[0]
        value, rest = _first_value(text) if text.startswith("{") else (None, "")
        if isinstance(value, dict):
            one_line = "\n" not in text[: len(text) - len(rest)] and rest.lstrip(" \t\r")[:1] in ("", "\n")
            return ("lines" if one_line else "object"), value
        for line in self.lines[1:_LINES]:  # a damaged first line doesn't make the others anything else
            value, rest = _first_value(line)
            if isinstance(value, dict) and not rest.strip():
                return "lines", value
        if text.startswith("{"):
            return ("object" if "\n" in text else "lines"), None  # objects that take many lines begin with a short one
        return None, None

    @property
    def json(self) -> Literal["lines", "array", "object"] | None:
        """How a file of JSON is laid out; one object in one line counts as lines. None if it isn't JSON."""
        return self._json[0]

    @property
    def first(self) -> dict[str, Any]:
        """The first object of JSON lines or of an array, or the one object; {} if there is none, or it is too long."""
        return self._json[1] if isinstance(self._json[1], dict) else {}

    @property
    def is_one_value(self) -> bool:
        """Whether the whole file is one JSON value, and a short one."""
        return self.is_whole and not _first_value(self.text.lstrip())[1].strip()

    def has(self, *keys: str) -> bool:
        """Whether the first object has all these keys."""
        return self.first.keys() >= set(keys)


_DECODER = json.JSONDecoder()


def _first_value(text: str) -> tuple[Any, str]:
    """The JSON value that a text begins with, and what follows; None if there is none."""
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None, text
    return value, text[end:]
