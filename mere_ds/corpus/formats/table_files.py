"""Files of a table -> rows: Parquet, CSV and TSV, JSON lines, and the folders of Hugging Face's `datasets`.

Parquet and Arrow files are read by pyarrow in batches. JSON lines are not: pyarrow refuses a file whose first block has
only empty lists where later ones hold objects. Nor is CSV: pyarrow refuses all of a file for some of its damaged rows.
Arrow files of `datasets` need nothing of that library, which takes seconds to import: they are Arrow's own stream
format, and name their class labels in their schema.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from mere_ds.corpus.formats.csv_rows import csv_header, csv_rows
from mere_ds.corpus.formats.json_rows import Row, json_rows
from mere_ds.corpus.formats.stated import Shown, Unreadable
from mere_ds.errors import UserError
from mere_ds.files import read_json
from mere_ds.optional_libraries import needed

if TYPE_CHECKING:
    import pyarrow

Shape: TypeAlias = "dict[str, Shape] | list[Shape] | None"
"""What a column holds: the fields of a struct, a list with the shape of its items, or None for a single value."""


class ArrowRow(NamedTuple):
    """A row, as `Row`."""

    place: int
    """Counted from 1."""
    value: dict[str, Any]
    raw: Shown
    size: int


AnyRow = Row | ArrowRow
Batch = list[AnyRow | Unreadable]

JSON, CSV, PARQUET = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv"), (".parquet",)
STATE = "state.json"
"""Is in every folder of one split that `datasets` saved."""
DICT = "dataset_dict.json"
"""Is in a folder of several such folders."""

_BATCH = 512  # rows
_BATCH_BYTES = 1 << 22  # of JSON
_BUFFER = 1 << 20  # of a column of Parquet
_SAMPLE = 1000  # rows of JSON whose keys are the columns
_DEEPEST = 8  # level of nested values that has names
_CONVENTIONS = b"mere_ds"  # key of the schema's metadata


@dataclass(frozen=True)
class Table:
    """What a file holds, and how to get at its rows."""

    path: Path
    columns: dict[str, Shape]
    several: frozenset[str]
    """The names that several columns have."""
    batches: Callable[[Sequence[str]], Iterator[Batch]]
    """The rows, with these columns at least, some hundreds at a time."""
    features: dict[str, Any] = field(default_factory=dict)
    """Hugging Face's types of the columns, where the file has them."""
    conventions: dict[str, str] = field(default_factory=dict)
    """`offsets` and `end`, where the file states them, as those do that mere-ds wrote."""


def open_table(path: Path) -> Table:
    """Raises UserError for what can't be read."""
    if path.is_dir():
        return _arrow_folder(path)
    suffix = path.suffix.lower()
    return _json(path) if suffix in JSON else _csv(path) if suffix in CSV else _parquet(path)


def delimiter_of(path: Path) -> str:
    """What is between the columns of a CSV or TSV file."""
    return "\t" if path.suffix.lower() == ".tsv" else ","


def metadata_of(offsets: str, end: str) -> dict[bytes, bytes]:
    """For a schema: `Table.conventions`."""
    return {_CONVENTIONS: json.dumps({"offsets": offsets, "end": end}).encode()}


def pyarrow_or_error(*modules: str, purpose: str = "Parquet and Arrow files need") -> ModuleType:
    """The library, with these of its modules loaded. Raises UserError, which `purpose` begins, where it is missing."""
    with needed(purpose):
        for module in modules:
            __import__(f"pyarrow.{module}")
        return __import__("pyarrow")


@contextmanager
def reading_table(path: Path) -> Iterator[None]:
    """Whatever pyarrow raises for a damaged file, in one line."""
    try:
        yield
    except UserError:
        raise
    except (pyarrow_or_error().ArrowException, ValueError, OSError, MemoryError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"{path}: cannot be read ({reason}): export it again") from None


def _json(path: Path) -> Table:
    sample = [row.value for row in islice(json_rows(path), _SAMPLE) if isinstance(row, Row)]
    columns = shape_of(sample)
    assert columns is None or isinstance(columns, dict)
    return Table(path, columns or {}, frozenset(), lambda _: _chunks(json_rows(path)))


def _chunks(rows: Iterable[AnyRow | Unreadable]) -> Iterator[Batch]:
    chunk: Batch = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += row.size
        if len(chunk) == _BATCH or size > _BATCH_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def shape_of(values: Sequence[Any], depth: int = 0) -> Shape:
    """Of JSON values: the shape that most of them have."""
    if depth == _DEEPEST:
        return None
    structs = [value for value in values if isinstance(value, dict)]
    lists = [value for value in values if isinstance(value, list)]
    single = sum(value is not None for value in values) - len(structs) - len(lists)
    most = max(len(structs), len(lists), single)
    if len(structs) == most > 0:
        keys = dict.fromkeys(chain.from_iterable(structs))
        return {key: shape_of([value[key] for value in structs if key in value], depth + 1) for key in keys}
    return [shape_of(list(chain.from_iterable(lists)), depth + 1)] if len(lists) == most > 0 else None


