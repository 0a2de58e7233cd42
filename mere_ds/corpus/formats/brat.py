"""brat standoff: the annotations of `name.txt` lie beside it in `name.ann`, a record a line.

Offsets count the characters of the file as it is stored: no line end is translated. A record may cover several lines,
for the surface of an entity has the line ends of the text.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from mere_ds.corpus.formats.brat_places import NOTES as PLACE_NOTES
from mere_ds.corpus.formats.brat_places import REPAIRS, Entity, Placed, Places
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import MOST_RAW, Format, Link, Lost, Stated, Unreadable, WeakReason
from mere_ds.corpus.rows import open_file
from mere_ds.errors import UserError
from mere_ds.files import read_json

SENTENCES = ".sentences.jsonl"
"""Suffix of the file in which `--to=brat` says where the sentences of a document are."""
LABELS = "labels.json"
"""Where it says what the labels are that brat can't have: by brat's name."""

_MOST_BYTES = 1 << 24  # of a file, as it is read whole
_MOST_MEMBERS = 256  # of a `*` line: each two of them are a relation

_RECORD = re.compile(r"(?:[A-Za-z]+|#[A-Za-z]*)[0-9]+\t|\*\t")
_ENTITY = re.compile(r"T[0-9]+\t\S+ ([0-9]{1,9} [0-9]{1,9}(?:;[0-9]{1,9} [0-9]{1,9})*)[ \r]*(?:\t|$)")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})")

_LOSSES = {
    "no_txt_file": "there is no .txt beside the .ann",
    "no_ann_file": "there is no .ann beside the .txt",
    "no_records": "the .ann has no line of brat's format",
    "too_large_file": f"the .txt or .ann has more than {_MOST_BYTES >> 20} MiB",
    "wrong_arguments": "a relation has not two arguments such as Arg1:T1, or a * line names fewer than two entities",
    "not_an_entity": "a head or tail is an event or another relation, which are not read",
    "double_id": "a head or tail is one of several entities with the same id",
    "too_large_group": f"a * line names more than {_MOST_MEMBERS} entities",
    "between_sentences": "head and tail are in two of the sentences that --to=brat wrote to one document",
}
_NOTES = PLACE_NOTES | {
    "symmetric": "of a * line, which has no direction: the head is what comes first in the text",
    "arg2_first": "the line names Arg2 before Arg1; the head is Arg1",
    "other_roles": "the roles are not numbered as Arg1 and Arg2 are; the head is what the line names first",
    "empty_annotations": "documents whose .ann is empty: nothing to annotate, or not annotated yet",
    "events": "E lines, which are not read",
    "attributes": "A and M lines, which are not read",
    "normalizations": "N lines, which are not read",
    "comments": "# lines, which are not read",
    "other_lines": "lines of a kind that brat doesn't have",
    "damaged_entities": "T lines that don't say where the entity is; a relation that names it is left out",
    "stray_lines": "lines that are neither a record nor the rest of one",
}
_UNREAD = {"E": "events", "A": "attributes", "M": "attributes", "N": "normalizations", "#": "comments"}


def _parts(source: Path) -> Iterator[Path]:
    """The folders with annotations, or the one document."""
    if source.is_file():
        yield from [source] if source.suffix == ".ann" else []
        return
    found = {path.parent for path in source.rglob("*.ann") if path.is_file()}
    for folder in sorted(found):
        if not any(part.startswith(".") for part in folder.relative_to(source).parts):
            yield folder


def _recognise(sample: Sample) -> str | None:
    folder, names = _names(sample.path)
    pairs = [name for name in names if all((folder / f"{name}{end}").is_file() for end in (".ann", ".txt"))]
    contents = (Sample(folder / f"{name}.ann").lines for name in pairs)
    if lines := next((lines for lines in contents if any(lines)), None):
        return ".ann beside .txt" if any(map(_RECORD.match, lines)) else None
    return WeakReason("an empty .ann beside .txt") if pairs else None


def _names(part: Path) -> tuple[Path, list[str]]:
    """The folder, and the documents in it that are to be read, without suffix."""
    if part.is_file():
        return part.parent, [part.stem]
    files = [path for path in part.iterdir() if path.suffix in (".ann", ".txt") and path.is_file()]
    return part, sorted({path.stem for path in files if not path.name.startswith(".")})


def _read(part: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    if options.offsets == "token":
        raise UserError("--offsets=token: brat's offsets count characters: omit it")
    folder, names = _names(part)
    for name in names:
        yield from _document(folder, name, options.offsets)


def _document(folder: Path, name: str, unit: str) -> Iterator[Stated | Unreadable]:
    text, annotations = (_content(folder / f"{name}{end}") for end in (".txt", ".ann"))
    size = len(text or b"") + len(annotations or b"")
    file = f"{folder.name}/{name}.ann"
    records, stray = _records((annotations or b"").decode("utf-8", "surrogateescape"))
    stored, reason = _stored(text, annotations, bool(records))
    rows = folder / f"{name}{SENTENCES}"
    document = _Document(stored, unit, records, keep_mark=rows.is_file())
    if reason:
        yield Unreadable(1, reason, _raw(stored[:MOST_RAW] or name), size, file, len(document.links))
        return
    notes = [*document.notes, *["stray_lines"] * stray, *([] if records or stray else ["empty_annotations"])]
    whole = Stated(
        1, name, document.text, tuple(document.links), size, document.text[:MOST_RAW], file=file, notes=tuple(notes)
    )
    yield from _sentences(whole, rows) if rows.is_file() else [whole]


def _content(path: Path) -> bytes | None:
    """Up to one byte more than may be read; None if there is no such file."""
    if not path.is_file():
        return None
    with open_file(path) as stream:
        return stream.read(_MOST_BYTES + 1)


def _stored(text: bytes | None, annotations: bytes | None, has_records: bool) -> tuple[str, str]:
    """The text with its byte order mark, and why the document can't be read."""
    if annotations is None:
        return "", "no_ann_file"
    if text is None:
        return "", "no_txt_file"
    if max(len(text), len(annotations)) > _MOST_BYTES:
        return "", "too_large_file"
    try:
        return text.decode("utf-8"), "no_records" if annotations.strip() and not has_records else ""
    except UnicodeDecodeError:
        return "", "invalid_utf8"


