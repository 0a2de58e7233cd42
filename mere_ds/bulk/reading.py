"""An input of any format and length -> units of some rows each, in bounded memory.

Files that end in .gz or .zst are decompressed as they are read. Units of a file are always the same ones, whatever
reads it and when, so that work that is done by units can be resumed and divided.
"""

import errno
import gzip
import hashlib
import os
import stat
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mere_ds.bulk.rows import InputFormat, Parser, check_fields
from mere_ds.corpus.formats.csv_rows import csv_rows_of
from mere_ds.corpus.formats.table_files import delimiter_of, pyarrow_or_error, reading_table
from mere_ds.errors import UserError
from mere_ds.files import naming
from mere_ds.streams import LINES_AT_ONCE, MOST_BYTES_AT_ONCE, MOST_LINE_BYTES, Line, batches_of_lines

COMPRESSIONS = (".gz", ".zst")
STDIN = "-"

_BY_SUFFIX: dict[str, InputFormat] = {
    **{".jsonl": "jsonl", ".ndjson": "jsonl"},
    **{".csv": "csv", ".tsv": "csv", ".parquet": "parquet"},
}
_BUFFER = 1 << 20  # of a column of Parquet

Batches = Callable[[], Iterator[tuple[list[Any], int]]]


class Unit(NamedTuple):
    """Some rows of the input that are read together: at most 1,024 lines or 4 MiB."""

    number: int
    """Counted from 0."""
    first: int
    """Number of its first row, counted from 1."""
    content: list[Any]
    """For `Parser.rows`."""
    read: int
    """How much of the input was read up to its end, in bytes, or in rows where `Source.total` is None."""

    @property
    def digest(self) -> str:
        """sha256, in hex, of its content."""
        return hashlib.sha256(repr(self.content).encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Source:
    """An opened input."""

    name: str
    path: Path | None
    """None for a stream, which can be read only once."""
    parser: Parser
    total: int | None
    """Its size in bytes; None for a stream."""
    batches: Batches
    schema: Any = None
    """Of a Parquet file."""

    def units(self) -> Iterator[Unit]:
        """Raises UserError for a file that is damaged as a whole, OSError that names it."""
        first = 1
        for number, (content, read) in enumerate(self.batches()):
            yield Unit(number, first, content, first + len(content) - 1 if self.total is None else read)
            first += len(content)


def format_of(file: str | None) -> InputFormat:
    """What a file's name says of its format. Raises UserError for JSON that may be of any layout."""
    suffix = Path(_uncompressed(file or "")).suffix.lower()
    if suffix == ".json":
        raise UserError(f"--file={file}: may be of any layout: pass --input_format=jsonl if it has one object a line")
    return _BY_SUFFIX.get(suffix, "lines")


def _uncompressed(name: str) -> str:
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in COMPRESSIONS else name


def open_source(
    file: str | None, format: InputFormat, text_field: str, lang_field: str | None, at_once: bool = False
) -> Source:
    """Open a file, or standard input (None or `-`).

    With `at_once` the units of a stream never wait for more input, so that who writes one row at a time gets its answer
    before writing the next; they then depend on when its rows come. Raises UserError at once if it can't be opened or
    lacks a column.
    """
    parser = Parser(format, text_field, lang_field)
    stream, name, path = _opened(file)
    size = os.fstat(stream.fileno()).st_size if path else None
    if format == "parquet":
        if path is None:
            raise UserError(f"--file={name}: Parquet can't be read from a stream: pass a file")
        schema, batches = _parquet(path)
        check_fields(schema.names, name, text_field=text_field, lang_field=lang_field)
        _check_strings(schema, name, text_field=text_field, lang_field=lang_field)
        return Source(name, path, parser, size, batches, schema)
    read = _reader(stream, name)
    waits = at_once and path is None
    lines = batches_of_lines(read, LINES_AT_ONCE, MOST_LINE_BYTES, MOST_BYTES_AT_ONCE, at_once=waits)
    position = stream.tell if path else lambda: 0
    if format == "csv":
        columns, rows = _csv(lines, name, delimiter_of(Path(_uncompressed(name))))
        check_fields(columns, name, text_field=text_field, lang_field=lang_field)
        return Source(name, path, parser, size, lambda: ((unit, position()) for unit in rows))
    return Source(name, path, parser, size, lambda: ((unit, position()) for unit in lines))


def _opened(file: str | None) -> tuple[BinaryIO, str, Path | None]:
    """The stream, its name, and its path if it is a regular file."""
    if file is None or file == STDIN:
        if sys.stdin is None:
            raise UserError("standard input is closed: pass TEXT or --file")
        number = os.dup(sys.stdin.fileno())
        return os.fdopen(number, "rb", buffering=0), "standard input", None
    try:
        stream = open(file, "rb", buffering=0)  # noqa: SIM115 (read to its end while the command runs)
        if stat.S_ISDIR(os.fstat(stream.fileno()).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise UserError(f"--file={file}: {error.strerror}") from None
    regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    return stream, file, Path(file) if regular else None


def _reader(stream: BinaryIO, name: str) -> Callable[[int], bytes]:
    """`read(bytes)` of the content, decompressed if the name says so. Raises UserError for a damaged file."""
    suffix = Path(name).suffix.lower()
    read: Callable[[int], bytes] = stream.read
    if suffix == ".gz":
        read = gzip.GzipFile(fileobj=stream, mode="rb").read1
    elif suffix == ".zst":
        read = pyarrow_or_error(purpose=".zst files need").CompressedInputStream(stream, "zstd").read

    def checked(most: int) -> bytes:
        try:
            return read(most)
        except (EOFError, ValueError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                with naming(Path(name)):
                    raise
            raise UserError(f"{name}: damaged ({error}): compress it again") from None

    return checked


def _csv(batches: Iterator[list[Line]], name: str, delimiter: str) -> tuple[list[str], Iterator[list[Any]]]:
    """The columns, and the rows that end in each batch of lines; a row whose quoted text has lines may begin in one
    batch and end in another."""
    held: deque[Line] = deque()

    def lines() -> Iterator[Line]:
        for batch in batches:
            held.extend(batch)
            while held:
                yield held.popleft()

    columns, rows = csv_rows_of(lines(), name, delimiter)

    def units() -> Iterator[list[Any]]:
        unit = []
        for row in rows:
            unit.append(row)
            if not held:
                yield unit
                unit = []
        if unit:
            yield unit

    return columns, units()


def _parquet(path: Path) -> tuple[Any, Batches]:
    """The schema, and the rows as dictionaries, from one row group after the other. Raises UserError."""
    with reading_table(path):
        schema = pyarrow_or_error("parquet").parquet.ParquetFile(path).schema_arrow

    def batches() -> Iterator[tuple[list[Any], int]]:
        size, rows = path.stat().st_size, 0
        for batch, all_rows in parquet_batches(path):
            rows += batch.num_rows
            with reading_table(path):
                content = batch.to_pylist()
            yield content, size * rows // all_rows

    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise UserError(f"{path}: has two columns named {twice[0]}: rename one of them")
    return schema, batches


def parquet_batches(path: Path) -> Iterator[tuple[Any, int]]:
    """A file's record batches, one for each unit, with the number of all rows."""
    with reading_table(path):
        file = pyarrow_or_error("parquet").parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)
        for batch in file.iter_batches(LINES_AT_ONCE):
            pieces = -(-max(1, batch.nbytes) // MOST_BYTES_AT_ONCE)
            size = -(-batch.num_rows // pieces)
            for start in range(0, batch.num_rows, size):
                yield batch.slice(start, size), file.metadata.num_rows


def _check_strings(schema: Any, name: str, **fields: str | None) -> None:
    types = pyarrow_or_error("types").types
    for flag, column in fields.items():
        if column is not None:
            kind = schema.field(column).type
            kind = kind.value_type if types.is_dictionary(kind) else kind
            if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
                raise UserError(f"--{flag}={column}: this column of {name} holds {kind}: pass one of strings")


def whole_text(file: str | None) -> str:
    """All of a file or of standard input as one text. Raises UserError if it can't be read or isn't UTF-8."""
    stream, name, _ = _opened(file)
    read = _reader(stream, name)
    content = b"".join(iter(lambda: read(_BUFFER), b""))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start + 1} is 0x{content[error.start]:02x}"
        raise UserError(f"{name}: not UTF-8: {wrong}: convert it to UTF-8") from None
