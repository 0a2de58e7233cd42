"""A format, and what its reader makes of a file: texts with relations as the file states them, not checked yet."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.corpus.example import Span, Triple
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample

MOST_RAW = 1 << 12
"""How many characters of a value the report of rejected rows shows."""


class Shown:
    """A value as JSON for the report of rejected rows, shortened; half of a surrogate pair as its escape.

    `str` makes it, so that it costs nothing for rows that are kept.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any):
        self._value = value

    def __str__(self) -> str:
        try:
            text = json.dumps(self._value, ensure_ascii=False, default=str)
        except RecursionError:
            return "nested too deep to be shown"
        text = text.encode("utf-8", "backslashreplace").decode()
        return text if len(text) <= MOST_RAW else f"{text[:MOST_RAW]} ..."


Raw = str | Shown
"""How a file has something, for the report of what was rejected."""


class Mention(NamedTuple):
    """An argument of a relation."""

    pieces: tuple[Span, ...]
    """Code points of the text, ends exclusive, in the order of the file; more than one for a discontinuous entity."""
    surface: str | None = None
    """What the file says that the pieces read, joined by one blank; None where it doesn't say."""
    any_case: bool = False
    """Whether the surface may be in another case than the text."""


class Link(NamedTuple):
    """A relation."""

    head: Mention
    relation: str
    tail: Mention
    raw: Raw
    repairs: tuple[str, ...] = ()
    """Keys of the format's `repairs`."""
    notes: tuple[str, ...] = ()
    """Keys of the format's `notes`."""


class Lost(NamedTuple):
    """A relation that the reader can't place in the text."""

    reason: str
    """A key of the format's `losses`."""
    raw: Raw


class Stated(NamedTuple):
    """A text and its relations."""

    place: int
    """Number of the line, record or document in its file, counted from 1."""
    id: str
    text: str
    links: tuple[Link | Lost, ...]
    size: int
    """Bytes of the file that were read for it."""
    raw: Raw
    """Of a long one, the beginning."""
    language: str = ""
    """"" where the file doesn't state it."""
    file: str = ""
    """Where it differs from the name of what is read, which may be a folder."""
    bounds: tuple[int, ...] | None = None
    """Where the file says that the text may be cut; None: where its sentences and lines end; (): nowhere."""
    notes: tuple[str, ...] = ()
    """Keys of the format's `notes` that hold for the text."""
    one_relation: bool = False
    """Whether each relation is a record of its own, so that the text is rejected if none can be kept."""
    plain: tuple[Triple, ...] = ()
    """In place of `links`, if `checking.plain_triple` gave all of them, and no two are equal."""

    @property
    def relations(self) -> int:
        """How many are stated."""
        return len(self.plain or self.links)


class Unreadable(NamedTuple):
    """A record that can't be read as a text with relations."""

    place: int
    reason: str
    """A key of the format's `losses` or of `mere_ds.corpus.formats.checking.LOSSES`."""
    raw: Raw
    size: int
    file: str = ""
    relations: int = 0
    """How many relations are lost with it, where the reader can tell."""


def shares(size: int, records: int) -> Iterator[int]:
    """The size of a file that is read whole, divided among its records; the first has what remains."""
    share, rest = divmod(size, max(1, records))
    return (share + rest * (record == 0) for record in range(records))


REPORTS = ("conversion.json", "rejects.jsonl")
"""What mere-ds convert writes beside a corpus."""


def files_below(suffixes: tuple[str, ...]) -> Callable[[Path], Iterator[Path]]:
    """For `Format.parts`: the files with one of these suffixes in a folder and its folders, or the file itself."""

    def parts(source: Path) -> Iterator[Path]:
        found = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
        for path in found:
            hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
            if path.name.lower().endswith(suffixes) and not hidden and path.name not in REPORTS:
                yield path

    return parts


class WeakReason(str):
    """Why a part may be of a format that says little: it may be of a `general` one too."""

    __slots__ = ()


@dataclass(frozen=True)
class Format:
    """A corpus format."""

    name: str
    """For --format."""
    about: str
    """One line: the tool or corpus it comes from."""
    parts: Callable[[Path], Iterator[Path]]
    """What of a source is read on its own: its data files, or folders where a text takes several files."""
    recognise: Callable[[Sample], str | None]
    """Why a part seems to be of this format, in a few words (a `WeakReason` if it only may be); None if it isn't."""
    read: Callable[[Path, SourceOptions], Iterator[Stated | Unreadable]]
    """A part's texts in order. Raises UserError for a part of another format, or an option that is missing."""
    losses: Mapping[str, str] = field(default_factory=dict)
    """Why a text or relation is not kept, beside `checking.LOSSES`; meanings by reason."""
    repairs: Mapping[str, str] = field(default_factory=dict)
    """How a relation may be repaired; meanings by name."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What is noteworthy of kept relations and texts; meanings by name."""
    tables: Callable[[Path], Iterator[Path]] = lambda part: iter(())
    """Files that are read with a part, such as names of its labels."""
    flags: Collection[str] = ()
    """Which of `options.NOT_FOR_ALL` it reads; the others are refused."""
    check: Callable[[Collection[Path], SourceOptions], None] = lambda parts, options: None
    """Raises UserError for one of `flags` that is given, but that none of these parts has a use for."""
    documents: bool = False
    """Whether its texts are documents of several sentences."""
    one_relation: bool = False
    """Whether `Stated.one_relation` holds for all."""
    general: bool = False
    """Whether nearly any file fits, so that it is recognised only where no other format surely is."""
    languages: Callable[[Path, SourceOptions], Collection[str]] | None = None
    """The languages that the texts of a part state, where these can be had for less than by `read`; "" for none."""
    splits: Callable[[Path, SourceOptions], Collection[str]] = lambda part, options: ()
    """The splits that the texts of a part state themselves, none if they don't. `read` gets one of them as
    `options.split` and yields its texts alone; all where that is auto."""
