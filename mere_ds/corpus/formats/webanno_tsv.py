"""WebAnno TSV 3.3, which INCEpTION exports: a document's tokens, one a row, with a column for each feature of a layer.

Offsets count UTF-16 code units of the document. A relation is on the first row of its target (`Dependent`); its last
column names the row of its source (`Governor`), and the numbers of both where they have one: `1-1[1_3]`. What stands
between two sentences is not in the file.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.layers import LOSSES, Layers, document_name, short_name
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import MOST_RAW, Format, Link, Lost, Mention, Stated, Unreadable, files_below
from mere_ds.corpus.formats.units import span_at, to_code_points
from mere_ds.corpus.rows import Rejected, open_file
from mere_ds.errors import UserError
from mere_ds.streams import BOM

_LOSSES = {
    **LOSSES,
    "wrong_row": "a line is neither a row of a token with a cell for each column nor a comment",
    "wrong_offsets": "the sentences overlap, or lie further apart than is plausible",
    "wrong_reference": "the relation's last column is not the number of a row",
    "uneven_stack": "the columns of a relation hold different numbers of values",
}
_NOTES = {
    "text_left_out": "more than one character between two sentences isn't in the file; blanks stand for it",
    "other_links": "the document has chains or slots, which link other than two spans and are not read",
}
_KEYS = ("layer", "relation")

_VERSION = "WebAnno TSV 3.3"
_MOST_BLANKS = 1 << 20  # between the sentences of a document

_ROW = re.compile(r"([0-9]{1,9}-[0-9]{1,9}(?:\.[0-9]{1,9})?)\t([0-9]{1,9})-([0-9]{1,9})\t(.*)", re.DOTALL)
_REFERENCE = re.compile(r"([0-9]{1,9}-[0-9]{1,9}(?:\.[0-9]{1,9})?)(?:\[([0-9]{1,9})_([0-9]{1,9})\])?")
_PIECE = re.compile(r"\\.|[^\\|]+|\||\\", re.DOTALL)
_VALUE = re.compile(r"((?:\\.|[^\\])*?)(?:\[([0-9]{1,9})\])?", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TEXT_ESCAPE = re.compile(r"\\([tnfrb\\\x00-\x1f])")
_ESCAPED = {"t": "\t", "n": "\n", "f": "\f", "r": "\r", "b": "\b"}


class _Layer(NamedTuple):
    kind: str
    """SP (spans), CH (chains) or RL (relations)."""
    name: str
    features: list[str]
    columns: range


class _Unit(NamedTuple):
    """A token, or a part of one."""

    id: str
    start: int
    """In UTF-16 code units of the document, as is `end`."""
    end: int
    surface: str
    cells: list[str]
    raw: str


class _Sentence(NamedTuple):
    text: str
    units: list[_Unit]


def _recognise(sample: Sample) -> str | None:
    return "#FORMAT=WebAnno TSV" if sample.text.startswith("#FORMAT=WebAnno TSV") else None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    layers = Layers(options, _KEYS)
    with open_file(path) as stream:
        content = stream.read()
    try:
        lines = content.removeprefix(BOM).decode("utf-8").split("\n")
    except UnicodeDecodeError:
        yield Unreadable(1, "invalid_utf8", content[:MOST_RAW].decode("utf-8", "backslashreplace"), len(content))
        return
    lines = [line.removesuffix("\r") for line in lines]
    version = lines[0].removeprefix("#FORMAT=")
    if version != _VERSION:
        raise UserError(f"{path}: must begin with #FORMAT={_VERSION}, not {lines[0][:40]!r}: export it again as 3.3")
    try:
        header, first = _header(lines)
        document = _Document(header, list(_sentences(lines[first:], sum(len(layer.columns) for layer in header))))
    except _Broken as broken:
        reason, raw = broken.args
        yield Unreadable(1, reason, raw[:MOST_RAW], len(content))
        return
    yield Stated(
        place=1,
        id=document_name(path),
        text=document.text,
        links=tuple(document.links(layers)),
        size=len(content),
        raw="\n".join(lines)[:MOST_RAW],
        bounds=document.bounds,
        notes=document.notes,
    )


class _Broken(Exception):
    """With the reason and the line because of which a document can't be read."""