def _records(content: str) -> tuple[list[str], int]:
    """The records, those of several lines as one, and the number of lines that belong to none."""
    found: list[list[str]] = []
    missing = stray = 0
    for line in content.removeprefix("\ufeff").removesuffix("\n").split("\n"):
        if _RECORD.match(line):
            found.append([line])
            missing = _missing(line)
        elif missing > 0:
            found[-1].append(line)
            missing -= 1 + len(line)
        else:
            stray += bool(line.strip())
    return ["\n".join(lines).removesuffix("\r") for lines in found], stray


def _missing(line: str) -> int:
    """How many characters of an entity's surface the line lacks."""
    entity = _ENTITY.match(line)
    if not entity or not entity[0].endswith("\t"):
        return 0
    pieces = _pieces(entity[1])
    return sum(end - start for start, end in pieces) + len(pieces) - 1 - len(line) + entity.end()


def _pieces(stated: str) -> tuple[tuple[int, int], ...]:
    ends = [piece.split(" ") for piece in stated.split(";")]
    return tuple((int(start), int(end)) for start, end in ends)


def _raw(text: str) -> str:
    """With bytes that aren't UTF-8 as `\\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _Document:
    """What the records say of a text."""

    def __init__(self, stored: str, unit: str, records: Sequence[str], keep_mark: bool):
        self.notes: list[str] = []
        self._entities: dict[str, Entity | None] = {}
        """By id; None where it is not known which of several is meant."""
        for record in records:
            self._take(record)
        entities = [entity for entity in self._entities.values() if entity]
        self._places = Places(stored, unit, entities, keep_mark)
        self._placed: dict[str, Placed] = {}
        self.text = self._places.text
        self.links = [link for record in records if record[0] in "R*" for link in self._links_of(record)]

    def _take(self, record: str) -> None:
        if record[0] != "T":
            if record[0] not in "R*":
                self.notes.append(_UNREAD.get(record[0], "other_lines"))
            return
        own_id = record[: record.index("\t")]
        found = _ENTITY.match(record)
        if not found:
            self.notes.append("damaged_entities")
            return
        surface = record[found.end() :] if record[found.end() - 1] == "\t" else ""
        entity = Entity(_pieces(found[1]), surface if surface.strip() else None)
        self._entities[own_id] = entity if self._entities.get(own_id, entity) == entity else None

    def _links_of(self, record: str) -> Iterator[Link | Lost]:
        raw = _raw(record[:MOST_RAW])
        label, *stated = record.split("\t")[1].split() or [""]
        if record[0] == "*":
            yield from self._group(label, list(dict.fromkeys(stated)), raw)
            return
        arguments = [argument.rpartition(":") for argument in stated]
        if len(arguments) != 2 or not all(role and own_id for role, _, own_id in arguments):
            yield Lost("wrong_arguments", raw)
            return
        (first, _, head), (second, _, tail) = arguments
        match _order(first, second):
            case "reverse":
                yield self._link(label, tail, head, raw, "arg2_first")
            case "unknown":
                yield self._link(label, head, tail, raw, "other_roles")
            case _:
                yield self._link(label, head, tail, raw)

    def _group(self, label: str, members: list[str], raw: str) -> Iterator[Link | Lost]:
        """Each two members, once, in the order of the text."""
        if len(members) < 2:
            yield Lost("wrong_arguments", raw)
        elif len(members) > _MOST_MEMBERS:
            yield Lost("too_large_group", raw)
        else:
            members.sort(key=self._start)
            for head, tail in combinations(members, 2):
                yield self._link(label, head, tail, raw, "symmetric")

    def _start(self, own_id: str) -> tuple[int, int]:
        pieces = self._of(own_id).mention.pieces if self._entities.get(own_id) else ()
        return min((start for start, _ in pieces), default=-1), max((end for _, end in pieces), default=-1)

    def _link(self, label: str, head: str, tail: str, raw: str, *notes: str) -> Link | Lost:
        for own_id in (head, tail):
            if not self._entities.get(own_id):
                return Lost(_why_not(own_id, own_id in self._entities), raw)
        a, b = self._of(head), self._of(tail)
        repairs = tuple(dict.fromkeys((*a.repairs, *b.repairs)))
        return Link(a.mention, label, b.mention, raw, repairs, (*notes, *a.notes, *b.notes))

    def _of(self, own_id: str) -> Placed:
        if own_id not in self._placed:
            entity = self._entities[own_id]
            assert entity
            self._placed[own_id] = self._places.of(entity)
        return self._placed[own_id]


def _order(first: str, second: str) -> str:
    """Whether the roles say that the line names the head first: Arg1 comes before ARG2, From and To don't say."""
    a, b = _NUMBERED.fullmatch(first), _NUMBERED.fullmatch(second)
    if not a or not b or a[1].lower() != b[1].lower() or int(a[2]) == int(b[2]):
        return "unknown"
    return "reverse" if int(a[2]) > int(b[2]) else "given"


