"""FewRel and corpora of its shape: one JSON object of relations, each with its sentences as tokens.

An entity is `[name, id, [[token, ...], ...]]`: its mentions as lists of tokens. The file is read whole, which takes
about 11 bytes of memory for each of its bytes.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats import pairs
from mere_ds.corpus.formats.json_rows import Row, data_files, shown, whole_json
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable, shares
from mere_ds.corpus.formats.units import join_tokens, span_of_tokens
from mere_ds.corpus.formats.values import integer, items, string, strings
from mere_ds.errors import UserError

_NOTES = {
    **pairs.NOTES,
    "more_mentions": "the head or tail occurs several times in the sentence; its first mention is taken",
}


def _recognise(sample: Sample) -> str | None:
    if sample.json == "array":
        return "tokens, h and t without relations" if _is_row(sample.first) else None
    start = sample.text.find("{", sample.text.find("{") + 1)
    try:
        row = json.JSONDecoder().raw_decode(sample.text, max(0, start))[0]
    except (ValueError, RecursionError):
        return None
    is_first = sample.text[:start].rstrip().endswith("[")
    return "tokens, h and t of relations" if is_first and _is_row(row) else None


def _is_row(value: Any) -> bool:
    if not isinstance(value, dict) or "relation" in value:
        return False
    return all(isinstance(value.get(key), list) for key in ("tokens", "h", "t"))


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    relations = whole_json(path, distinct=True)
    if not isinstance(relations, dict):
        raise UserError(
            f"{path}: has no relations, because it is not an object of them; FewRel's pubmed_unsupervised.json is a "
            "list of sentences without relations: pass one of the other files"
        )
    yield from (_of(row, label) for row, label in _rows(relations, path.stat().st_size))


def _rows(relations: dict[str, Any], size: int) -> Iterator[tuple[Row | Unreadable, str]]:
    """All sentences with their labels; each has an equal share of the file's size."""
    lists = [(label, value if isinstance(value, list) else [value]) for label, value in relations.items()]
    rows = [(label, row) for label, its in lists for row in its]
    for place, ((label, value), length) in enumerate(zip(rows, shares(size, len(rows)), strict=True), start=1):
        if isinstance(value, dict):
            yield Row(place, value, shown({label: [value]}), length), label
        else:
            yield Unreadable(place, "wrong_keys", shown({label: [value]}), length, relations=1), label


def _of(row: Row | Unreadable, label: str) -> Stated | Unreadable:
    return row if isinstance(row, Unreadable) else pairs.stated_or_not(row, _stated, label)


def _stated(row: Row, label: str) -> Stated:
    text, spans = join_tokens(strings(row.value.get("tokens")))
    entities = [_entity(row.value.get(end)) for end in "ht"]
    head, tail = (_mention(name, mentions, spans) for name, mentions in entities)
    notes = ("more_mentions",) if any(len(mentions) > 1 for _, mentions in entities) else ()
    link: Link | Lost = Lost("span_out_of_text", row.raw)
    if head and tail:
        link = pairs.directed(head, label, tail, row.raw, notes)
    return Stated(row.place, f"{label}-{row.place}", text, (link,), row.size, row.raw)


def _entity(value: Any) -> tuple[str, list[list[int]]]:
    """Its name, and its mentions as numbers of tokens."""
    name, _, mentions, *_ = [*items(value), None, None, None]
    return string(name), [[integer(token) for token in items(mention)] for mention in items(mentions)]


def _mention(name: str, mentions: list[list[int]], spans: Sequence[Span]) -> Mention | None:
    """The first mention; names are in lower case. None where a token of it is none of the sentence."""
    runs: list[list[int]] = []
    for token in mentions[0] if mentions else ():
        if runs and token == runs[-1][-1] + 1:
            runs[-1].append(token)
        else:
            runs.append([token])
    pieces = [span_of_tokens(spans, run[0], run[-1] + 1) for run in runs]
    found = tuple(piece for piece in pieces if piece)
    return Mention(found, name, any_case=True) if found and len(found) == len(pieces) else None


FORMATS = (
    Format(
        name="fewrel",
        about="FewRel and corpora of its shape: a JSON object of relations, each with sentences as tokens",
        parts=data_files(".json"),
        recognise=_recognise,
        read=_read,
        notes=_NOTES,
        one_relation=True,
    ),
)
