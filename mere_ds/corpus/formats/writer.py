"""What writers of formats have in common; `mere_ds.corpus.formats.writer_registry` lists them."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from mere_ds.corpus.example import Example
from mere_ds.errors import UserError


class Writer(Protocol):
    """A context manager that writes sentences into a folder."""

    def __enter__(self) -> "Writer": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, example: Example, split: str) -> None:
        """Raises UserError if the format can't hold the sentence, or its file is there already."""


class FilesWriter(ABC):
    """For writers of several files at once, which are closed at the end."""

    def __init__(self, folder: Path, shown: Path):
        """`shown` is the folder's name in messages."""
        self.folder, self.shown = folder, shown
        self.streams: dict[str, BinaryIO] = {}
        """By the names of the files."""

    def __enter__(self) -> "FilesWriter":
        self._stack = ExitStack()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @abstractmethod
    def write(self, example: Example, split: str) -> None:
        """See `Writer`."""

    def stream(self, name: str) -> BinaryIO:
        """The file of this name. Raises UserError as `new_file` does."""
        if name not in self.streams:
            self.streams[name] = self._stack.enter_context(new_file(self.folder / name, self.shown))
        return self.streams[name]


def new_file(path: Path, shown: Path) -> BinaryIO:
    """Raises UserError if it is there already, from an earlier conversion."""
    try:
        return path.open("xb")
    except FileExistsError:
        raise UserError(
            f"{shown}: has {path.name} already: convert to another folder, or give both sources in one folder"
        ) from None
