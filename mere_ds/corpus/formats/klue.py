"""KLUE-RE and corpora of its shape: JSON, or CSV whose columns of entities hold dictionaries as Python writes them.

Offsets count characters, and the end is the last one of the entity. Copies differ in the names of fields.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mere_ds.corpus.formats import pairs
from mere_ds.corpus.formats.csv_rows import LOSSES as CSV_LOSSES
from mere_ds.corpus.formats.csv_rows import csv_header, csv_rows, csv_sample
from mere_ds.corpus.formats.json_rows import Row, data_files, json_rows
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import ToCodePoint, span_at, to_code_points
from mere_ds.corpus.formats.values import fields, integer, string
from mere_ds.corpus.rows import Rejected
from mere_ds.errors import UserError

_ENTITIES = (("subject_entity", "subject"), ("object_entity", "object"))
_LOSSES = {
    **CSV_LOSSES,
    "invalid_entity": "the field of an entity is neither a JSON object nor a dictionary as Python writes it",
}
_MOST_LITERAL = 4096  # characters of an entity
_NUMBER = re.compile(r"[0-9]{1,9}")


def _recognise(sample: Sample) -> str | None:
    columns = csv_sample(sample)
    row = columns or sample.first
    names = [next((name for name in names if name in row), None) for names in _ENTITIES]
    if None in names or not {"sentence", "label"} <= row.keys():
        return None
    if columns and not all(str(row[name]).lstrip().startswith("{") for name in names if name):
        return None
    if not columns and not all(isinstance(row[name], dict) and "start_idx" in row[name] for name in names if name):
        return None
    return f"{' and '.join(map(str, names))} of sentence{' in columns' if columns else ''}"


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    rows = json_rows if Sample(path).json else _csv_rows
    for row in rows(path):
        yield row if isinstance(row, Unreadable) else pairs.stated_or_not(row, _stated, options)


def _csv_rows(path: Path) -> Iterator[Row | Unreadable]:
    """Raises UserError for other columns."""
    columns = csv_header(path)
    if missing := [name for name in ("sentence", "label") if name not in columns]:
        raise UserError(
            f"{path}: must be JSON, or CSV with the columns of KLUE-RE: it has no {' and no '.join(missing)}"
        )
    yield from csv_rows(path)


def _stated(row: Row, options: SourceOptions) -> Stated:
    value = row.value
    text = string(value.get("sentence"))
    place = to_code_points(text, options.unit("char", "utf16", "byte", "grapheme"))
    past_end = options.past_end("inclusive")
    subject, object = (_mention(_entity(_first(value, names)), place, past_end) for names in _ENTITIES)
    label = pairs.label_of(value.get("label"))
    link: Link | Lost = Lost("span_out_of_text", row.raw)
    if subject and object:
        link = pairs.directed(subject, label, object, row.raw)
    own_id = pairs.id_of(_first(value, ("guid", "id")), row.place)
    return Stated(row.place, own_id, text, (link,), row.size, row.raw)


def _mention(entity: dict[str, Any], place: ToCodePoint, past_end: int) -> Mention | None:
    """None where the place is none of the text."""
    span = span_at(place, _index(entity.get("start_idx")), _index(entity.get("end_idx")) + past_end)
    word = _first(entity, ("word", "text"))
    return span and Mention((span,), None if word is None else string(word))


def _entity(value: Any) -> dict[str, Any]:
    return fields(value) if not isinstance(value, str) else _dictionary(value)


def _dictionary(given: str) -> dict[str, Any]:
    """What a dictionary's text stands for; none of it is run. Raises Rejected."""
    for parse in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings():  # of Python's about odd escapes
                warnings.simplefilter("ignore")
                value = parse(given.strip()) if len(given) <= _MOST_LITERAL else None
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    raise Rejected("invalid_entity")


def _index(value: Any) -> int:
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else integer(value)


def _first(value: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((value[name] for name in names if name in value), None)


FORMATS = (
    Format(
        name="klue",
        about="KLUE-RE and corpora of its shape: JSON or CSV of sentences with subject_entity and object_entity",
        parts=data_files(".json", ".jsonl", ".csv"),
        recognise=_recognise,
        read=_read,
        flags=("offsets", "end"),
        losses=_LOSSES,
        notes=pairs.NOTES,
        one_relation=True,
    ),
)
