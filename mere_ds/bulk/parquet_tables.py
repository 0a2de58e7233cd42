"""Answers as a Parquet table: a row for each row of the input, with its columns and those of the answer.

Columns of a Parquet input keep their types, for they are read again. Those of JSON lines get the type that all values
have; where they differ, all become text, and what is no string JSON. So the answers are read twice.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mere_ds.bulk.answering import Answered
from mere_ds.bulk.reading import parquet_batches
from mere_ds.bulk.writing import free_name, merged
from mere_ds.corpus.formats.table_files import pyarrow_or_error

Units = Callable[[], Iterator[list[Answered]]]

_ROWS = 1 << 16  # of a row group
_MOST_INTEGER = 1 << 63
_MOST_EXACT = 1 << 53
"""Integers up to here are floats without loss."""


def write_table(file: BinaryIO, units: Units, beside: dict[str, Any], table: Path | None) -> None:
    """`table` is the Parquet file of which these are the answers, unit by unit; the answers then have no fields."""
    pa = pyarrow_or_error("parquet")
    batches = _beside_table(pa, units, beside, table) if table else _of_answers(pa, units, beside)
    schema = next(batches)
    with pa.parquet.ParquetWriter(file, schema) as writer:
        held: list[Any] = []
        for batch in batches:
            held.append(batch)
            if sum(its.num_rows for its in held) >= _ROWS:
                writer.write_table(pa.Table.from_batches(held, schema), row_group_size=_ROWS)
                held = []
        if held:
            writer.write_table(pa.Table.from_batches(held, schema), row_group_size=_ROWS)


def _own_fields(pa: Any, beside: dict[str, Any]) -> list[Any]:
    entity = pa.struct([("text", pa.string()), ("start", pa.int64()), ("end", pa.int64())])
    triple = pa.struct([("head", entity), ("relation", pa.string()), ("tail", entity), ("score", pa.float64())])
    own = {"lang": pa.string(), "triples": pa.list_(triple), "note": pa.string()}
    return [pa.field(name, kind) for name, kind in (own | dict.fromkeys(beside, pa.int64())).items()]


def _of_answers(pa: Any, units: Units, beside: dict[str, Any]) -> Iterator[Any]:
    """The schema, then record batches."""
    own = _own_fields(pa, beside)
    names = {field.name for field in own}
    kinds: dict[str, set[type | str]] = {}
    for answers in units():
        for answer in answers:
            for name, value in _row(answer, beside).items():
                if name not in names and value is not None:
                    kinds.setdefault(name, set()).add(_kind(value))
                elif name not in names:
                    kinds.setdefault(name, set())
    integers: list[set[type | str]] = [{int}, {"long"}, {int, "long"}]
    fractions: list[set[type | str]] = [{float}, {int, float}]
    types: dict[frozenset[type | str], Any] = {frozenset({bool}): pa.bool_(), frozenset({str}): pa.string()}
    types |= {frozenset(kind): pa.int64() for kind in integers} | {frozenset(kind): pa.float64() for kind in fractions}
    given = [pa.field(name, types.get(frozenset(its), pa.string())) for name, its in kinds.items()]
    schema = pa.schema([*given, *own])
    yield schema
    texts = {field.name for field in given if field.type == pa.string()}
    for answers in units():
        rows = [_row(answer, beside) for answer in answers]
        for row in rows:
            row |= {name: _text(row[name]) for name in texts & row.keys()}
        yield pa.RecordBatch.from_pylist(rows, schema)


def _row(answer: Answered, beside: dict[str, Any]) -> dict[str, Any]:
    return {_text(name) or "": value for name, value in merged(answer, beside).items()}


def _kind(value: Any) -> type | str:
    """Its type; "long" for an integer that no float may be beside, dict for one that is too large for a column."""
    if isinstance(value, int) and not -_MOST_EXACT <= value <= _MOST_EXACT:
        return "long" if -_MOST_INTEGER <= value < _MOST_INTEGER else dict
    return type(value)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()  # half of a surrogate pair is no UTF-8


def _beside_table(pa: Any, units: Units, beside: dict[str, Any], table: Path) -> Iterator[Any]:
    own = _own_fields(pa, beside)
    schema = None
    for answers, (batch, _) in zip(units(), parquet_batches(table), strict=True):
        if schema is None:
            yield (schema := _joined(pa, batch.schema, own))
        rows = [merged(answer, beside) for answer in answers]
        added = [pa.array([row.get(field.name) for row in rows], field.type) for field in own]
        yield pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)
    if schema is None:
        yield _joined(pa, pyarrow_or_error("parquet").parquet.read_schema(table), own)


def _joined(pa: Any, given: Any, own: Iterable[Any]) -> Any:
    """The columns of the input and of the answer; one of the input whose name the answer has too gets another."""
    fields = list(given)
    taken = {field.name for field in own}
    names = [free_name(field.name, taken) for field in fields]
    return pa.schema([*(f.with_name(n) for f, n in zip(fields, names, strict=True)), *own], metadata=given.metadata)