def _parquet(path: Path) -> Table:
    pa = pyarrow_or_error("parquet")
    with reading_table(path):
        file = pa.parquet.ParquetFile(path)
        schema, rows = file.schema_arrow, file.metadata.num_rows
        file.close()

    def batches(columns: Sequence[str]) -> Iterator[Batch]:
        with reading_table(path), pa.parquet.ParquetFile(path, buffer_size=_BUFFER) as opened:
            found = opened.iter_batches(_BATCH, columns=list(columns), use_threads=False)
            yield from _rows_of(found, columns, path.stat().st_size, rows)

    return _arrow_table(path, schema, batches)


def _csv(path: Path) -> Table:
    delimiter = delimiter_of(path)
    columns: dict[str, Shape] = dict.fromkeys(csv_header(path, delimiter))
    return Table(path, columns, frozenset(), lambda _: _chunks(csv_rows(path, delimiter)))


def _arrow_folder(path: Path) -> Table:
    pa = pyarrow_or_error("ipc")
    state = read_json(path / STATE, "save the dataset again")
    listed = state.get("_data_files")
    names = [file.get("filename") for file in listed if isinstance(file, dict)] if isinstance(listed, list) else []
    files = [path / name for name in names if isinstance(name, str) and Path(name).name == name]
    if absent := next((file for file in files if not file.is_file()), None):
        raise UserError(f"{absent}: there is no such file, but {STATE} names it: save the dataset again")
    if not files or state.get("_indices_data_files") or state.get("_indices_files"):
        raise UserError(f"{path / STATE}: names no data files, or a choice of rows: load it and save it again")

    def streams() -> Iterator[Any]:
        for file in files:
            with reading_table(file), pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
                yield stream

    def batches(columns: Sequence[str]) -> Iterator[Batch]:
        for file, stream in zip(files, streams(), strict=True):
            with reading_table(file):
                yield from _rows_of(_sound(stream), columns, file.stat().st_size)

    schema = next(streams()).schema
    return _arrow_table(path, schema, batches)


def _sound(stream: Iterable["pyarrow.RecordBatch"]) -> Iterator["pyarrow.RecordBatch"]:
    """The batches of a stream in slices; what the file says of lengths is not trusted."""
    for batch in stream:
        batch.validate(full=True)
        for start in range(0, batch.num_rows, _BATCH):
            yield batch.slice(start, _BATCH)


def _arrow_table(path: Path, schema: "pyarrow.Schema", batches: Callable[[Sequence[str]], Iterator[Batch]]) -> Table:
    pa = pyarrow_or_error()

    def shape(kind: Any) -> Shape:
        if pa.types.is_struct(kind):
            return {kind.field(i).name: shape(kind.field(i).type) for i in range(kind.num_fields)}
        return [shape(kind.value_type)] if hasattr(kind, "value_field") else None

    with reading_table(path):  # a name may not be UTF-8
        columns = {name: shape(kind) for name, kind in zip(schema.names, schema.types, strict=True)}
        several = _several(schema.names)
    metadata = schema.metadata or {}
    info = _json_in(metadata.get(b"huggingface")).get("info")
    features = info.get("features") if isinstance(info, dict) else None
    conventions = {key: str(value) for key, value in _json_in(metadata.get(_CONVENTIONS)).items()}
    return Table(path, columns, several, batches, features if isinstance(features, dict) else {}, conventions)


def _several(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name, times in Counter(names).items() if times > 1)


def _json_in(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _rows_of(
    batches: Iterable["pyarrow.RecordBatch"], columns: Sequence[str], size: int, rows: int = 1
) -> Iterator[Batch]:
    """The rows of a file of `size` bytes, each with an equal share of these; with `rows` unknown, the first has all."""
    place, share = 1, size // max(1, rows) if rows > 1 else 0
    for batch in batches:
        names = batch.schema.names
        arrays = [batch.column(names.index(name)) for name in columns]
        try:
            values = [dict(zip(columns, row, strict=True)) for row in zip(*_lists(arrays), strict=True)]
            found: Batch = [ArrowRow(place + i, value, Shown(value), share) for i, value in enumerate(values)]
        except (ValueError, ArithmeticError, TypeError):
            found = [_row(place + i, [a.slice(i, 1) for a in arrays], columns, share) for i in range(batch.num_rows)]
        if place == 1 and found:
            found[0] = found[0]._replace(size=size - share * (rows - 1))
        place += len(found)
        yield found


def _lists(arrays: Sequence["pyarrow.Array"]) -> list[list[Any]]:
    return [array.to_pylist() for array in arrays]


def _row(place: int, arrays: Sequence["pyarrow.Array"], columns: Sequence[str], share: int) -> ArrowRow | Unreadable:
    """A row of a batch in which some row can't be converted."""
    try:
        value = {name: found for name, (found,) in zip(columns, _lists(arrays), strict=True)}
        return ArrowRow(place, value, Shown(value), share)
    except UnicodeDecodeError as error:
        return Unreadable(place, "invalid_utf8", error.object.decode("utf-8", "backslashreplace"), share)
    except (ValueError, ArithmeticError, TypeError) as error:
        return Unreadable(place, "wrong_keys", str(error), share)
