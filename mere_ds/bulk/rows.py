"""Rows of an input of any format -> `Row`: what is to be read of each, and what is wrong with those that can't be.

No row is ever left out, and none ends the command: one that can't be read gets a `problem`, which its answer shows as
its note. Problems and notes have the form `kind: what exactly`; they are counted by kind.
"""

import json
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any, Literal, NamedTuple

from mere_ds.corpus.formats.csv_rows import LOSSES
from mere_ds.corpus.formats.stated import Unreadable
from mere_ds.corpus.rows import raw_of
from mere_ds.errors import UserError
from mere_ds.files import distinct_keys
from mere_ds.streams import BOM, MOST_LINE_BYTES, Line

InputFormat = Literal["lines", "jsonl", "csv", "parquet"]

RAW = "raw"
"""The field of an answer that holds a row of which no fields could be read."""

_EMPTY = "empty line"
_OF_CSV = {"empty_row": _EMPTY, "invalid_utf8": "not UTF-8", "too_long_line": "too long"} | dict.fromkeys(
    LOSSES, "not CSV"
)


class Row(NamedTuple):
    """A row of the input."""

    number: int
    """Its line, or its number in a Parquet file, counted from 1."""
    text: str | None
    """None: there is none to read."""
    language: str | None
    """As the row says; None if it doesn't."""
    fields: dict[str, Any]
    """All that the row holds, its text too; its answer repeats it."""
    problem: str | None = None
    """Why it isn't read."""
    note: str | None = None
    """What there is to say of a row that is read."""


@dataclass(frozen=True)
class Parser:
    """What rows of one format hold: the same in every process, whatever its share of the input."""

    format: InputFormat
    text_field: str = "text"
    lang_field: str | None = None

    def rows(self, content: Sequence[Any], first: int) -> list[Row]:
        """The rows of a unit's content, the first of which has the number `first`."""
        if self.format == "lines":
            if first == 1 and content == [(BOM, len(BOM), False)]:
                return []  # only a byte order mark: an empty file
            return [_of_line(line, number) for number, line in enumerate(content, start=first)]
        if self.format == "jsonl":
            return [self._of_json(line, number) for number, line in enumerate(content, start=first)]
        if self.format == "csv":
            return [self._of_csv(row) for row in content]
        return [self._of_fields(plain(fields), number, "row") for number, fields in enumerate(content, start=first)]

    def _of_json(self, line: Line, number: int) -> Row:
        content, length, ended = line
        if length - ended > MOST_LINE_BYTES:
            what = f"too long: line {number} has {length} bytes, more than {MOST_LINE_BYTES}"
            return Row(number, None, None, {RAW: raw_of(content, length)}, what)
        text, problem = _decoded(content, number)
        if not problem and not text.strip():
            problem = f"{_EMPTY}: line {number}"
        if not problem:
            try:
                value = _JSON.decode(text)
                if isinstance(value, dict):
                    return self._of_fields(value, number, "line")
                problem = f"not JSON: line {number} is not an object"
            except RecursionError:
                problem = f"not JSON: line {number} is nested too deeply"
            except ValueError as error:
                reason = (
                    f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
                )
                problem = f"not JSON: line {number}: {reason}"
        return Row(number, None, None, {RAW: text}, problem)

    def _of_csv(self, row: Any) -> Row:
        if isinstance(row, Unreadable):
            kind = _OF_CSV[row.reason]
            what = f": {row.reason.replace('_', ' ')}" if kind == "not CSV" else ""
            return Row(row.place, None, None, {RAW: row.raw}, f"{kind}: line {row.place}{what}")
        return self._of_fields(row.value, row.place, "line")

    def _of_fields(self, fields: dict[str, Any], number: int, called: str) -> Row:
        where = f"{called} {number}"
        text, language = fields.get(self.text_field), fields.get(self.lang_field) if self.lang_field else None
        if text is None:
            return Row(number, None, None, fields, f"no text: {where} has no {self.text_field!r}")
        for name, value in ((self.text_field, text), (self.lang_field, language)):
            if value is not None and not isinstance(value, str):
                what = f"wrong type: {name!r} of {where} is {_type_name(value)}, not a string"
                return Row(number, None, None, fields, what)
        if not _is_unicode(text):
            return Row(number, None, None, fields, f"not Unicode: {where} has half of a surrogate pair")
        return Row(number, text, language or None, fields)


def _of_line(line: Line, number: int) -> Row:
    content, length, ended = line
    cut = length - ended > len(content)
    text, problem = _decoded(content, number, cut)
    note = f"too long: the text here is the first {len(content)} of the line's {length} bytes" if cut else None
    return Row(number, text, None, {"text": text}, problem, note)


def _decoded(content: bytes, number: int, cut: bool = False) -> tuple[str, str | None]:
    """A line's text without its line end, and why it can't be read (else None); a byte order mark at the start of the
    first line is removed."""
    if number == 1:
        content = content.removeprefix(BOM)
    content = content.removesuffix(b"\r")
    try:
        return content.decode("utf-8"), None
    except UnicodeDecodeError as error:
        if cut and error.reason == "unexpected end of data":
            return content[: error.start].decode("utf-8"), None
        escaped = content.decode("utf-8", "backslashreplace")
        return escaped, f"not UTF-8: byte {error.start + 1} of line {number} is 0x{content[error.start]:02x}"


def _type_name(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(value: Any) -> Any:
    """A value of Parquet in JSON's types: times and dates as in ISO 8601, bytes in base64, NaN and infinity as null,
    others (decimals, durations, UUIDs) as text."""
    if isinstance(value, dict):
        return {name: plain(its) for name, its in value.items()}
    if isinstance(value, list | tuple):
        return [plain(its) for its in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    """Raises ValueError for a number that no answer could repeat."""
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


_JSON = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=distinct_keys)


def check_fields(columns: Sequence[str], name: str, **fields: str | None) -> None:
    """Raises UserError if a table called `name` lacks one of these columns, given by their flags."""
    for flag, column in fields.items():
        if column is not None and column not in columns:
            raise UserError(f"--{flag}={column}: {name} has no such column: pass one of {', '.join(columns)}")
