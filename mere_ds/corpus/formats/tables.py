"""Tables of any column names: Parquet, CSV and TSV with a header, JSON lines, and folders of Hugging Face's `datasets`.

A row is a sentence with a list of relations, or one relation with its sentence; of the latter, neighbours with the same
id and text are one sentence.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mere_ds.corpus.example import Span, Triple
from mere_ds.corpus.formats import csv_rows, locating
from mere_ds.corpus.formats.checking import plain_triple
from mere_ds.corpus.formats.conventions import Conventions, Passage, Place
from mere_ds.corpus.formats.csv_rows import csv_sample
from mere_ds.corpus.formats.options import FOR_ALL, NOT_FOR_ALL, SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.splits import splits_in
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Raw, Shown, Stated, Unreadable, files_below
from mere_ds.corpus.formats.table_fields import OBVIOUS, OFFSETS, TEXTS, Get, fields_of
from mere_ds.corpus.formats.table_files import CSV, DICT, JSON, PARQUET, STATE, AnyRow, Batch, delimiter_of, open_table
from mere_ds.corpus.formats.units import join_tokens
from mere_ds.corpus.formats.values import is_strings, objects
from mere_ds.corpus.jsonl import MOST_TRIPLES
from mere_ds.corpus.rows import SPLITS, Rejected

_WHOLE = re.compile(r"\s*(-?[0-9]{1,18})(?:\.0+)?\s*")  # as pandas writes numbers of a column with missing ones
_TOKEN = re.compile(r"\S+")


def _recognise(sample: Sample) -> str | None:
    suffix = sample.path.suffix.lower()
    if suffix in PARQUET:
        return "Parquet" if sample.head.startswith(b"PAR1") else None
    is_json = suffix in JSON and sample.json in ("lines", "array")
    columns = sample.first if is_json else csv_sample(sample, delimiter_of(sample.path)) if suffix in CSV else {}
    text = next((name for name in (*OBVIOUS["text"], *OBVIOUS["tokens"]) if name in columns), "")
    return f"a column {text}" if text else None


def _files(source: Path) -> Iterator[Path]:
    """Those with the suffixes of tables, but what belongs to a folder of `datasets`."""
    found = files_below((*PARQUET, *CSV, *JSON))(source)
    yield from (path for path in found if not (path.parent / STATE).exists() and path.name != DICT)


def _folders(source: Path) -> Iterator[Path]:
    """The folders that `datasets` saved a split to."""
    if source.is_dir():
        yield from sorted(path.parent for path in source.rglob(STATE) if path.is_file())


def _recognise_folder(sample: Sample) -> str | None:
    return f"{STATE} of a saved dataset" if sample.path.is_dir() else None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    return _Reading(path, options).stated()


def _check(paths: Collection[Path], options: SourceOptions) -> None:
    """Raises UserError for --offsets and --end if no table has offsets, and for --ambiguous if all of them have."""
    if options == replace(options, offsets="auto", end="auto", ambiguous="reject"):
        return
    have = {OFFSETS[0] in fields_of(open_table(path), options).relation for path in paths}
    if len(have) == 1:
        which, unused = ("with", {"ambiguous"}) if have.pop() else ("without", {"offsets", "end"})
        options.check_used(f"a table {which} columns of offsets", {*FOR_ALL, *NOT_FOR_ALL} - unused)


def _splits(path: Path, options: SourceOptions) -> Collection[str]:
    """Those that the column of splits names, training where it names none."""
    if options.split != "auto":
        return ()
    table = open_table(path)
    fields = fields_of(table, options)
    get = fields.row.get("split")
    if get is None:
        return ()
    rows = (row for batch in table.batches(fields.columns) for row in batch)
    found = {"train" if isinstance(row, Unreadable) else _split_of(row.value, get) or "train" for row in rows}
    return sorted(found, key=SPLITS.index)


def _split_of(row: dict[str, Any], get: Get) -> str | None:
    """None where a row says nothing of its split, or several things."""
    try:
        words = splits_in(str(get(row)))
    except Rejected:
        return None
    return words.pop() if len(words) == 1 else None


def _languages(path: Path, options: SourceOptions) -> Collection[str]:
    """Leaves out missing values and those that aren't texts, whose rows `_read` rejects."""
    table = open_table(path)
    fields = fields_of(table, options)
    get = fields.row.get("lang")
    if get is None:
        return {""}
    rows = (row for batch in table.batches(fields.columns) for row in batch if not isinstance(row, Unreadable))
    return {language for row in rows if isinstance(language := get(row.value), str) and language}


