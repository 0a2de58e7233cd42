"""Tables of any column names: Parquet, CSV and TSV with a header, JSON lines, and folders of Hugging Face's `datasets`.

A row is a sentence with a list of relations, or one relation with its sentence; of the latter, neighbours with the same
id and text are one sentence.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats import csv_rows, locating
from mere_ds.corpus.formats.conventions import Conventions, Passage, Place
from mere_ds.corpus.formats.csv_rows import csv_sample
from mere_ds.corpus.formats.json_rows import is_strings
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.splits import splits_in
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Raw, Shown, Stated, Unreadable, files_below
from mere_ds.corpus.formats.table_fields import OBVIOUS, OFFSETS, TEXTS, Get, fields_of
from mere_ds.corpus.formats.table_files import CSV, DICT, JSON, PARQUET, STATE, AnyRow, delimiter_of, open_table
from mere_ds.corpus.formats.units import join_tokens
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
        yield from sorted(path.parent for path in source.rglob(STATE))


def _recognise_folder(sample: Sample) -> str | None:
    return f"{STATE} of a saved dataset" if sample.path.is_dir() else None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    return _Reading(path, options).stated()


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
    """What is no text or missing, which `_read` rejects, is left out."""
    table = open_table(path)
    fields = fields_of(table, options)
    get = fields.row.get("lang")
    if get is None:
        return {""}
    rows = (row for batch in table.batches(fields.columns) for row in batch if not isinstance(row, Unreadable))
    return {language for row in rows if isinstance(language := get(row.value), str) and language}


class _Relation(NamedTuple):
    head: Place
    relation: str
    tail: Place
    raw: Raw


@dataclass(slots=True)
class _Sentence:
    """A row."""

    row: AnyRow
    id: str | None
    language: str
    passage: Passage
    relations: list[_Relation | Lost]

    @property
    def key(self) -> tuple[str | None, str, str]:
        """What rows of one sentence have in common."""
        return self.id, self.language, self.passage.text


class _Reading:
    """Rows of one file -> sentences; `options.split` is the split that rows must state, auto for any."""

    def __init__(self, path: Path, options: SourceOptions):
        self._path, self._options = path, options
        self._table = open_table(path)
        fields = fields_of(self._table, options)
        self._columns, self._row = fields.columns, fields.row
        self._get_label = fields.relation["relation"]
        self._get_texts = [fields.relation.get(name) for name in TEXTS]
        self._get_offsets = [fields.relation[name] for name in OFFSETS if name in fields.relation]
        stated = {"offsets": "token" if "tokens" in fields.row else "auto", "end": "auto"} | self._table.conventions
        self._offsets = stated["offsets"] if options.offsets == "auto" else options.offsets
        end = stated["end"] if options.end == "auto" else options.end
        self._conventions: Conventions | None = None
        if self._get_offsets:
            self._conventions = Conventions(str(path), self._offsets, end, any(self._get_texts))

    def stated(self) -> Iterator[Stated | Unreadable]:
        """In the order of the rows, but what is unreadable may come before the sentence that its neighbours form."""
        held: list[_Sentence] = []
        for batch in self._table.batches(self._columns):
            found = [sentence for row in batch if (sentence := self._sentence(row))]
            if self._conventions:
                self._conventions.learn(sentence.passage for sentence in found if isinstance(sentence, _Sentence))
            for sentence in found:
                if isinstance(sentence, Unreadable):
                    yield sentence
                    continue
                alone = "triples" in self._row or len(held) == MOST_TRIPLES
                if held and (alone or sentence.key != held[0].key):
                    yield self._stated(held)
                    held = []
                held.append(sentence)
        if held:
            yield self._stated(held)

    def _sentence(self, row: AnyRow | Unreadable) -> _Sentence | Unreadable | None:
        """None for a row of another split."""
        split, get = self._options.split, self._row.get("split")
        if split != "auto" and get:
            its = None if isinstance(row, Unreadable) else _split_of(row.value, get)
            if (its or "train") != split:
                return None
            if its is None and not isinstance(row, Unreadable):
                return Unreadable(row.place, "unknown_split", row.raw, row.size)
        if isinstance(row, Unreadable):
            return row
        try:
            text, tokens = self._text(row.value)
            own_id = _text_of(self._row["id"](row.value)) if "id" in self._row else None
            language = _given(_text_of(self._row["lang"](row.value))) if "lang" in self._row else ""
            relations = self._relations(row)
            places = [place for link in relations if isinstance(link, _Relation) for place in (link.head, link.tail)]
            return _Sentence(row, own_id, language, Passage(text, tokens, places), relations)
        except Rejected as rejected:
            get = self._row.get("triples")
            triples = get(row.value) if get else [None]
            lost = len(triples) if isinstance(triples, list) else 0
            return Unreadable(row.place, str(rejected), row.raw, row.size, relations=lost)

    def _text(self, row: dict[str, Any]) -> tuple[str, list[Span]]:
        if get := self._row.get("tokens"):
            tokens = get(row)
            if not is_strings(tokens):
                raise Rejected("missing_value" if tokens is None else "wrong_keys")
            return join_tokens(tokens)
        text = _text_of(self._row["text"](row))
        return text, [token.span() for token in _TOKEN.finditer(text)] if self._offsets == "token" else []

    def _relations(self, row: AnyRow) -> list[_Relation | Lost]:
        get = self._row.get("triples")
        if not get:
            return [self._relation(row.value, row.raw)]
        found: list[_Relation | Lost] = []
        for item in _items(get(row.value)):
            raw = Shown(item)
            try:
                found.append(self._relation(item, raw))
            except Rejected as rejected:
                found.append(Lost(str(rejected), raw))
        return found

    def _relation(self, item: Any, raw: Raw) -> _Relation:
        label = _given(_text_of(self._get_label(item)))
        a, b, c, d = [_whole(get(item)) for get in self._get_offsets] or (0, 0, 0, 0)
        head, tail = [self._surface(get, item) for get in self._get_texts]
        return _Relation(Place(a, b, head), label, Place(c, d, tail), raw)

    def _surface(self, get: Get | None, item: Any) -> str | None:
        """None, which doesn't matter where there are offsets, if the row hasn't got it."""
        value = get(item) if get else None
        if self._conventions and value in (None, ""):
            return None
        return _given(_text_of(value))

    def _stated(self, rows: list[_Sentence]) -> Stated:
        """One sentence; of several rows if each has one relation of it."""
        first, passage = rows[0], rows[0].passage
        links: list[Link | Lost] = []
        for relation in (relation for sentence in rows for relation in sentence.relations):
            if isinstance(relation, Lost):
                links.append(relation)
            else:
                links += self._links(passage, relation)
        place, raw = first.row.place, first.row.raw
        return Stated(
            place,
            f"{self._path.stem}-{place}" if first.id is None else first.id,
            passage.text,
            tuple(links),
            sum(sentence.row.size for sentence in rows),
            raw,
            first.language,
            notes=("joined_rows",) if len(rows) > 1 else (),
            one_relation="triples" not in self._row,
        )

    def _links(self, passage: Passage, relation: _Relation) -> Iterable[Link | Lost]:
        head, label, tail, raw = relation
        if not self._conventions:
            return locating.located(passage.text, head.surface or "", label, tail.surface or "", raw, self._options)
        a, b = self._conventions.span(passage, head), self._conventions.span(passage, tail)
        if a is None or b is None:
            return [Lost("span_out_of_text", raw)]
        return [Link(Mention((a,), head.surface), label, Mention((b,), tail.surface), raw)]


def _items(triples: Any) -> list[Any]:
    """The relations of a row; a struct of lists, as Hugging Face has it, becomes a list of structs."""
    if isinstance(triples, dict):
        columns = list(triples.values())
        if not all(isinstance(column, list) for column in columns) or len(set(map(len, columns))) != 1:
            raise Rejected("wrong_keys")
        return [dict(zip(triples, values, strict=True)) for values in zip(*columns, strict=True)]
    if not isinstance(triples, list):
        raise Rejected("missing_value" if triples is None else "wrong_keys")
    return triples


def _text_of(value: Any) -> str:
    """A text, or a whole number as one. Raises Rejected."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    raise Rejected("missing_value" if value is None else "wrong_keys")


def _given(text: str) -> str:
    """A text that must not be empty; an empty cell of a CSV file stands for no value."""
    if not text:
        raise Rejected("missing_value")
    return text


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

FORMATS = (
    Format(
        name="datasets",
        about="a folder that Hugging Face's datasets saved (save_to_disk), of any column names (--map)",
        parts=_folders,
        recognise=_recognise_folder,
        read=_read,
        losses=_LOSSES,
        notes=_NOTES,
        general=True,
        languages=_languages,
        splits=_splits,
    ),
    Format(
        name="table",
        about="Parquet, CSV or TSV with a header, or JSON lines, of any column names (--map)",
        parts=_files,
        recognise=_recognise,
        read=_read,
        losses=_LOSSES,
        notes=_NOTES,
        general=True,
        languages=_languages,
        splits=_splits,
    ),
)
