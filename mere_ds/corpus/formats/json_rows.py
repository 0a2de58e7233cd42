"""Files of JSON lines or of one JSON array -> their objects, in bounded memory for JSON lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Shown, Unreadable, files_below
from mere_ds.corpus.rows import MOST_ROW_BYTES, open_file, raw_of, rows_of
from mere_ds.errors import UserError
from mere_ds.files import decoder, distinct_keys
from mere_ds.streams import BOM


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

    What is no object is `Unreadable`; inside, an object with a key twice is `Doubled`. Raises UserError for a file
    that is neither.
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
    place there is else a `Doubled`."""
    with open_file(path) as stream:
        content = stream.read()
    try:
        return decoder(distinct_keys if distinct else _object).decode(content.removeprefix(BOM).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({error}): export it again") from None


def shown(value: Any) -> str:
    """A value as JSON for the report of rejected rows, see `Shown`."""
    return str(Shown(value))


def is_int(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number; `true`, which Python counts as one, isn't."""
    return isinstance(value, int) and not isinstance(value, bool)


def _lines(path: Path) -> Iterator[Row | Unreadable]:
    parse = decoder(_object).decode
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
    size = path.stat().st_size
    share, rest = divmod(size, max(1, len(values)))
    for place, value in enumerate(values, start=1):
        length = share + (rest if place == len(values) else 0)
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


def json_files(source: Path) -> Iterator[Path]:
    """For `Format.parts`: the source itself, or the JSON files of a folder but those that only name labels.

    Published corpora have such tables beside their data: one object without any list, such as {"P17": "country"}, or an
    array of objects that number labels.
    """
    for path in files_below((".json", ".jsonl"))(source):
        if path == source or not _is_table(Sample(path)):
            yield path


def _is_table(sample: Sample) -> bool:
    if not (sample.is_one_value and sample.first):
        return False
    if sample.json == "array":  # of NYT and WebNLG: names by number, then numbers by name
        return all(key.isdecimal() for key in sample.first) or all(is_int(value) for value in sample.first.values())
    return not any(isinstance(value, list) for value in sample.first.values())


def is_strings(value: object) -> TypeGuard[list[str]]:
    """Whether a value of JSON is a list of strings, such as the tokens of a sentence."""
    return type(value) is list and all(type(item) is str for item in value)