def _header(lines: Sequence[str]) -> tuple[list[_Layer], int]:
    """The layers, and the number of the first line after them."""
    layers: list[_Layer] = []
    column = 0
    for number, line in enumerate(lines[1:], start=1):
        if not line.startswith("#T_"):
            return layers, number
        kind, _, rest = line.removeprefix("#T_").partition("=")
        name, *features = [field for field in rest.split("|") if field] or [""]
        width = max(1, len(features))  # a layer without features has a column too
        layers.append(_Layer(kind, name, features, range(column, column + width)))
        column += width
    return layers, len(lines)


def _sentences(lines: Sequence[str], columns: int) -> Iterator[_Sentence]:
    texts: list[str] = []
    units: list[_Unit] = []
    for line in lines:
        if line.startswith("#"):
            if units:
                yield _Sentence("\n".join(texts), units)
                texts, units = [], []
            if line.startswith("#Text="):
                texts.append(_TEXT_ESCAPE.sub(_meant, line.removeprefix("#Text=")))
        elif line:
            units.append(_unit(line, columns))
    if texts or units:
        yield _Sentence("\n".join(texts), units)


def _unit(line: str, columns: int) -> _Unit:
    row = _ROW.fullmatch(line)
    if not row:
        raise _Broken("wrong_row", line)
    own_id, start, end, rest = row.groups()
    surface, *cells = rest.removesuffix("\t").rsplit("\t", columns)  # a token may have a TAB, which isn't escaped
    if len(cells) != columns:
        raise _Broken("wrong_row", line)
    return _Unit(own_id, int(start), int(end), surface, cells, line)


