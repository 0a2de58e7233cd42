"""SMiLER's TSV files -> Example: every row is kept, repaired or rejected, and every row is counted.

Rows are split at line feeds and columns at tabs, without CSV quoting: quote characters, `NA`, lone carriage returns and
Unicode line separators are ordinary text. Spans are character offsets, because marks are often inside words.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mere_ds.corpus.example import Example, Span, Triple
from mere_ds.corpus.graphemes import BLANK, trim
from mere_ds.corpus.languages import LANGUAGE, language_code, parse_languages, sort_languages
from mere_ds.corpus.rows import (
    MOST_ROW_BYTES,
    CorpusFile,
    FileCounts,
    Reject,
    Rejected,
    check_folder,
    check_regular,
    open_file,
    raw_of,
    rows_of,
)
from mere_ds.errors import UserError
from mere_ds.streams import BOM

COLUMNS = ("id", "entity_1", "entity_2", "label", "text", "lang")
SPLITS = ("train", "test")
CUT_MARKS = ("repair", "reject")
ENGLISH_SIZES = {"small": "en-small", "mid": "en", "full": "en-full"}
"""English comes in three sizes; the values are the prefixes of their file names."""

REPAIRS = {
    "cut_mark": "the sentence ends inside the entity; completed from the entity column, with a full stop",
    "unclosed_mark": "a closing mark is missing; inserted where the entity column's text ends",
}
"""Why a row was repaired; with cut_marks="reject" such rows are rejected under the same names."""

REJECTIONS = {
    "too_few_columns": "the row has fewer than six columns",
    "missing_mark": "a mark is missing and cannot be restored from the entity column",
    "repeated_mark": "a mark occurs more than once in the text",
    "overlapping_pairs": "the two marked entities overlap",
    "misplaced_mark": "a closing mark comes before its opening mark",
    "empty_pair": "there is nothing between an opening mark and its closing mark",
}
"""Why a row was rejected, beside the reasons of `mere_ds.corpus.rows`."""

NOTES = {
    "swapped_order": "entity 2 comes before entity 1",
    "entity_differs": "an entity column differs from the marked text; the marks are used",
    "tabs_in_text": "the text has tabs, so the row has more than six columns",
}
"""Noteworthy properties of kept rows that need no repair."""

_FILE_NAME = re.compile(rf"({LANGUAGE})_corpora_({'|'.join(SPLITS)})\.tsv")
_MARK = re.compile("(</?e[12]>)")
_ALL_MARKS = {"<e1>", "</e1>", "<e2>", "</e2>"}
_HEAD_FIRST = ["<e1>", "</e1>", "<e2>", "</e2>"]
_TAIL_FIRST = ["<e2>", "</e2>", "<e1>", "</e1>"]


class TsvFile(CorpusFile):
    """A file of SMiLER's format."""

    __slots__ = ()

    @classmethod
    def of(cls, path: str | Path) -> "TsvFile":
        """Raises UserError if the name is not `{language}_corpora_{train,test}.tsv`."""
        path = Path(path)
        name = _FILE_NAME.fullmatch(path.name)
        if not name:
            raise UserError(
                f"{path}: not a corpus file name: rename it to LANGUAGE_corpora_train.tsv or LANGUAGE_corpora_test.tsv "
                "(LANGUAGE such as de, pt-BR, en-small, en-full), or move it away"
            )
        is_size = name[1].lower() in ENGLISH_SIZES.values()
        return cls(path, name[2], "en" if is_size else language_code(name[1]) or "")


def read_file(
    path: str | Path,
    cut_marks: str = "repair",
    on_reject: Callable[[Reject], None] | None = None,
    counts: FileCounts | None = None,
) -> Iterator[Example]:
    """Streams a file's sentences, with one row in memory at a time, and updates `counts`.

    `cut_marks` says whether rows with a missing closing mark are repaired if possible, or rejected. `on_reject` is
    called for every repaired or rejected row. Raises UserError for an unreadable file or a wrong header.
    """
    if cut_marks not in CUT_MARKS:
        raise UserError(f"--cut_marks={cut_marks}: must be repair or reject")
    file = TsvFile.of(path)
    return _examples(file, cut_marks == "repair", on_reject or (lambda _: None), counts or FileCounts.of(file))


