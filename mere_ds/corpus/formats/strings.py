"""Corpora whose relations are strings: NYT and WebNLG (`triple_list`), DuIE and CMeIE (`spo_list`), others (`triples`).

JointER's copies state the places of tokens as well (`spo_details`), which are used. NYT and WebNLG exist in two
versions with the same names of files and keys: with whole names, and with the last word of each.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import regex

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats import locating
from mere_ds.corpus.formats.json_rows import Row, json_files, json_rows, shown, unreadable
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import join_tokens, span_of_tokens
from mere_ds.corpus.formats.values import is_int, is_strings
from mere_ds.corpus.rows import Rejected

_ENOUGH = 50
"""Strings of one word that must differ before a file without longer ones is called the version of last words."""


class _Said(NamedTuple):
    """A relation as its file has it."""

    head: str
    relation: str
    tail: str
    raw: str
    note: str = ""


def _recognise_triples(sample: Sample) -> str | None:
    if sample.has("text", "triple_list"):
        return "text and triple_list"
    return "tokens, spo_list and spo_details" if sample.has("tokens", "spo_list", "spo_details") else None


def _recognise_spo(sample: Sample) -> str | None:
    if sample.has("text", "spo_list") and not sample.has("spo_details"):
        return "text and spo_list"
    match sample.first:
        case {"text": str(), "triples": [{"subject": str(), "relation": str(), "object": str()}, *_]}:
            return "text and triples of strings"
    return None


def _read_spo(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row, path, options)


def _read_triples(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    """As `_read_spo`; the last text gets the note that says which version the file is."""
    held: Stated | None = None
    version = _Version()
    for row in json_rows(path):
        if isinstance(row, Unreadable):
            yield row
            continue
        version.see(_items(row.value))
        stated = _stated(row, path, options)
        if isinstance(stated, Unreadable) or not stated.text.strip():
            yield stated
            continue
        if held:
            yield held
        held = stated
    if held:
        yield Stated(
            held.place, held.id, held.text, held.links, held.size, held.raw, notes=(*held.notes, *version.notes)
        )


class _Version:
    """Whether a file has whole names or their last words."""

    def __init__(self) -> None:
        self._whole = False
        self._words: set[str] = set()

    def see(self, items: Any) -> None:
        """Takes a record's triples."""
        if self._whole or not isinstance(items, list):
            return
        for item in items:
            said = [item[0], item[2]] if isinstance(item, list) and len(item) == 3 else []
            for name in said:
                if isinstance(name, str) and _SPACED.search(name):
                    self._whole |= len(name.split()) > 1
                    if len(self._words) < _ENOUGH:
                        self._words.add(name)

    @property
    def notes(self) -> tuple[str, ...]:
        if self._whole:
            return ("whole_names",)
        return ("last_words",) if len(self._words) >= _ENOUGH else ()


_SPACED = regex.compile(r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{Arabic}\p{Hangul}]")
"""Letters of scripts that put blanks between words."""


def _stated(row: Row, path: Path, options: SourceOptions) -> Stated | Unreadable:
    items = _items(row.value)
    try:
        tokens = _tokens(row.value)
        if not isinstance(items, list):
            raise Rejected("wrong_keys")
        text, spans = join_tokens(tokens)
        details = row.value.get("spo_details")
        if details is not None:
            links = _placed(details, items, spans, options.past_end("exclusive"))
        else:
            links = [link for item in items for link in _links(item, text, options)]
    except Rejected as rejected:
        return unreadable(row, str(rejected), items)
    return Stated(row.place, f"{path.stem}-{row.place}", text, tuple(links), row.size, row.raw)


def _items(value: dict[str, Any]) -> Any:
    return next((value[key] for key in ("triple_list", "spo_list", "triples") if key in value), None)


def _tokens(value: dict[str, Any]) -> list[str]:
    """The text's tokens, joined by blanks."""
    tokens = value["text"].split(" ") if isinstance(value.get("text"), str) else value.get("tokens")
    if not is_strings(tokens):
        raise Rejected("wrong_keys")
    return tokens


def _placed(details: Any, items: list[Any], spans: list[Span], past_end: int) -> list[Link | Lost]:
    """The relations at the places of their tokens, whose surfaces are the strings."""
    if not isinstance(details, list) or len(details) != len(items):
        raise Rejected("details_differ")
    return [_at_tokens(detail, item, spans, past_end) for detail, item in zip(details, items, strict=True)]


def _at_tokens(detail: Any, item: Any, spans: list[Span], past_end: int) -> Link | Lost:
    raw = shown([detail, item])
    match detail, item:
        case [a, b, _, str(label), c, d, _], [str(subject), str(relation), str(object)] if all(
            map(is_int, (a, b, c, d))
        ):
            if label != relation:
                return Lost("details_differ", raw)
            head, tail = span_of_tokens(spans, a, b + past_end), span_of_tokens(spans, c, d + past_end)
            if not head or not tail:
                return Lost("span_out_of_text", raw)
            return Link(Mention((head,), subject), relation, Mention((tail,), object), raw)
    return Lost("wrong_keys", raw)


def _links(item: Any, text: str, options: SourceOptions) -> Iterator[Link | Lost]:
    said = list(_said(item))
    if not said:
        yield Lost("wrong_keys", shown(item))
    for head, relation, tail, raw, note in said:
        for link in locating.located(text, head, relation, tail, raw, options):
            yield link._replace(notes=(*link.notes, note)) if note and isinstance(link, Link) else link


def _said(item: Any) -> Iterator[_Said]:
    """What a triple, or an object of subject, predicate and object, says; nothing if it is neither.

    Of an object that has several keys, `@value` is the object of the relation, and each other one that of a relation
    `predicate_key`.
    """
    raw = shown(item)
    match item:
        case [str(head), str(relation), str(tail)]:
            yield _Said(head, relation, tail, raw)
        case {"subject": str(head), "predicate": str(relation), "object": str(tail)} | {
            "subject": str(head),
            "relation": str(relation),
            "object": str(tail),
        }:
            yield _Said(head, relation, tail, raw)
        case {"subject": str(head), "predicate": str(relation), "object": {"@value": _, **_further} as object} if (
            is_strings([*object.values()])
        ):
            for key, tail in object.items():
                further = key != "@value"
                yield _Said(head, f"{relation}_{key}" if further else relation, tail, raw, "further_object" * further)


_LOSSES = {
    **locating.LOSSES,
    "details_differ": "spo_details has other relations than spo_list",
}
_VERSIONS = {
    "whole_names": "files of the version with whole names",
    "last_words": "files without a head or tail of several words: the version with last words, which makes different "
    "names equal",
}

FORMATS = (
    Format(
        name="duie",
        about="DuIE, CMeIE and others: JSON with spo_list or triples of strings",
        parts=json_files,
        recognise=_recognise_spo,
        read=_read_spo,
        flags=("ambiguous",),
        losses=_LOSSES,
        notes={
            **locating.NOTES,
            "further_object": "relations predicate_key, of a further key of an object with several",
        },
    ),
    Format(
        name="nyt",
        about="NYT and WebNLG: JSON with triple_list of strings, or JointER's with spo_details",
        parts=json_files,
        recognise=_recognise_triples,
        read=_read_triples,
        flags=("ambiguous", "end"),
        losses=_LOSSES,
        notes={**locating.NOTES, **_VERSIONS},
    ),
)
