"""SemEval-2010 Task 8 and corpora of its shape (KBP-37, RELX, PERLEX): marks in the text, then a line with the label.

A record is `ID TAB "text with <e1>marks</e1> <e2>of entities</e2>"`, a line with the label, perhaps one that begins
with `Comment`, and empty lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mere_ds.corpus.formats import pairs
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Mention, Stated, Unreadable, files_below
from mere_ds.corpus.rows import MOST_ROW_BYTES, Rejected, open_file, raw_of, rows_of
from mere_ds.errors import UserError
from mere_ds.streams import BOM

_MARK = re.compile(r"(</?e[12]>)")
_MARKS = ("<e1>", "</e1>", "<e2>", "</e2>")
_ID = re.compile(r"[^\s<>]+\s*")
_LOSSES = {
    "no_label_line": "no line with a label follows the text, but another text or the end of the file",
    "stray_line": "the line is neither a text with an id, nor a comment, nor the first label after a text",
    "wrong_marks": "the text doesn't have each of <e1>, </e1>, <e2>, </e2> once, closing ones after opening ones",
}


def _recognise(sample: Sample) -> str | None:
    texts = [line for line in sample.lines if _kind(line) == "text"]
    marked = [line for line in texts if line.count("\t") == 1 and all(mark in line for mark in _MARKS)]
    if len(marked) * 2 <= len(texts):
        return None
    return (
        f"<e1> and <e2> in lines with an id, and {'no labels' if _lacks_labels(sample) else 'labels in the next lines'}"
    )


def _lacks_labels(sample: Sample) -> bool:
    """Whether no text at a file's beginning has a label in the next line."""
    kinds = [kind for kind in map(_kind, sample.lines) if kind != "blank"]
    return kinds[:1] == ["text"] and "label" not in kinds and (len(kinds) > 1 or len(sample.lines) > 1)


def _kind(line: str) -> Literal["text", "label", "comment", "blank"]:
    """What a line is; "label" for all that is nothing else."""
    if not line.strip():
        return "blank"
    if _MARKS[0] in line:
        return "text"
    if line.startswith("Comment"):
        return "comment"
    own_id, _, text = line.partition("\t")
    return "text" if text.strip() and _ID.fullmatch(own_id) else "label"


@dataclass
class _Record:
    """The lines of a record, and those up to the next one."""

    place: int
    size: int = 0
    text: str | None = None
    label: str | None = None
    raw: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def shown(self) -> str:
        return "\n".join(self.raw)


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    if _lacks_labels(Sample(path)):
        raise UserError(
            f"{path}: its texts have no labels, as in SemEval's TEST_FILE.txt: pass the file that has them, such as "
            "TEST_FILE_FULL.TXT"
        )
    for record in _records(path):
        try:
            yield _stated(record)
        except Rejected as rejected:
            relations = int(record.text is not None)
            yield Unreadable(record.place, str(rejected), record.shown, record.size, relations=relations)


def _records(path: Path) -> Iterator[_Record]:
    record = _Record(1)
    with open_file(path) as stream:
        for place, (row, length, _) in enumerate(rows_of(stream), start=1):
            line, reason = _line(row.removeprefix(BOM) if place == 1 else row, length)
            kind = _kind(line)
            is_label = kind == "label" and record.text is not None and record.label is None
            if kind == "text" or (kind == "label" and not is_label):
                before = record.size if not record.raw else 0
                if record.raw:
                    yield record
                record = _Record(place, before, line if kind == "text" else None)
            elif is_label:
                record.label = line
            record.size += length
            if kind != "blank" and len(record.raw) < 3:
                record.raw.append(raw_of(row.rstrip(b"\r"), length))
            if kind in ("text", "label"):
                record.reason = record.reason or reason
    if record.raw:
        yield record


def _line(row: bytes, length: int) -> tuple[str, str]:
    """A line without its end, and why it can't be read."""
    line = row.rstrip(b"\r").decode("utf-8", "replace")
    if length > MOST_ROW_BYTES:
        return line, "too_long_line"
    return line, "" if line.encode() == row.rstrip(b"\r") else "invalid_utf8"


def _stated(record: _Record) -> Stated:
    if record.reason:
        raise Rejected(record.reason)
    if record.text is None:
        raise Rejected("stray_line")
    if record.label is None:
        raise Rejected("no_label_line")
    own_id, _, marked = record.text.partition("\t")
    text, first, second = _unmarked(_unquoted(marked.strip()))
    link = pairs.directed(first, record.label.strip(), second, record.shown)
    return Stated(record.place, own_id.strip(), text, (link,), record.size, record.shown)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _unmarked(marked: str) -> tuple[str, Mention, Mention]:
    """The text without its marks, and its two entities.

    Where all marks have a blank inside, as in KBP-37 and RELX, these blanks are of the marks and not of the text.
    Elsewhere a blank inside a mark and one outside are one. Other blanks of the text stay, double ones too.
    """
    pieces = _MARK.split(marked)
    marks, texts = pieces[1::2], pieces[::2]
    order = {mark: marks.index(mark) for mark in _MARKS if marks.count(mark) == 1}
    if len(order) < 4 or len(marks) > 4 or any(order[f"<e{n}>"] > order[f"</e{n}>"] for n in "12"):
        raise Rejected("wrong_marks")
    insides = [(number + (mark[1] != "/"), mark[1] != "/") for number, mark in enumerate(marks)]
    if all((texts[at][:1] if opens else texts[at][-1:]).isspace() for at, opens in insides):
        for at, opens in insides:
            texts[at] = texts[at].lstrip() if opens else texts[at].rstrip()
    text, places = "", []
    for piece in texts:
        text += piece.lstrip() if not text or text[-1].isspace() else piece
        places.append(len(text))
    text = text.rstrip()
    places = [min(place, len(text)) for place in places]
    first, second = (Mention(((places[order[f"<e{n}>"]], places[order[f"</e{n}>"]]),)) for n in "12")
    return text, first, second


FORMATS = (
    Format(
        name="marked-text",
        about="SemEval-2010 Task 8, KBP-37, RELX, PERLEX: text with <e1> and <e2>, the label in the next line",
        parts=files_below((".txt",)),
        recognise=_recognise,
        read=_read,
        losses=_LOSSES,
        notes=pairs.NOTES,
        one_relation=True,
    ),
)
