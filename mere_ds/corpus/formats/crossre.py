"""CrossRE and Multi-CrossRE: JSON lines of tokens; ends of entities are inclusive, those of `token2charspan` exclusive.

Multi-CrossRE's tokens can't be joined by blanks (nearly all of its sentences would differ): its texts are the ones of
`sentence-detokenized`, with the places of the tokens in them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.json_rows import Row, json_files, json_rows, shown, unreadable
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import join_tokens, span_of_tokens
from mere_ds.corpus.formats.values import is_int, is_strings, spans_and_label
from mere_ds.corpus.rows import Rejected


class _Sentence(NamedTuple):
    text: str
    tokens: Sequence[str]
    spans: Sequence[Span]
    """Of the tokens; from the file they may lie anywhere."""


def _recognise(sample: Sample) -> str | None:
    if not sample.has("doc_key", "sentence", "ner", "relations"):
        return None
    return "sentence-detokenized" if sample.has("sentence-detokenized", "token2charspan") else "doc_key and sentence"


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row)


def _stated(row: Row) -> Stated | Unreadable:
    key, relations, sentence = row.value.get("doc_key"), row.value.get("relations"), _sentence(row.value)
    if type(key) is not str or type(relations) is not list or sentence is None:
        return unreadable(row, "wrong_keys", relations)
    links = tuple(_link(relation, sentence) for relation in relations)
    return Stated(row.place, f"{key}-{row.place}", sentence.text, links, row.size, row.raw)


def _sentence(value: dict[str, Any]) -> _Sentence | None:
    tokens, text, places = (value.get(name) for name in ("sentence", "sentence-detokenized", "token2charspan"))
    if not is_strings(tokens):
        return None
    if text is None and places is None:
        text, spans = join_tokens(tokens)
        return _Sentence(text, tokens, spans)
    if type(text) is not str or type(places) is not list or len(places) != len(tokens):
        return None
    if not all(type(place) is list and len(place) == 2 and all(is_int(end) for end in place) for place in places):
        return None
    return _Sentence(text, tokens, [(start, end) for start, end in places])


def _link(relation: object, sentence: _Sentence) -> Link | Lost:
    """`relation` is [start, end, start, end, label, explanation, uncertain, syntax]."""
    raw = shown(relation)
    try:
        a, b, c, d, label = spans_and_label(relation)
    except Rejected as rejected:
        return Lost(str(rejected), raw)
    head, tail = _mention(a, b, sentence), _mention(c, d, sentence)
    if head is None or tail is None:
        return Lost("span_out_of_text", raw)
    return Link(head, label, tail, raw)


def _mention(first: int, last: int, sentence: _Sentence) -> Mention | None:
    """A surface is stated only where the text differs from the tokens in more than blanks."""
    span = span_of_tokens(sentence.spans, first, last + 1)
    if span is None:
        return None
    tokens = "".join(sentence.tokens[first : last + 1])
    same = "".join(sentence.text[max(0, span[0]) : max(0, span[1])].split()) == "".join(tokens.split())
    return Mention((span,), None if same else tokens)


FORMATS = (
    Format(
        name="crossre",
        about="CrossRE and Multi-CrossRE: JSON of tokens",
        parts=json_files,
        recognise=_recognise,
        read=_read,
    ),
)
