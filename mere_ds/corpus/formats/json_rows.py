"""Files of JSON lines or of one JSON array -> their objects, in bounded memory for JSON lines."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Shown, Unreadable, files_below, shares
from mere_ds.corpus.formats.values import is_int, is_strings
from mere_ds.corpus.rows import MOST_ROW_BYTES, open_file, raw_of, rows_of
from mere_ds.errors import UserError
from mere_ds.files import distinct_keys, parser
from mere_ds.streams import BOM

_TEXTS = {"input", "sentence", "text", "token", "tokens"}
"""Keys of a record, which no table of labels has."""


class Doubled:
    """In place of an object that has a key twice, of which Python would drop the first value without a word."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        self._pairs = pairs

    def __str__(self) -> str:
        return f"an object with a key twice: {self._pairs}"


class Row(NamedTuple):
    """An object of a file."""

    place: int
    """Its line, or its number in the array, counted from 1."""
    value: dict[str, Any]
    raw: str
    size: int


def json_rows(path: Path) -> Iterator[Row | Unreadable]:
    """The objects of JSON lines, one line in memory at a time, or of one array, which is read whole.

    Other values than objects are `Unreadable`; an object with a key twice inside one is `Doubled`. Raises UserError for
    a file that is neither.
    """
    layout = Sample(path).json
    if layout == "lines":
        yield from _lines(path)
    elif layout == "array":
        yield from _array(path)
    else:
        raise UserError(f"{path}: must be JSON lines (one object per line) or one JSON array of objects")


def whole_json(path: Path, distinct: bool = False) -> Any:
    """The one value of a JSON file. Raises UserError; with `distinct`, for an object with a repeated key too, in whose
    place there is otherwise a `Doubled`."""
    with open_file(path) as stream:
        content = stream.read()
    try:
        return parser(distinct_keys if distinct else _object)(content.removeprefix(BOM).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({error}): export it again") from None


def shown(value: Any) -> str:
    """A value as JSON for the report of rejected rows, see `Shown`."""
    return str(Shown(value))


def _lines(path: Path) -> Iterator[Row | Unreadable]:
    parse = parser(_object)
    with open_file(path) as stream:
        for line, (row, length, complete) in enumerate(rows_of(stream), start=1):
            reason = "too_long_line" if length > MOST_ROW_BYTES else "" if row.strip() else "empty_row"
            try:
                text = (row.removeprefix(BOM) if line == 1 else row).decode("utf-8")
                value: Any = None if reason else parse(text)
                reason = reason or ("" if type(value) is dict else "invalid_json")
            except UnicodeDecodeError:
                reason = reason or ("invalid_utf8" if complete else "cut_row")
            except (ValueError, RecursionError):
                reason = "invalid_json" if complete else "cut_row"
            yield Unreadable(line, reason, raw_of(row, length), length) if reason else Row(line, value, text, length)


def _array(path: Path) -> Iterator[Row | Unreadable]:
    values = whole_json(path)
    lengths = shares(path.stat().st_size, len(values))
    for place, (value, length) in enumerate(zip(values, lengths, strict=True), start=1):
        if isinstance(value, dict):
            yield Row(place, value, shown(value), length)
        else:
            yield Unreadable(place, "invalid_json", shown(value), length)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Doubled:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Doubled(pairs)


def unreadable(row: Row, reason: str, relations: object) -> Unreadable:
    """A row that is lost with the list of its relations, if it is one."""
    return Unreadable(row.place, reason, row.raw, row.size, relations=len(relations) if type(relations) is list else 0)


def data_files(*suffixes: str) -> Callable[[Path], Iterator[Path]]:
    """For `Format.parts`: as `files_below`, but of a folder without the JSON that only names its labels.

    Published corpora have such tables beside their data: an object such as {"P17": "country"} or {"P17": ["country", "a
    long description"]}, or an array of objects that number labels.
    """

    def parts(source: Path) -> Iterator[Path]:
        return (path for path in files_below(suffixes)(source) if path == source or not _names_labels(Sample(path)))

    return parts


json_files = data_files(".json", ".jsonl")


def _names_labels(sample: Sample) -> bool:
    if not (sample.is_one_value and sample.first) or sample.first.keys() & _TEXTS:
        return False
    if sample.json == "array":  # of NYT and WebNLG: names by number, then numbers by name
        return all(key.isdecimal() for key in sample.first) or all(is_int(value) for value in sample.first.values())
    left: list[Any] = [sample.first]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list) and not (value and is_strings(value)):
            return False
    return True
