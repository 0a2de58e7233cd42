"""SciERC's documents (also DyGIE's and PURE's): JSON lines of sentences of tokens, with spans of the whole document.

Indices count the tokens of the document and ends are inclusive, though `ner` and `relations` are listed by sentence.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeGuard

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.json_rows import Row, json_files, json_rows, shown, unreadable
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import join_tokens, span_of_tokens
from mere_ds.corpus.formats.values import is_strings, spans_and_label
from mere_ds.corpus.rows import Rejected


def _recognise(sample: Sample) -> str | None:
    sentences = sample.first.get("sentences")
    nested = isinstance(sentences, list) and all(isinstance(sentence, list) for sentence in sentences)
    return "doc_key and lists of sentences" if nested and sample.has("doc_key", "ner", "relations") else None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row)


def _stated(row: Row) -> Stated | Unreadable:
    key, sentences, listed = (row.value.get(name) for name in ("doc_key", "sentences", "relations"))
    relations = [relation for its in listed for relation in its] if _is_nested(listed) else []
    if not (type(key) is str and _is_nested(sentences) and all(is_strings(tokens) for tokens in sentences)):
        return unreadable(row, "wrong_keys", relations)
    if not (_is_nested(listed) and len(listed) == len(sentences)):
        return unreadable(row, "wrong_keys", relations)
    text, spans = join_tokens([token for tokens in sentences for token in tokens])
    ends = list(accumulate(len(tokens) for tokens in sentences))
    links: list[Link | Lost] = []
    for its, begin, end in zip(listed, [0, *ends], ends, strict=False):
        links += (_link(relation, spans, range(begin, end)) for relation in its)
    bounds = tuple(spans[end - 1][1] for end in ends if end)
    return Stated(row.place, key, text, tuple(links), row.size, row.raw, bounds=bounds)


def _is_nested(value: object) -> TypeGuard[list[list[Any]]]:
    return type(value) is list and all(type(item) is list for item in value)


def _link(relation: object, spans: Sequence[Span], sentence: range) -> Link | Lost:
    """`relation` is [start, end, start, end, label], in predictions with scores behind."""
    raw = shown(relation)
    try:
        a, b, c, d, label = spans_and_label(relation)
    except Rejected as rejected:
        return Lost(str(rejected), raw)
    head, tail = span_of_tokens(spans, a, b + 1), span_of_tokens(spans, c, d + 1)
    if head is None or tail is None:
        return Lost("span_out_of_text", raw)
    if not all(place in sentence for place in (a, b, c, d)):
        return Lost("in_other_sentence", raw)
    return Link(Mention((head,)), label, Mention((tail,)), raw)


FORMATS = (
    Format(
        name="scierc",
        about="SciERC and others for DyGIE and PURE: JSON lines of documents",
        parts=json_files,
        recognise=_recognise,
        read=_read,
        losses={
            "in_other_sentence": "head or tail is not in the sentence that lists the relation; "
            "indices must count the tokens of the document, not of the sentence"
        },
        documents=True,
    ),
)