def _why_not(own_id: str, is_known: bool) -> str:
    if is_known:
        return "double_id"
    return "not_an_entity" if own_id[:1] in ("E", "R") else "unknown_entity"


def _sentences(whole: Stated, path: Path) -> Iterator[Stated]:
    """The sentences of a document of `--to=brat`, as its file of sentences says, each with its relations."""
    rows, labels = _rows(path, len(whole.text)), _labels(path.with_name(LABELS))
    links: list[list[Link | Lost]] = [[] for _ in rows]
    for link in whole.links:
        at, moved = _in_sentence(link, rows, len(whole.text))
        if isinstance(moved, Link):
            moved = moved._replace(relation=labels.get(moved.relation, moved.relation))
        links[at].append(moved)
    for place, (row, its) in enumerate(zip(rows, links, strict=True), start=1):
        text = whole.text[row.start : row.end]
        size, notes = (whole.size, whole.notes) if place == 1 else (0, ())
        yield Stated(place, row.id, text, tuple(its), size, text[:MOST_RAW], row.language, whole.file, (), notes)


class _Row(NamedTuple):
    """A sentence of a document of `--to=brat`."""

    start: int
    end: int
    id: str
    language: str


def _rows(path: Path, length: int) -> list[_Row]:
    """The sentences, a line feed after each. Raises UserError if they don't cover a text of this length."""
    with open_file(path) as stream:
        lines = stream.read().removesuffix(b"\n").split(b"\n")
    try:
        rows = [_Row(*(json.loads(line)[key] for key in ("start", "end", "id", "lang"))) for line in lines]
        kinds = all(tuple(map(type, row)) == (int, int, str, str) and row.start <= row.end for row in rows)
        is_whole = kinds and [row.start for row in rows] + [length] == [0, *(row.end + 1 for row in rows)]
    except (ValueError, TypeError, KeyError, RecursionError):
        is_whole = False
    if not is_whole:
        raise UserError(f"{path}: doesn't fit its .txt, both of mere-ds convert --to=brat: restore both, or remove it")
    return rows


def _labels(path: Path) -> dict[str, str]:
    """By brat's name. Raises UserError."""
    if not path.is_file():
        return {}
    labels = read_json(path, "restore what mere-ds convert --to=brat wrote, or remove it")
    if not all(isinstance(label, str) for label in labels.values()):
        raise UserError(f"{path}: must be a JSON object of labels: restore what mere-ds convert --to=brat wrote")
    return labels


def _in_sentence(link: Link | Lost, rows: Sequence[_Row], length: int) -> tuple[int, Link | Lost]:
    """The number of a relation's sentence, and the relation with the places that it has there."""
    if isinstance(link, Lost):
        return 0, link
    pieces = link.head.pieces + link.tail.pieces
    if not (link.head.pieces and link.tail.pieces) or any(not 0 <= start <= end <= length for start, end in pieces):
        return 0, Lost("span_out_of_text", link.raw)
    at = bisect_right(rows, min(start for start, _ in pieces), key=lambda row: row.start) - 1
    if max(end for _, end in pieces) > rows[at].end:
        return at, Lost("between_sentences", link.raw)
    head, tail = (
        mention._replace(pieces=tuple((a - rows[at].start, b - rows[at].start) for a, b in mention.pieces))
        for mention in (link.head, link.tail)
    )
    return at, link._replace(head=head, tail=tail)


FORMATS = (
    Format(
        name="brat",
        about="brat's standoff: folders with a .txt and an .ann for each document",
        parts=_parts,
        recognise=_recognise,
        read=_read,
        flags=("offsets",),
        losses=_LOSSES,
        repairs=REPAIRS,
        notes=_NOTES,
        documents=True,
    ),
)
