"""Example -> files of a format that other tools read."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from mere_ds.corpus.example import Example
from mere_ds.errors import UserError
from mere_ds.files import json_line


class Writer(Protocol):
    """A context manager that writes sentences into a folder."""

    def __enter__(self) -> "Writer": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, example: Example, split: str) -> None:
        """Raises UserError if the format can't hold the sentence, or its file is there already."""


class JsonLines:
    """Our own format: `{language}.{split}.jsonl`, see `mere_ds.corpus.jsonl`."""

    def __init__(self, folder: Path, shown: Path):
        """`shown` is the folder's name in messages."""
        self._folder, self._shown = folder, shown
        self._streams: dict[str, BinaryIO] = {}

    def __enter__(self) -> "JsonLines":
        self._stack = ExitStack()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def write(self, example: Example, split: str) -> None:
        name = f"{example.language}.{split}.jsonl"
        if name not in self._streams:
            self._streams[name] = self._stack.enter_context(new_file(self._folder / name, self._shown))
        self._streams[name].write(json_line(as_row(example)))


def as_row(example: Example) -> dict:
    """A sentence as a row of our JSON lines."""
    triples = [{"head": head, "relation": relation, "tail": tail} for head, relation, tail in example.triples]
    return {"id": example.id, "lang": example.language, "text": example.text, "triples": triples}


def new_file(path: Path, shown: Path) -> BinaryIO:
    """Raises UserError if it is there already, from an earlier conversion."""
    try:
        return path.open("xb")
    except FileExistsError:
        raise UserError(
            f"{shown}: has {path.name} already: convert to another folder, or give both sources in one folder"
        ) from None


WRITERS: dict[str, Callable[[Path, Path], Writer]] = {"jsonl": JsonLines}
"""By the name for --to: takes the folder to write to, and its name in messages."""
