"""Answers -> the bytes of an output that grows by units: JSON lines, CSV of triples, N-Triples; also compressed.

A table of Parquet and the files of a graph can't grow by units: they are made at the end, from `KeptAnswers`.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mere_ds.bulk.answering import Answered
from mere_ds.bulk.n_triples import statements
from mere_ds.corpus.formats.table_files import pyarrow_or_error
from mere_ds.errors import UserError
from mere_ds.files import json_line

OutputFormat = Literal["jsonl", "csv", "nt", "parquet", "neo4j"]
Compression = Literal["", ".gz", ".zst"]

OF_INPUT = "input_"
"""Prefix of an input's field whose name the answer itself has."""
MADE_AT_THE_END = ("parquet", "neo4j")
TRIPLE_COLUMNS = (
    *("line", "id", "lang", "head", "head_start", "head_end", "relation", "tail", "tail_start", "tail_end"),
    *("score", "note"),
)

_SUFFIXES: dict[str, OutputFormat] = {
    **{".jsonl": "jsonl", ".ndjson": "jsonl"},
    **{".csv": "csv", ".nt": "nt", ".parquet": "parquet"},
}
_COMPRESSIONS: dict[str, Compression] = {".gz": ".gz", ".zst": ".zst"}
_ZST = ".zst files need"


def form_of(out: str, to: OutputFormat | None) -> tuple[OutputFormat, Compression]:
    """What an output's name says of its format and compression; `to` overrides the format. Raises UserError."""
    path = Path(out)
    compression = _COMPRESSIONS.get(path.suffix.lower(), "")
    suffix = Path(path.stem).suffix if compression else path.suffix
    format = to or _SUFFIXES.get(suffix.lower())
    if format is None:
        names = ", ".join([*_SUFFIXES, *(f".jsonl{its}" for its in _COMPRESSIONS)])
        raise UserError(f"--out={out}: says no format: end it in one of {names}, or pass --to")
    if compression and format in MADE_AT_THE_END:
        raise UserError(f"--out={out}: {format} is not compressed like that: leave {compression} out")
    if format == "parquet":
        pyarrow_or_error("parquet")  # now, not when all is computed
    elif compression == ".zst":
        pyarrow_or_error(purpose=_ZST)
    return format, compression


@dataclass(frozen=True)
class Writer:
    """Makes the bytes of an output."""

    format: OutputFormat
    compression: Compression = ""
    beside: dict[str, Any] = field(default_factory=dict)
    """What each answer says besides."""
    keep_fields: bool = True
    """False: the fields of a row will be read again when an output is made at the end."""

    def header(self) -> bytes:
        """What stands before all units."""
        if self.format in MADE_AT_THE_END:
            return b""
        content = _csv([[*TRIPLE_COLUMNS, *self.beside]]) if self.format == "csv" else b""
        return self._compressed(content)  # of nothing too: a .gz without any byte would be damaged

    def unit(self, answers: Sequence[Answered]) -> bytes:
        """A unit's part of the output, compressed by itself."""
        if self.format == "jsonl":
            return self._compressed(b"".join(_json_line(merged(answer, self.beside)) for answer in answers))
        if self.format == "csv":
            return self._compressed(_csv(row for answer in answers for row in self._triple_rows(answer)))
        if self.format == "nt":
            return self._compressed(b"".join(statements(answer, self.beside) for answer in answers))
        return b"".join(_kept(answer if self.keep_fields else answer._replace(fields={})) for answer in answers)

    def _compressed(self, content: bytes) -> bytes:
        if self.compression == ".gz":
            return gzip.compress(content, mtime=0)
        if self.compression == ".zst":
            return pyarrow_or_error(purpose=_ZST).compress(content, "zstd", asbytes=True)
        return content

    def _triple_rows(self, answer: Answered) -> Iterator[list[Any]]:
        begin = [answer.number, id_of(answer), answer.language]
        for triple in answer.triples:
            head, tail = triple["head"].values(), triple["tail"].values()
            yield [*begin, *head, triple["relation"], *tail, triple["score"], answer.note, *self.beside.values()]
        if not answer.triples and answer.note is not None:
            yield [*begin, *[None] * 8, answer.note, *self.beside.values()]


def id_of(answer: Answered) -> str | None:
    """What the row calls itself, if it has a field `id`."""
    value = answer.fields.get("id")
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def merged(answer: Answered, beside: dict[str, Any]) -> dict[str, Any]:
    """The fields of a row and its answer. A field that the answer has too is kept under another name."""
    own: dict[str, Any] = {"lang": answer.language, "triples": answer.triples}
    own |= {"note": answer.note} if answer.note is not None else {}
    own |= {"candidates": answer.candidates} if answer.candidates is not None else {}
    own |= beside
    taken = {*own, "note"} - ({"lang"} if answer.fields.get("lang") == answer.language else set())
    fields: dict[str, Any] = {}
    for name, value in answer.fields.items():
        fields[free_name(name, taken)] = value
    return fields | own


def free_name(name: str, taken: set[str]) -> str:
    """Under which name a field of the input is kept beside those that are `taken`, to which it is added."""
    while name in taken:
        name = OF_INPUT + name
    taken.add(name)
    return name


def _json_line(record: dict[str, Any]) -> bytes:
    try:
        return json_line(record)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only have escaped
        return json.dumps(record).encode() + b"\n"


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)  # with \r\n at the ends, as in RFC 4180; with others it doesn't quote every \r
    return file.getvalue().encode(errors="backslashreplace")


def _kept(answer: Answered) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def kept_answers(content: bytes) -> list[Answered]:
    """The answers of a unit for an output that is made at the end."""
    return [Answered(*json.loads(line)) for line in content.splitlines()]