def _examples(
    file: TsvFile, repair: bool, on_reject: Callable[[Reject], None], counts: FileCounts
) -> Iterator[Example]:
    name = file.path.name
    with open_file(file.path) as stream:
        counts.bytes += _read_header(stream, file.path)
        for line, (row, length, complete) in enumerate(rows_of(stream), start=2):
            counts.rows += 1
            counts.bytes += length
            bare = row.rstrip(b"\r")
            try:
                if length > MOST_ROW_BYTES:
                    raise Rejected("too_long_line")
                columns = _columns(bare, file.language, complete)
                text, head, tail, fix = _locate(columns, repair)
            except Rejected as rejected:
                counts.rejected[str(rejected)] += 1
                on_reject(Reject(name, line, str(rejected), False, raw_of(bare, length)))
                continue
            if fix:
                counts.repaired[fix] += 1
                on_reject(Reject(name, line, fix, True, bare.decode("utf-8")))
            counts.kept += 1
            counts.labels[columns.label] += 1
            _take_notes(counts.notes, columns, text, head, tail)
            yield Example(columns.id, file.language, text, (Triple(head, columns.label, tail),), name, line)


def _read_header(stream: BinaryIO, path: Path) -> int:
    """Reads the first line and returns its length in bytes."""
    header = stream.readline(4096)
    if header.removeprefix(BOM).rstrip(b"\r\n") != "\t".join(COLUMNS).encode():
        raise UserError(f"{path}: the first line must be the six column names {' '.join(COLUMNS)}, separated by tabs")
    return len(header)


class _Columns(NamedTuple):
    id: str
    entity_1: str
    entity_2: str
    label: str
    text: str


def _columns(row: bytes, language: str, complete: bool) -> _Columns:
    """The row's columns; tabs beyond the fifth belong to the text. `complete`: a line end follows the row."""
    if not row:
        raise Rejected("empty_row")
    cells = row.split(b"\t")
    if len(cells) < len(COLUMNS):
        raise Rejected("too_few_columns" if complete else "cut_row")
    if cells[-1] != language.encode() and language_code(cells[-1].decode("ascii", "replace").strip()) != language:
        raise Rejected("wrong_language" if complete else "cut_row")
    cells[4:] = [b"\t".join(cells[4:-1])]
    try:
        own_id, entity_1, entity_2, label, text = [cell.decode("utf-8") for cell in cells]
    except UnicodeDecodeError:
        raise Rejected("invalid_utf8") from None
    if not text.strip(BLANK):
        raise Rejected("empty_text")
    label = label.strip()
    if not label:
        raise Rejected("empty_label")
    return _Columns(own_id, entity_1, entity_2, label, text)


def _locate(columns: _Columns, repair: bool) -> tuple[str, Span, Span, str | None]:
    """The text without its marks, the head's and tail's spans, and the reason if the marks had to be repaired."""
    pieces = _MARK.split(columns.text)  # text, mark, text, mark, ... text
    fix = None
    marks = pieces[1::2]
    if marks != _HEAD_FIRST and marks != _TAIL_FIRST:
        pieces, fix = _restore_close_mark(pieces, columns)
        if not repair:
            raise Rejected(fix)
    before, first, between, second, after = pieces[0::2]
    text = before + first + between + second + after
    first_span = _entity(text, len(before), len(first))
    second_span = _entity(text, len(before) + len(first) + len(between), len(second))
    head, tail = (first_span, second_span) if pieces[1] == "<e1>" else (second_span, first_span)
    return text, head, tail, fix


def _entity(text: str, start: int, length: int) -> Span:
    """The span between two marks, without blanks at its ends."""
    start, end = trim(text, (start, start + length))
    if start == end or text[start] in BLANK:
        raise Rejected("empty_pair")
    return start, end