class _Document:
    """Raises _Broken."""

    def __init__(self, layers: list[_Layer], sentences: list[_Sentence]):
        self._layers = layers
        self.notes: tuple[str, ...] = ()
        if any(layer.kind == "CH" or any(f.startswith("ROLE_") for f in layer.features) for layer in layers):
            self.notes = ("other_links",)
        self.text, self.bounds = self._joined(sentences)
        self._place = to_code_points(self.text, "utf16")
        self._units = {unit.id: unit for sentence in sentences for unit in sentence.units}
        self._numbered = self._rows_by_number()

    def _joined(self, sentences: list[_Sentence]) -> tuple[str, tuple[int, ...]]:
        """The text, with blanks for what the file doesn't have, and where its sentences begin."""
        parts: list[str] = []
        bounds: list[int] = []
        units = characters = blanks = 0
        for text, rows in sentences:
            gap = rows[0].start - units if rows else 0
            blanks += gap
            if gap < 0 or blanks > _MOST_BLANKS:
                raise _Broken("wrong_offsets", rows[0].raw)
            if gap > 1 and "text_left_out" not in self.notes:
                self.notes += ("text_left_out",)
            bounds.append(characters + gap)
            parts += [" " * gap, text]
            units += gap + len(text) + sum(character > "\uffff" for character in text)
            characters += gap + len(text)
        return "".join(parts), tuple(bounds)

    def _rows_by_number(self) -> dict[str, dict[str, list[_Unit]]]:
        """By number, then layer: the rows of each annotation that has a number."""
        found: dict[str, dict[str, list[_Unit]]] = {}
        for layer in self._layers:
            if layer.kind == "SP":
                for unit in self._units.values():
                    for _, number in _stack(unit.cells[layer.columns[0]]):
                        if number:
                            found.setdefault(number, {}).setdefault(layer.name, []).append(unit)
        return found

    def links(self, layers: Layers) -> Iterator[Link | Lost]:
        """The relations in the order of the rows of their targets."""
        for unit in self._units.values():
            for layer in self._layers:
                if layer.kind == "RL":
                    yield from self._of(unit, layer, layers)

    def _of(self, unit: _Unit, layer: _Layer, layers: Layers) -> Iterator[Link | Lost]:
        references = _stack(unit.cells[layer.columns[-1]], numbered=False)
        features = [feature for feature in layer.features if not feature.startswith("BT_")]
        name = layers.label(layer.name, features) if references and layers.wants(layer.name) else None
        for number, (reference, _) in enumerate(references):
            try:
                if not layers.wants(layer.name):
                    raise Rejected("other_layer")
                labels = _stack(unit.cells[layer.columns[features.index(name)]]) if name else []
                if name and len(labels) != len(references):
                    raise Rejected("uneven_stack")
                head, tail = self._ends(reference, unit, layer)
                label = labels[number][0] if name else short_name(layer.name)
                yield Link(Mention((head,)), label, Mention((tail,)), unit.raw)
            except Rejected as rejected:
                yield Lost(str(rejected), unit.raw)

    def _ends(self, reference: str, target: _Unit, layer: _Layer) -> tuple[Span, Span]:
        """Of source and target."""
        named = _REFERENCE.fullmatch(reference)
        if not named:
            raise Rejected("wrong_reference")
        source = self._units.get(named[1])
        if source is None:
            raise Rejected("unknown_entity")
        base = next((field.removeprefix("BT_") for field in layer.features if field.startswith("BT_")), "")
        return self._span(source, base, named[2]), self._span(target, base, named[3])

    def _span(self, unit: _Unit, base: str, number: str | None) -> Span:
        """Of the annotation that begins on a row; a number of 0 is none: the annotation is the row."""
        rows = [unit]
        if number and int(number):
            found = [its for layer, its in self._numbered.get(number, {}).items() if self._fits(layer, base)]
            rows = next((its for its in found if unit in its), [])
            if not rows:
                raise Rejected("unknown_entity")
        for row in rows:
            self._check(row)
        return self._between(min(row.start for row in rows), max(row.end for row in rows))

    def _between(self, start: int, end: int) -> Span:
        span = span_at(self._place, start, end)
        if span is None:
            raise Rejected("span_out_of_text")
        return span

    def _fits(self, layer: str, base: str) -> bool:
        """Whether a relation's ends of type `base` may be of this layer; it may be a type that several layers share."""
        return layer == base or all(its.name != base for its in self._layers)

    def _check(self, row: _Unit) -> None:
        start, end = self._between(row.start, row.end)
        if self.text[start:end] not in (row.surface, _TEXT_ESCAPE.sub(_meant, row.surface)):
            raise Rejected("surface_differs")


def _stack(cell: str, numbered: bool = True) -> list[tuple[str, str | None]]:
    """The values of a cell, each with its number if it has one; "" for a value that isn't set (`*`)."""
    if cell == "_":
        return []
    parts = [""]
    for piece in _PIECE.findall(cell):
        if piece == "|":
            parts.append("")
        else:
            parts[-1] += piece
    if not numbered:
        return [(part, None) for part in parts]
    values = [_VALUE.fullmatch(part) for part in parts]
    return [
        ("" if value[1] == "*" else _ESCAPE.sub(_meant, value[1]), value[2]) if value else (part, None)
        for part, value in zip(parts, values, strict=True)
    ]


def _meant(escape: re.Match[str]) -> str:
    return _ESCAPED.get(escape[1], escape[1])


FORMATS = (
    Format(
        name="webanno-tsv",
        about="WebAnno TSV 3.3, as INCEpTION exports it",
        parts=files_below((".tsv",)),
        recognise=_recognise,
        read=_read,
        flags=("map",),
        losses=_LOSSES,
        notes=_NOTES,
        documents=True,
    ),
)
