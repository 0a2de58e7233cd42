"""doccano 1.8, JSON lines: texts with entities and relations; nothing in a file says what its offsets count.

They are what the browser's selection gives: UTF-16 code units, or graphemes in a project with that option, while
uploaded entities keep the unit of whoever made them. So where these differ, --offsets must say it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from mere_ds.corpus.formats.json_rows import Row, json_rows, shown, unreadable
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable, files_below
from mere_ds.corpus.formats.units import span_at, to_code_points, units_differ
from mere_ds.errors import UserError


def _parts(source: Path) -> Iterator[Path]:
    """Raises UserError for the files of several members, each of which has all texts."""
    firsts: dict[tuple[str, str], Path] = {}
    for path in files_below((".jsonl", ".json"))(source):
        sample = Sample(path)
        if source.is_dir() and _recognise(sample):
            other = firsts.setdefault((str(sample.first["id"]), str(sample.first["text"])), path)
            if other != path:
                raise UserError(
                    f"{other} and {path}: both begin with the same text, as doccano's files of several members do, "
                    "which have all texts each: pass the file of one member"
                )
        yield path


def _recognise(sample: Sample) -> str | None:
    if not sample.has("id", "text") or sample.has("annotations"):
        return None
    entities, label = sample.first.get("entities"), sample.first.get("label")
    if sample.has("relations") and _are_rows(entities, "label", "start_offset", "end_offset"):
        return "entities with start_offset and end_offset"
    if sample.has("Comments") and type(label) is list:
        return "label and Comments, of a project without relations"
    return None


def _are_rows(value: object, *keys: str) -> bool:
    return type(value) is list and all(type(item) is dict and item.keys() >= set(keys) for item in value)


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    if options.offsets == "token":
        raise UserError("--offsets=token: doccano's offsets don't count tokens: pass utf16, grapheme or char")
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row, options.offsets, path)


def _stated(row: Row, unit: str, path: Path) -> Stated | Unreadable:
    own_id, text, entities, relations = (row.value.get(key) for key in ("id", "text", "entities", "relations"))
    if type(text) is str and entities is None and relations is None and type(row.value.get("label")) is list:
        return Unreadable(row.place, "no_relations", row.raw, row.size)
    if type(text) is not str or not _are_entities(entities) or type(relations) is not list:
        return unreadable(row, "wrong_keys", relations)
    if unit == "auto" and entities and units_differ(text):
        raise UserError(_question(path, row.place))
    places = _places(text, entities, "char" if unit == "auto" else unit)
    if places is None:
        return unreadable(row, "entity_out_of_text", relations)
    links = tuple(_link(relation, places) for relation in relations)
    notes = () if type(own_id) is int else ("replaced_id",)
    its_id = str(row.place if own_id is None else own_id)
    return Stated(row.place, its_id, text, links, row.size, row.raw, notes=notes)


def _are_entities(entities: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Whether each has a number of its own and offsets."""
    if not _are_rows(entities, "id", "start_offset", "end_offset"):
        return False
    numbers = [value for item in entities for value in (item["id"], item["start_offset"], item["end_offset"])]
    return all(type(number) is int for number in numbers) and len({item["id"] for item in entities}) == len(entities)


def _places(text: str, entities: list[dict[str, Any]], unit: str) -> dict[int, Mention] | None:
    """The entities by number; None if one of them doesn't fit the text."""
    to_code_point = to_code_points(text, unit)
    places = {}
    for entity in entities:
        span = span_at(to_code_point, entity["start_offset"], entity["end_offset"])
        if span is None or span[0] >= span[1]:
            return None
        places[entity["id"]] = Mention((span,))
    return places


def _link(relation: Any, places: dict[int, Mention]) -> Link | Lost:
    raw = shown(relation)
    if not _are_rows([relation], "from_id", "to_id", "type"):
        return Lost("wrong_keys", raw)
    head, tail, label = relation["from_id"], relation["to_id"], relation["type"]
    if type(head) is not int or type(tail) is not int or type(label) is not str:
        return Lost("wrong_keys", raw)
    if head not in places or tail not in places:
        return Lost("unknown_entity", raw)
    return Link(places[head], label, places[tail], raw)


def _question(path: Path, place: int) -> str:
    return (
        f"{path}: line {place}: has characters such as emoji, letters with marks or \\r\\n, and doccano doesn't say "
        "how its offsets count these: pass --offsets=utf16 (marked in doccano), --offsets=grapheme (marked in a "
        "project that counts graphemes) or --offsets=char (uploaded by a program that counts code points)"
    )


FORMATS = (
    Format(
        name="doccano",
        about="doccano 1.8: the JSON lines of one member",
        parts=_parts,
        recognise=_recognise,
        read=_read,
        flags=("offsets",),
        losses={
            "entity_out_of_text": "an entity is outside of the text, empty, or begins or ends inside of a character: "
            "--offsets is wrong, or a metadata key named data has replaced the text",
        },
        notes={"replaced_id": "the id is not doccano's number: a metadata key named id has replaced it"},
    ),
)