def _restore_close_mark(pieces: list[str], columns: _Columns) -> tuple[list[str], str]:
    """Inserts the one missing closing mark; returns the pieces and the repair's name, or rejects the row.

    A sentence that was cut off at a dot inside the entity (`... by <e2>D.`) is completed from the entity column, like
    public code for SMiLER does.
    """
    marks = pieces[1::2]
    missing = _ALL_MARKS.difference(marks)
    if len(marks) > len(set(marks)):
        raise Rejected("repeated_mark")
    if not missing:
        closed_first = any(marks.index(f"</e{slot}>") < marks.index(f"<e{slot}>") for slot in "12")
        raise Rejected("misplaced_mark" if closed_first else "overlapping_pairs")
    close = missing.pop()
    if missing or not close.startswith("</"):
        raise Rejected("missing_mark")
    place = marks.index(close.replace("/", "")) + 1
    if [*marks[:place], close, *marks[place:]] not in (_HEAD_FIRST, _TAIL_FIRST):
        raise Rejected("missing_mark")
    entity = (columns.entity_1 if close == "</e1>" else columns.entity_2).strip(BLANK)
    inner = pieces[2 * place]
    if not entity:
        raise Rejected("missing_mark")
    if inner.lstrip(BLANK).startswith(entity):
        end = inner.index(entity) + len(entity)
        closed, fix = [inner[:end], close, inner[end:]], "unclosed_mark"
    elif place == len(marks) and _squeeze(entity).startswith(_squeeze(inner)) and not _MARK.search(entity):
        closed, fix = [entity, close, "."], "cut_mark"
    else:
        raise Rejected("missing_mark")
    return [*pieces[: 2 * place], *closed, *pieces[2 * place + 1 :]], fix


def _squeeze(text: str) -> str:
    """Normalises white space and case, to compare a cut entity with its column."""
    return "".join(text.split()).casefold()


def _take_notes(notes: Counter, columns: _Columns, text: str, head: Span, tail: Span) -> None:
    if tail < head:
        notes["swapped_order"] += 1
    marked = text[slice(*head)], text[slice(*tail)]
    if marked != (columns.entity_1.strip(BLANK), columns.entity_2.strip(BLANK)):
        notes["entity_differs"] += 1
    if "\t" in columns.text:
        notes["tabs_in_text"] += 1


def split_files(tsv_dir: str | Path, languages: str | Sequence[str] = "all", english: str = "auto") -> list[TsvFile]:
    """The corpus files of a folder, in the order of `sort_languages`, train before test.

    `languages` as in `parse_languages`; `"all"` selects the languages in the folder. `english` is a key of
    `ENGLISH_SIZES`, or `"auto"`: small if it exists, else the only size. One of a language's two splits may be missing.
    Raises UserError for a folder without corpus files, a misnamed file, or a choice that the folder doesn't have.
    """
    folder = Path(tsv_dir)
    check_folder(folder)
    paths = tsv_paths(folder)
    if not paths:
        inner = sorted({str(path.parent) for path in folder.glob("*/*_corpora_*.tsv")})
        hint = f"; did you mean {', '.join(inner)}?" if inner else ""
        raise UserError(f"{folder}: contains no corpus files (*_corpora_*.tsv or *.train.jsonl){hint}")
    check_regular(paths)
    files = [TsvFile.of(path) for path in paths]
    wanted = parse_languages(languages)
    if wanted == "all":
        wanted = sort_languages({file.language for file in files})
    if "en" in wanted:
        files = _choose_english(files, english, folder)
    absent = [language for language in wanted if language not in {file.language for file in files}]
    if absent:
        raise UserError(f"{folder}: contains no file for {', '.join(absent)}; remove them from --languages")
    chosen = [file for file in files if file.language in wanted]
    return sorted(chosen, key=lambda file: (wanted.index(file.language), SPLITS.index(file.split)))


def tsv_paths(folder: Path) -> list[Path]:
    """The folder's files that are named like SMiLER's."""
    return [path for path in folder.glob("*_corpora_*.tsv") if not path.name.startswith(".")]


def _choose_english(files: list[TsvFile], english: str, folder: Path) -> list[TsvFile]:
    """The files without those of other English sizes than the chosen one."""
    if english not in ("auto", *ENGLISH_SIZES):
        raise UserError(f"--english={english}: must be one of auto, {', '.join(ENGLISH_SIZES)}")
    begin = {size: f"{name}_corpora_" for size, name in ENGLISH_SIZES.items()}
    there = [size for size in begin if any(file.path.name.lower().startswith(begin[size]) for file in files)]
    if not there:
        return files
    if english == "auto" and ("small" in there or len(there) == 1):
        english = there[0]
    if english not in there:
        reason = "several sizes of English" if english == "auto" else f"no {begin[english]}*.tsv"
        raise UserError(f"{folder}: contains {reason}; pass {' or '.join(f'--english={size}' for size in there)}")
    return [file for file in files if file.language != "en" or file.path.name.lower().startswith(begin[english])]
