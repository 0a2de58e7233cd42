"""REBEL, SREDFM and REDFM: JSON lines of documents whose entities have places and surfaces.

In REBEL one entity in six stands two, four or six characters further left than stated; it is found by its surface.
Relations hold their subject and object, or, once the `datasets` loader has read them, their numbers in `entities`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.checking import agreement
from mere_ds.corpus.formats.json_rows import Row, json_files, json_rows, shown, unreadable
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.values import is_int, objects, string
from mere_ds.corpus.rows import Rejected

_FURTHEST = 6  # characters that a surface may stand further left
_UNSURE = 0.75  # the loader leaves out what is not more certain


def _recognise(sample: Sample) -> str | None:
    for relations in ("triples", "relations"):
        if sample.has("docid", "text", "entities", relations):
            return f"docid, entities and {relations}"
    return None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    past_end = options.past_end("exclusive")
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row, past_end)


def _stated(row: Row, past_end: int) -> Stated | Unreadable:
    value = row.value
    relations = value.get("triples", value.get("relations"))
    try:
        text, language = string(value.get("text")), string(value.get("lan") or "")
        entities = objects(value.get("entities"))
        links = [_link(relation, text, entities, past_end) for relation in objects(relations)]
    except Rejected as rejected:
        return unreadable(row, str(rejected), relations)
    own_id = value.get("docid")
    shown_id = str(own_id) if isinstance(own_id, str | int) else str(row.place)
    return Stated(row.place, shown_id, text, tuple(links), row.size, row.raw, language)


def _link(relation: Any, text: str, entities: list[Any], past_end: int) -> Link | Lost:
    raw = shown(relation)
    try:
        if not isinstance(relation, dict):
            raise Rejected("wrong_keys")
        head, tail = (_entity(relation.get(key), entities) for key in ("subject", "object"))
        (head_mention, head_moved), (tail_mention, tail_moved) = (
            _mention(entity, text, past_end) for entity in (head, tail)
        )
        label, numbered = _label(relation.get("predicate"))
    except Rejected as rejected:
        return Lost(str(rejected), raw)
    notes = {
        "literal": _is_literal(head) or _is_literal(tail),
        "unsure": isinstance(sure := relation.get("confidence"), int | float) and sure <= _UNSURE,
        "numbered_label": numbered,
    }
    repairs = ("shifted_left",) if head_moved or tail_moved else ()
    return Link(head_mention, label, tail_mention, raw, repairs, tuple(name for name, holds in notes.items() if holds))


def _entity(given: Any, entities: list[Any]) -> dict[str, Any]:
    if is_int(given):
        if not 0 <= given < len(entities):
            raise Rejected("unknown_entity")
        given = entities[given]
    if not isinstance(given, dict):
        raise Rejected("wrong_keys")
    return given


def _mention(entity: dict[str, Any], text: str, past_end: int) -> tuple[Mention, bool]:
    """The entity in the text, and whether it had to be looked for to the left of its place."""
    bounds = entity.get("boundaries")
    if bounds is None and "start" in entity:
        bounds = [entity["start"], entity.get("end")]
    match bounds, entity.get("surfaceform"):
        case None, _:
            raise Rejected("without_place")
        case [start, end], None if is_int(start) and is_int(end):
            return Mention(((start, end + past_end),)), False
        case [start, end], str() | int() | float() as surface if is_int(start) and is_int(end):
            stated = start, end + past_end
            span = _shifted(stated, text, str(surface))
            return Mention((span,), str(surface)), span != stated
    raise Rejected("wrong_keys")


def _shifted(span: Span, text: str, surface: str) -> Span:
    """The place of the surface that is nearest to the left of the stated one, if it isn't there and one is near."""
    start, end = span
    is_inside = 0 <= start < end <= len(text)
    if not surface or (is_inside and agreement(text, Mention((span,), surface)) != "differs"):
        return span
    lefts = range(start - 1, start - _FURTHEST - 1, -1) if start <= len(text) + _FURTHEST else ()
    for left in lefts:
        if left >= 0 and text.startswith(surface, left):
            return left, left + len(surface)
    return span


def _label(predicate: Any) -> tuple[str, bool]:
    """The name of the relation, else its uri; and whether the file has only its number in a list of the loader's."""
    match predicate:
        case str():
            return predicate, False
        case {"surfaceform": str(name)} if name.strip():
            return name, False
        case {"uri": str(uri)}:
            return uri, False
    if is_int(predicate):
        return str(predicate), True
    raise Rejected("wrong_keys")


def _is_literal(entity: dict[str, Any]) -> bool:
    uri = entity.get("uri")
    return isinstance(uri, str) and not (uri[:1] == "Q" and uri[1:].isdecimal())


FORMATS = (
    Format(
        name="rebel",
        about="REBEL, SREDFM and REDFM: JSON lines of documents",
        parts=json_files,
        recognise=_recognise,
        read=_read,
        flags=("end",),
        losses={"without_place": "a head or tail has no place in the text"},
        repairs={
            "shifted_left": f"a head or tail is not at its place but at most {_FURTHEST} characters further left; the "
            "nearest such place is taken"
        },
        notes={
            "literal": "the head or tail is a date, number or other literal, not an item of Wikidata",
            "unsure": f"relations with a confidence of at most {_UNSURE}, which the loader of SREDFM leaves out",
            "numbered_label": "relations with the number of their label, whose name the file doesn't have",
        },
        documents=True,
    ),
)
