"""CrossRE and Multi-CrossRE: JSON lines of tokens; ends of entities are inclusive, those of `token2charspan` exclusive.

Multi-CrossRE's tokens can't be joined by blanks (nearly all of its sentences would differ): its texts are the ones of
`sentence-detokenized`, with the places of the tokens in them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.json_rows import Row, json_rows, shown
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable, files_below
from mere_ds.corpus.formats.units import join_tokens, span_of_tokens


def _recognise(sample: Sample) -> str | None:
    if not sample.has("doc_key", "sentence", "ner", "relations"):
        return None
    return "sentence-detokenized" if sample.has("sentence-detokenized", "token2charspan") else "doc_key and sentence"


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row)


def _stated(row: Row) -> Stated | Unreadable:
    value = row.value
    try:
        text, spans = _text(value)
        links = tuple(_link(relation, spans) for relation in value["relations"])
        return Stated(row.place, f"{value['doc_key']}-{row.place}", text, links, row.size, row.raw)
    except (KeyError, TypeError, ValueError):
        return Unreadable(row.place, "wrong_keys", row.raw, row.size)


def _text(value: dict[str, Any]) -> tuple[str, list[Span]]:
    if "sentence-detokenized" not in value:
        return join_tokens(value["sentence"])
    spans = [(int(start), int(end)) for start, end in value["token2charspan"]]
    return str(value["sentence-detokenized"]), spans


def _link(relation: list[Any], spans: list[Span]) -> Link | Lost:
    a, b, c, d, label, *_ = relation
    head, tail = span_of_tokens(spans, a, b + 1), span_of_tokens(spans, c, d + 1)
    if head is None or tail is None:
        return Lost("span_out_of_text", shown(relation))
    return Link(Mention((head,)), str(label), Mention((tail,)), shown(relation))


FORMATS = (
    Format(
        name="crossre",
        about="CrossRE and Multi-CrossRE, JSON lines of tokens with inclusive ends",
        parts=files_below((".json", ".jsonl")),
        recognise=_recognise,
        read=_read,
    ),
)
