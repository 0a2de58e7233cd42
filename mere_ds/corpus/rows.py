"""Shared by the readers of both corpus formats: every row is kept, repaired or rejected, and every row is counted.

A row of more than `MOST_ROW_BYTES` is rejected, so that memory stays bounded.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

from mere_ds.errors import UserError
from mere_ds.files import json_line, writing
from mere_ds.streams import Line, blocks_of, split_lines

SPLITS = ("train", "dev", "test")

MOST_ROW_BYTES = 1 << 20
"""The longest row that is read, its line end included."""

_RAW_BYTES = 1 << 12  # how much of a longer row is kept for the report

REJECTIONS = {
    "cut_row": "the file ends in the middle of this row",
    "empty_row": "the line is empty",
    "too_long_line": f"the row has more than {MOST_ROW_BYTES >> 20} MiB",
    "invalid_utf8": "the row is not valid UTF-8",
    "empty_text": "the text is empty, so there is no sentence",
    "empty_label": "the label is empty",
    "wrong_language": "the row's language is not the one in the file's name or of --lang",
}
"""Why a row of either format was rejected."""


class CorpusFile(NamedTuple):
    """A corpus file, with the split and language from its name."""

    path: Path
    split: str
    language: str
    """"" where each row has its own."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was repaired (`kept`) or rejected; `raw` is the original row, with invalid bytes as `\\xff`."""

    file: str
    line: int
    reason: str
    kept: bool
    raw: str


_IF_ANY = ("left_out", "repaired_triples", "relabelled")


@dataclass(slots=True)
class FileCounts:
    """Counts of a file's rows of one language: `rows == kept + sum(rejected)`; kept rows include repaired ones.

    `language` is "" for rows whose language is unknown.
    """

    file: str
    split: str
    language: str
    rows: int = 0
    kept: int = 0
    bytes: int = 0
    """How much of the file has been read, including the header."""
    repaired: Counter = field(default_factory=Counter)
    rejected: Counter = field(default_factory=Counter)
    labels: Counter = field(default_factory=Counter)
    """Triples of kept rows by label."""
    notes: Counter = field(default_factory=Counter)
    """Kept rows by the reasons of `mere_ds.corpus.reading.NOTES`."""
    left_out: Counter = field(default_factory=Counter)
    """Triples that were not kept, by reason; with one triple a sentence a reader may count rejected rows alone."""
    repaired_triples: Counter = field(default_factory=Counter)
    """Triples that were repaired, by the name of the repair."""
    relabelled: Counter = field(default_factory=Counter)
    """Triples that --label_map renames or drops, by the label of the corpus."""

    @classmethod
    def of(cls, file: CorpusFile) -> "FileCounts":
        return cls(file.path.name, file.split, file.language)

    def add(self, other: "FileCounts") -> None:
        """Adds another file's counts to these."""
        self.rows += other.rows
        self.kept += other.kept
        self.bytes += other.bytes
        for name in ("repaired", "rejected", "labels", "notes", *_IF_ANY):
            getattr(self, name).update(getattr(other, name))

    @classmethod
    def sum(cls, *counts: "FileCounts") -> "FileCounts":
        """Of counts of the same file and language."""
        total = cls(counts[0].file, counts[0].split, counts[0].language)
        for its in counts:
            total.add(its)
        return total

    @classmethod
    def from_dict(cls, values: dict) -> "FileCounts":
        """The inverse of `as_dict`."""
        found: dict[str, Any] = {
            name: Counter(value) if isinstance(value, dict) else value for name, value in values.items()
        }
        return cls(**found)

    def as_dict(self) -> dict:
        """Plain JSON; counters are ordered by name, so equal counts give equal bytes; those of triples if not empty."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {name: value for name, value in values.items() if name not in _IF_ANY or value}
        return {name: dict(sorted(v.items())) if isinstance(v, Counter) else v for name, v in values.items()}


class Tally:
    """The counts of one file by language; a file for one language has counts even without a row."""

    def __init__(self, file: CorpusFile):
        self._file = file
        self._by_language = {file.language: FileCounts.of(file)} if file.language else {}
        self.skipped_bytes = 0
        """Size of the rows in other languages than the chosen ones."""

    def of(self, language: str) -> FileCounts:
        if language not in self._by_language:
            self._by_language[language] = FileCounts.of(self._file._replace(language=language))
        return self._by_language[language]

    @property
    def counts(self) -> list[FileCounts]:
        """By language; for a file without rows, one that says so."""
        return list(self._by_language.values()) or [FileCounts.of(self._file)]

    @property
    def bytes(self) -> int:
        """How much of the file was read so far."""
        return self.skipped_bytes + sum(counts.bytes for counts in self._by_language.values())


class RejectsFile:
    """Context manager that writes repaired and rejected rows to a JSON lines file: file, line, reason, kept, raw.

    The file appears when the block ends without an error. Raises OSError that names it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __enter__(self) -> "RejectsFile":
        self._writing = writing(self.path)
        self._stream = self._writing.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writing.__exit__(kind, error, trace)

    def write(self, reject: Reject) -> None:
        self._stream.write(json_line(asdict(reject)))


class Rejected(Exception):
    """Raised with the reason for which a row is rejected."""


def raw_of(row: bytes, length: int) -> str:
    """The original row, or only its beginning if it is too long."""
    if length <= MOST_ROW_BYTES:
        return row.decode("utf-8", "backslashreplace")
    return f"{row[:_RAW_BYTES].decode('utf-8', 'backslashreplace')} ... (the first {_RAW_BYTES} of {length} bytes)"


def rows_of(stream: BinaryIO) -> Iterator[Line]:
    """The remaining rows of a file; of a row that is too long, only its beginning."""
    return chain.from_iterable(split_lines(blocks_of(stream.read), MOST_ROW_BYTES))


def open_file(path: Path) -> BinaryIO:
    """Raises UserError."""
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def check_folder(folder: Path) -> None:
    """Raises UserError if it is not a folder."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {what}; pass the folder that holds the corpus files")


def check_regular(paths: list[Path]) -> None:
    """Raises UserError for anything but files; reading a pipe would wait forever."""
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: is not a regular file: replace it with the corpus file, or remove it")
