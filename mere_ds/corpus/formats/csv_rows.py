"""CSV files with a header -> a dictionary of texts for each row, in bounded memory; every row is accounted for."""

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from mere_ds.corpus.formats.json_rows import Row
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import MOST_RAW, Unreadable
from mere_ds.corpus.rows import MOST_ROW_BYTES, open_file, raw_of, rows_of
from mere_ds.errors import UserError
from mere_ds.streams import BOM, Line

LOSSES = {
    "invalid_csv": "a value has more than 131,072 characters, as after a quote that is not closed, or a lone line end",
    "wrong_columns": "the row has not as many values as the file has columns",
}
"""Why a row is not read."""

_ROWS = 20  # in which a whole one is looked for


def csv_sample(sample: Sample, delimiter: str = ",") -> dict[str, str]:
    """The columns of a file with the values of its first whole row; {} if it isn't CSV with a header."""
    header, *rows = islice(_rows((f"{line}\n" for line in sample.lines), delimiter), _ROWS)
    if sample.json or header is None or not len(header) == len(set(header)) > 1:
        return {}
    whole = next((row for row in rows if row and len(row) == len(header)), None)
    return dict(zip(header, whole, strict=True)) if whole else {}


def _rows(lines: Iterable[str], delimiter: str) -> Iterator[list[str] | None]:
    """The rows of lines; None for one that is not CSV."""
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield None


def csv_header(path: Path, delimiter: str = ",") -> list[str]:
    """The names of a file's columns. Raises UserError."""
    with open_file(path) as stream:
        return _header(path, _rows(_Lines(rows_of(stream)), delimiter))


def _header(path: Path | str, rows: Iterator[list[str] | None]) -> list[str]:
    header = next(rows, None)
    if not header or len(set(header)) < len(header):
        raise UserError(f"{path}: must be CSV with a header that names each column once")
    return header


def csv_rows(path: Path, delimiter: str = ",") -> Iterator[Row | Unreadable]:
    """The rows of a file by the names of its columns; a quoted value may have lines. Raises UserError."""
    with open_file(path) as stream:
        yield from csv_rows_of(rows_of(stream), path, delimiter)[1]


def csv_rows_of(
    lines: Iterable[Line], name: Path | str, delimiter: str = ","
) -> tuple[list[str], Iterator[Row | Unreadable]]:
    """The names of the columns and the rows, as `csv_rows`, of the lines of something called `name`. Raises
    UserError."""
    texts = _Lines(lines)
    rows = _rows(texts, delimiter)
    header = _header(name, rows)
    return header, _checked(header, rows, texts)


def _checked(header: list[str], rows: Iterator[list[str] | None], lines: "_Lines") -> Iterator[Row | Unreadable]:
    for cells in rows:
        place, raw, size, fault = lines.taken()
        if fault or cells is None:
            yield Unreadable(place, fault or "invalid_csv", raw, size)
        elif len(cells) != len(header):
            yield Unreadable(place, "wrong_columns" if cells else "empty_row", raw, size)
        else:
            yield Row(place, dict(zip(header, cells, strict=True)), raw, size)


class _Lines:
    """Lines as texts, and what is to be said of those since the last `taken`."""

    def __init__(self, lines: Iterable[Line]):
        self._rows = enumerate(lines, start=1)
        self._place = 0
        self._raw = self._fault = ""
        self._size = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line, (row, length, complete) = next(self._rows)
        row = row.removeprefix(BOM) if line == 1 else row
        text = row.decode("utf-8", "replace")
        fault = "too_long_line" if length > MOST_ROW_BYTES else "" if text.encode() == row else "invalid_utf8"
        if length > MOST_ROW_BYTES:
            text = text.replace('"', "")  # a quote that is closed in the part that was cut off would take in other rows
        self._size += length
        if line > 1:  # the header's size is of the first row, but not its content
            self._place = self._place or line
            self._fault = self._fault or fault
            if len(self._raw) < MOST_RAW:
                self._raw += raw_of(row, length) + "\n"
        return text + "\n" if complete else text

    def taken(self) -> tuple[int, str, int, str]:
        """Line number of the first of these lines, the beginning of their content, their size, and their fault."""
        taken = self._place, self._raw.rstrip("\r\n"), self._size, self._fault
        self._place, self._raw, self._size, self._fault = 0, "", 0, ""
        return taken