class _Reading:
    """Rows of one file -> sentences; `options.split` is the split that rows must state, auto for any."""

    def __init__(self, path: Path, options: SourceOptions):
        self._options = options
        self._table = open_table(path)
        fields = fields_of(self._table, options)
        self._stem, self._columns, row = path.stem, fields.columns, fields.row
        self._get_id, self._get_language, self._get_triples = (row.get(key) for key in ("id", "lang", "triples"))
        self._has_tokens = "tokens" in row
        self._get_text = row["tokens" if self._has_tokens else "text"]
        self._get_split = row.get("split") if options.split != "auto" else None
        self._get_label = fields.relation["relation"]
        self._get_head, self._get_tail = (fields.relation.get(name) for name in TEXTS)
        self._get_offsets = [fields.relation[name] for name in OFFSETS if name in fields.relation]
        stated = {"offsets": "token" if self._has_tokens else "auto", "end": "auto"} | self._table.conventions
        self._offsets = stated["offsets"] if options.offsets == "auto" else options.offsets
        end = stated["end"] if options.end == "auto" else options.end
        self._conventions: Conventions | None = None
        self._has_surfaces = bool(self._get_head or self._get_tail)
        if self._get_offsets:
            self._conventions = Conventions(str(path), self._offsets, end, self._has_surfaces)

    def stated(self) -> Iterator[Stated | Unreadable]:
        """In the order of the rows, but what is unreadable may come before the sentence that its neighbours form."""
        held: list[Stated] = []
        for batch in self._table.batches(self._columns):
            if self._conventions and not self._conventions.settled:
                self._conventions.learn(self._passages(batch))
            self._past_end = self._conventions.past_end if self._conventions else None
            for row in batch:
                if self._get_split and not self._is_wanted(row, self._get_split):
                    continue
                stated = self._stated(row)
                if isinstance(stated, Unreadable) or self._get_triples:
                    yield stated
                    continue
                if held and not (
                    stated.text == held[0].text and len(held) < MOST_TRIPLES and self._are_one(held[0], stated)
                ):
                    yield _joined(held)
                    held = []
                held.append(stated)
        if held:
            yield _joined(held)

    def _is_wanted(self, row: AnyRow | Unreadable, get: Get) -> bool:
        """Whether a row is of the split; those that don't say are read with the training split."""
        its = None if isinstance(row, Unreadable) else _split_of(row.value, get)
        return (its or "train") == self._options.split

    def _are_one(self, one: Stated, other: Stated) -> bool:
        """Whether two rows with the same text state relations of the same sentence."""
        return one.language == other.language and (one.id == other.id or not self._get_id)

    def _stated(self, row: AnyRow | Unreadable) -> Stated | Unreadable:
        if isinstance(row, Unreadable):
            return row
        value, get = row.value, self._get_triples
        try:
            if self._get_split and not _split_of(value, self._get_split):
                raise Rejected("unknown_split")
            text, tokens = self._text(value)
            own_id = self._get_id(value) if self._get_id else f"{self._stem}-{row.place}"
            if type(own_id) is not str:
                own_id = _text_of(own_id)
            language = self._get_language(value) if self._get_language else ""
            if self._get_language and not (type(language) is str and language):
                language = _given(language)
            items = _items(get(value)) if get else (value,)
            plain = self._plain(items, text)
            if plain:
                links = []
            elif get:
                links = [link for item in items for link in self._links_or_lost(item, text, tokens)]
            else:
                links = self._links(value, row.raw, text, tokens)
            return Stated(
                row.place, own_id, text, tuple(links), row.size, row.raw, language, one_relation=not get, plain=plain
            )
        except Rejected as rejected:
            lost = get(value) if get else [None]
            relations = len(lost) if isinstance(lost, list) else 0
            return Unreadable(row.place, str(rejected), row.raw, row.size, relations=relations)

    def _passages(self, batch: Batch) -> Iterator[Passage]:
        """What the rows show of conventions; rows that can't be read show nothing."""
        for row in batch:
            if isinstance(row, Unreadable):
                continue
            with suppress(Rejected):
                text, tokens = self._text(row.value)
                for item in _items(self._get_triples(row.value)) if self._get_triples else [row.value]:
                    with suppress(Rejected):
                        a, b, c, d = self._offsets_of(item)
                        head, tail = self._surfaces_of(item)
                        yield Passage(text, tokens, (Place(a, b, head), Place(c, d, tail)))

    def _text(self, row: dict[str, Any]) -> tuple[str, Sequence[Span]]:
        """The text, and the spans of its tokens where offsets count these. Raises Rejected."""
        value = self._get_text(row)
        if self._has_tokens:
            if not is_strings(value):
                raise Rejected("missing_value" if value is None else "wrong_keys")
            return join_tokens(value)
        text = value if type(value) is str else _text_of(value)
        return text, [token.span() for token in _TOKEN.finditer(text)] if self._offsets == "token" else ()

    def _plain(self, items: Sequence[Any], text: str) -> tuple[Triple, ...]:
        """The relations, if all have what is needed and nothing is to be said of them, as of nearly all; else ()."""
        past_end = self._past_end
        if past_end is None:
            return ()
        found = []
        for item in items:
            label = self._get_label(item)
            a, b, c, d = [get(item) for get in self._get_offsets]
            if not (type(label) is str and type(a) is type(b) is type(c) is type(d) is int):
                return ()
            head, tail = (a, b + past_end), (c, d + past_end)
            if self._has_surfaces and self._surfaces_of(item) != [text[slice(*span)] for span in (head, tail)]:
                return ()
            if not (triple := plain_triple(text, head, label, tail)):
                return ()
            found.append(triple)
        return tuple(found) if len({*found}) == len(found) else ()

    def _links_or_lost(self, item: Any, text: str, tokens: Sequence[Span]) -> list[Link | Lost]:
        raw = Shown(item)
        try:
            return self._links(item, raw, text, tokens)
        except Rejected as rejected:
            return [Lost(str(rejected), raw)]

    def _links(self, item: Any, raw: Raw, text: str, tokens: Sequence[Span]) -> list[Link | Lost]:
        """The relation of a row, or of an item of its list. Raises Rejected."""
        label = _given(self._get_label(item))
        if not self._conventions:
            head, tail = (_given(get(item)) for get in (self._get_head, self._get_tail) if get)
            return list(locating.located(text, head, label, tail, raw, self._options))
        a, b, c, d = self._offsets_of(item)
        one, other = self._surfaces_of(item) if self._has_surfaces else (None, None)
        span = self._conventions.span
        its_head, its_tail = span(text, tokens, a, b), span(text, tokens, c, d)
        if its_head is None or its_tail is None:
            return [Lost("span_out_of_text", raw)]
        return [Link(Mention((its_head,), one), label, Mention((its_tail,), other), raw)]

    def _offsets_of(self, item: Any) -> list[int]:
        """In the order of `OFFSETS`. Raises Rejected."""
        return [value if type(value := get(item)) is int else _whole(value) for get in self._get_offsets]

    def _surfaces_of(self, item: Any) -> list[str | None]:
        """Of head and tail; None where there is none, which doesn't matter beside offsets. Raises Rejected."""
        found = [get(item) if get else None for get in (self._get_head, self._get_tail)]
        return [None if value in (None, "") else _text_of(value) for value in found]


