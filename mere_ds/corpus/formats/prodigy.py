"""Prodigy's relations (`rel.manual`, exported by `db-out`): JSON lines, or one array.

A relation names the number of a token at each end, counted from 0, and usually the span that it stands for. A span has
its tokens, `token_end` included, and its characters, `end` not included; both are read and must agree.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.json_rows import Row, json_rows, shown
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable, files_below
from mere_ds.corpus.formats.values import fields, integer, items, string
from mere_ds.corpus.rows import Rejected

_LOSSES = {
    "answer_reject": "the annotator's answer to the text is reject",
    "answer_ignore": "the annotator's answer to the text is ignore",
    "places_differ": "a span's tokens and its characters are not the same place",
    "several_spans": "a relation names a token that several spans contain, and not which of them it means",
}
_NOTES = {"no_answer": "the text has no answer, so that it may be a suggestion that no annotator has seen"}


def _recognise(sample: Sample) -> str | None:
    if not sample.has("text", "tokens", "relations"):
        return None
    return "text, tokens and relations" + (" with an answer" if sample.has("answer") else "")


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row, path.stem)


def _stated(row: Row, name: str) -> Stated | Unreadable:
    try:
        answer = row.value.get("answer", "accept")
        if answer in ("reject", "ignore"):
            raise Rejected(f"answer_{answer}")
        if answer != "accept":
            raise Rejected("wrong_keys")
        task = _Task(row.value)
        links = tuple(task.link(relation) for relation in items(row.value.get("relations")))
    except Rejected as rejected:
        relations = row.value.get("relations")
        lost = len(relations) if isinstance(relations, list) else 0
        return Unreadable(row.place, str(rejected), row.raw, row.size, relations=lost)
    notes = () if "answer" in row.value else ("no_answer",)
    return Stated(row.place, f"{name}-{row.place}", task.text, links, row.size, row.raw, notes=notes)


class _Task:
    """A text with its tokens and spans. Raises Rejected."""

    def __init__(self, value: dict[str, Any]):
        self.text = string(value.get("text"))
        self._tokens = [fields(token) for token in items(value.get("tokens"))]
        self._spans = [fields(span) for span in items(value.get("spans") or [])]

    def link(self, value: Any) -> Link | Lost:
        try:
            relation = fields(value)
            head, tail = (
                self._mention(integer(relation.get(end)), relation.get(f"{end}_span")) for end in ("head", "child")
            )
            return Link(head, string(relation.get("label")), tail, shown(value))
        except Rejected as rejected:
            return Lost(str(rejected), shown(value))

    def _mention(self, token: int, given: Any) -> Mention:
        if given is not None:
            return Mention((self._place(fields(given)),))
        containing = {place: None for span in self._spans for place in [self._place(span)] if self._has(span, token)}
        if len(containing) > 1:
            raise Rejected("several_spans")
        return Mention((next(iter(containing), None) or self._of_tokens(token, token),))

    def _has(self, span: dict[str, Any], token: int) -> bool:
        if span.get("token_start") is None:
            start, end = self._of_tokens(token, token)
            return integer(span.get("start")) <= start and end <= integer(span.get("end"))
        return integer(span["token_start"]) <= token <= integer(span.get("token_end"))

    def _place(self, span: dict[str, Any]) -> Span:
        """A span's characters."""
        stated = (integer(span.get("start")), integer(span.get("end"))) if span.get("start") is not None else None
        if span.get("token_start") is None and stated:
            return stated
        found = self._of_tokens(integer(span.get("token_start")), integer(span.get("token_end")))
        if stated not in (None, found):
            raise Rejected("places_differ")
        return found

    def _of_tokens(self, first: int, last: int) -> Span:
        """The characters of tokens, the last one included, each checked against the text."""
        if not 0 <= first <= last < len(self._tokens):
            raise Rejected("span_out_of_text")
        for token in self._tokens[first : last + 1]:
            start, end = integer(token.get("start")), integer(token.get("end"))
            if not 0 <= start <= end <= len(self.text):
                raise Rejected("span_out_of_text")
            if self.text[start:end] != token.get("text", self.text[start:end]):
                raise Rejected("surface_differs")
        return integer(self._tokens[first].get("start")), integer(self._tokens[last].get("end"))


FORMATS = (
    Format(
        name="prodigy",
        about="Prodigy's relations (rel.manual): JSON lines",
        parts=files_below((".jsonl", ".json")),
        recognise=_recognise,
        read=_read,
        losses=_LOSSES,
        notes=_NOTES,
    ),
)
