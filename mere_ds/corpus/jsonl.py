"""JSON lines -> Example: a sentence a line, with any number of triples; every row is kept, repaired or rejected.

A row is `{"id", "lang", "text", "triples": [{"head": [start, end], "relation", "tail": [start, end]}]}`; offsets count
code points, ends are exclusive. "lang" may be left out where the file's name says it, other keys are ignored.
"""

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from mere_ds.corpus.example import Example, Span, Triple
from mere_ds.corpus.graphemes import BLANK, trim
from mere_ds.corpus.languages import LANGUAGE, language_code
from mere_ds.corpus.rows import (
    MOST_ROW_BYTES,
    SPLITS,
    CorpusFile,
    Reject,
    Rejected,
    Tally,
    open_file,
    raw_of,
    rows_of,
)
from mere_ds.errors import UserError
from mere_ds.files import parse_json
from mere_ds.streams import BOM

MOST_TRIPLES = 1024
"""Triples of a row."""

REPAIRS = {"double_triple": "the row has a triple twice; it was kept once"}
"""Why a row was repaired."""

REJECTIONS = {
    "invalid_json": "the row is not one JSON object with each key once, or is nested too deep",
    "invalid_text": "a text has half of a surrogate pair, which is not a character",
    "wrong_keys": "a field is missing or has another type than the format says",
    "unknown_language": "the row's language is missing or is not a language code",
    "too_many_triples": f"the sentence has more than {MOST_TRIPLES:,} triples",
    "not_one_triple": "the sentence has no triple or several, and --triples=one asks for one",
    "span_out_of_text": "a head or tail is not inside of the text",
    "empty_span": "a head or tail has no character, or blanks alone",
}
"""Why a row was rejected, beside the reasons of `mere_ds.corpus.rows`."""

_FILE_NAME = re.compile(rf"(?:({LANGUAGE})\.)?({'|'.join(SPLITS)})\.jsonl")


class JsonLinesFile(CorpusFile):
    """A file of JSON lines."""

    __slots__ = ()

    @classmethod
    def of(cls, path: Path) -> "JsonLinesFile":
        """Raises UserError when the name is not `{language}.{train,dev,test}.jsonl` or `{train,dev,test}.jsonl`."""
        name = _FILE_NAME.fullmatch(path.name)
        if not name:
            raise UserError(
                f"{path}: rename it to LANGUAGE.train.jsonl, LANGUAGE.dev.jsonl or LANGUAGE.test.jsonl (such as "
                "de.train.jsonl), or move it away"
            )
        return cls(path, name[2], (name[1] and language_code(name[1])) or "")


def json_lines_paths(folder: Path) -> list[Path]:
    """The folder's files that are named like a corpus' JSON lines; others, such as `rejects.jsonl`, are not of it."""
    paths = sorted(path for path in folder.glob("*.jsonl") if not path.name.startswith("."))
    return [path for path in paths if path.stem.rpartition(".")[2] in SPLITS]


def read_json_lines(
    file: JsonLinesFile,
    one_triple: bool,
    languages: Collection[str] | None,
    on_reject: Callable[[Reject], None],
    tally: Tally,
) -> Iterator[Example]:
    """Streams a file's sentences, a row in memory at a time, and keeps `tally` up to date while it does.

    `one_triple` rejects rows without one triple; rows in other languages than `languages` are passed over, unless
    these are None. `on_reject` gets every row that is not kept as it stands. Raises UserError for an unreadable file.
    """
    name = file.path.name
    with open_file(file.path) as stream:
        for line, (row, length, complete) in enumerate(rows_of(stream), start=1):
            bare = row.removeprefix(BOM) if line == 1 else row
            language, example, reason = file.language, None, ""
            try:
                parsed = _parsed(bare, length, complete)
                language = _language(parsed, file)
                example, reason = _example(parsed, name, language, line, one_triple)
            except Rejected as rejected:
                reason = str(rejected)
            if language and languages is not None and language not in languages:
                tally.skipped_bytes += length
                continue
            counts = tally.of(language)
            counts.rows += 1
            counts.bytes += length
            if reason:
                (counts.repaired if example else counts.rejected)[reason] += 1
                on_reject(Reject(name, line, reason, example is not None, raw_of(bare, length)))
            if example:
                counts.kept += 1
                for _, relation, _ in example.triples:
                    counts.labels[relation] += 1
                yield example


def _parsed(row: bytes, length: int, complete: bool) -> dict:
    """The row's object. `complete`: a line end follows the row."""
    if length > MOST_ROW_BYTES:
        raise Rejected("too_long_line")
    if not row.strip():
        raise Rejected("empty_row")
    try:
        return parse_json(row, "", "", distinct=True)
    except UserError:
        raise Rejected(_fault(row) if complete else "cut_row") from None


def _fault(row: bytes) -> str:
    """Why a row is not JSON."""
    try:
        row.decode("utf-8")
    except UnicodeDecodeError:
        return "invalid_utf8"
    return "invalid_json"


def _language(row: dict, file: CorpusFile) -> str:
    if file.language and "lang" not in row:
        return file.language
    given = row.get("lang")
    code = language_code(given.strip()) if type(given) is str else None
    if file.language and code != file.language:
        raise Rejected("wrong_language")
    if not code:
        raise Rejected("unknown_language")
    return code


def _example(row: dict, file: str, language: str, line: int, one_triple: bool) -> tuple[Example, str]:
    """The sentence, and why it is not quite what the row has; "" where it is."""
    own_id, text, given = row.get("id"), row.get("text"), row.get("triples")
    if type(own_id) is not str or type(text) is not str or type(given) is not list:
        raise Rejected("wrong_keys")
    if not text.strip(BLANK):
        raise Rejected("empty_text")
    if len(given) > MOST_TRIPLES:
        raise Rejected("too_many_triples")
    triples = tuple(dict.fromkeys(_triple(triple, text) for triple in given))
    if one_triple and len(triples) != 1:
        raise Rejected("not_one_triple")
    try:
        "".join([own_id, text, *(relation for _, relation, _ in triples)]).encode()
    except UnicodeEncodeError:
        raise Rejected("invalid_text") from None
    example = Example(own_id, language, text, triples, file, line)
    return example, "double_triple" if len(triples) < len(given) else ""


def _triple(given: object, text: str) -> Triple:
    if type(given) is not dict or type(given.get("relation")) is not str:
        raise Rejected("wrong_keys")
    head, relation, tail = _span(given.get("head"), text), given["relation"].strip(), _span(given.get("tail"), text)
    if not relation:
        raise Rejected("empty_label")
    return Triple(head, relation, tail)


def _span(given: object, text: str) -> Span:
    """A span without the blanks at its ends."""
    if type(given) is not list or len(given) != 2:
        raise Rejected("wrong_keys")
    start, end = given
    if type(start) is not int or type(end) is not int:
        raise Rejected("wrong_keys")
    if not 0 <= start <= end <= len(text):
        raise Rejected("span_out_of_text")
    start, end = trim(text, (start, end))
    if start == end or text[start] in BLANK:
        raise Rejected("empty_span")
    return start, end