def _joined(rows: list[Stated]) -> Stated:
    """One sentence of rows that have a relation of it each."""
    if len(rows) == 1:
        return rows[0]
    links = tuple(link for row in rows for link in row.links or _linked(row))
    return rows[0]._replace(links=links, plain=(), size=sum(row.size for row in rows), notes=("joined_rows",))


def _linked(row: Stated) -> list[Link]:
    """The plain relations of a row as others are."""
    return [Link(Mention((head,)), relation, Mention((tail,)), row.raw) for head, relation, tail in row.plain]


def _items(triples: Any) -> list[Any]:
    """The relations of a row."""
    if triples is None:
        raise Rejected("missing_value")
    return objects(triples)


def _text_of(value: Any) -> str:
    """A text, or a whole number as one. Raises Rejected."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    raise Rejected("missing_value" if value is None else "wrong_keys")


def _given(value: Any) -> str:
    """As `_text_of`, but not empty: an empty cell of a CSV file stands for no value."""
    if text := value if type(value) is str else _text_of(value):
        return text
    raise Rejected("missing_value")


def _whole(value: Any) -> int:
    """A whole number, which may be written as a text or as 3.0. Raises Rejected."""
    if type(value) is int:
        return value
    if value is None or value == "":
        raise Rejected("missing_value")
    if type(value) is str and (written := _WHOLE.fullmatch(value)):
        return int(written[1])
    if type(value) is float and value.is_integer():
        return int(value)
    raise Rejected("wrong_keys")


_LOSSES = {
    "missing_value": "the row, or a relation of it, has no value in a column that is needed",
    "unknown_split": "the column of splits says nothing of train, dev or test",
    **csv_rows.LOSSES,
    **locating.LOSSES,
}
_NOTES = {
    "joined_rows": "the sentence is made of neighbouring rows with the same id and text, which have a relation each",
    **locating.NOTES,
}

_TABLE = Format(
    name="table",
    about="Parquet, CSV or TSV with a header, or JSON, of any column names",
    parts=_files,
    recognise=_recognise,
    read=_read,
    flags=NOT_FOR_ALL,
    check=_check,
    losses=_LOSSES,
    notes=_NOTES,
    general=True,
    languages=_languages,
    splits=_splits,
)
FORMATS = (
    replace(
        _TABLE,
        name="datasets",
        about="a folder that Hugging Face's datasets saved (save_to_disk), of any column names",
        parts=_folders,
        recognise=_recognise_folder,
    ),
    _TABLE,
)
