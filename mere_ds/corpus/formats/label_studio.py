"""Label Studio 1.x, its JSON export: tasks with annotations, whose results are entities and relations.

Offsets of plain text count code points, "\\r\\n" as two. A relation item holds all labels of a pair of entities in one
direction; where the project has no <Relations> tag, or a label was renamed, it has none. JSON_MIN drops relations.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats import units
from mere_ds.corpus.formats.checking import agreement
from mere_ds.corpus.formats.json_rows import Row, json_rows, shown
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable, files_below
from mere_ds.corpus.languages import language_code
from mere_ds.corpus.rows import Rejected
from mere_ds.errors import UserError

_ADDRESS = re.compile(r"[\w.+-]+://\S+|/data/\S+")  # of a file, in place of its text
_OTHER = 2  # rank of a field of which nothing says that it is the text
_FORWARD, _BACKWARD = (0, 1), (1, 0)
_DIRECTIONS = {"right": (_FORWARD,), "left": (_BACKWARD,), "bi": (_FORWARD, _BACKWARD)}


class _Region(NamedTuple):
    """Where an entity stands."""

    to_name: str
    """The object of the labelling interface that it is in."""
    mention: Mention
    in_markup: bool
    """Whether the object shows HTML or a dialogue; the place then counts what is shown."""


_Argument = tuple[Mention, bool] | str
"""An entity and whether its place is repaired, or why there is none."""


def _recognise(sample: Sample) -> str | None:
    if sample.has("annotations", "data"):
        return "tasks with annotations and data"
    return "JSON_MIN, which has no relations" if _is_min(sample) else None


def _is_min(sample: Sample) -> bool:
    return sample.has("annotation_id", "annotator") and not sample.has("data")


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    if _is_min(Sample(path)):
        raise UserError(f"{path}: is Label Studio's JSON_MIN, which leaves out all relations: export it again as JSON")
    usual = _usual_field(path, options)
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row, usual, bool(options.map))


def _usual_field(path: Path, options: SourceOptions) -> str:
    """The field of a task's data that holds the text: what --map says, else the one that most entities fit."""
    if options.map:
        columns = options.columns
        if columns.keys() != {"text"}:
            raise UserError(f"--map={','.join(options.map)}: for Label Studio, pass text=FIELD of a task's data alone")
        return columns["text"]
    found: Counter[str] = Counter()
    for row in json_rows(path):
        if isinstance(row, Row) and (annotations := _annotations(row.value)) and (chosen := _chosen(annotations)):
            regions = [region for region in _regions(chosen["result"]).values() if region]
            found.update(_fitting(row.value["data"], regions, "")[:1])
    return found.most_common(1)[0][0] if found else "text"


def _stated(row: Row, usual: str, is_told: bool) -> Stated | Unreadable:
    annotations = _annotations(row.value)
    if annotations is None:
        return Unreadable(row.place, "wrong_keys", row.raw, row.size)
    chosen, data = _chosen(annotations), row.value["data"]
    others = [link for annotation in annotations if annotation is not chosen for link in _passed_over(annotation)]
    if chosen is None:
        return Unreadable(row.place, "not_annotated", row.raw, row.size, relations=len(others))
    items = [item for item in chosen["result"] if item["type"] == "relation"]
    regions = _regions(chosen["result"])
    main = _main_object(items, regions)
    here = [region for region in regions.values() if region and region.to_name == main]
    try:
        text = data.get(usual) if is_told else _text(data, here, usual)
        _check_text(text, here)
    except Rejected as rejected:
        lost = len(others) + sum(1 for item in items for _ in _links(item, regions, main, ""))
        return Unreadable(row.place, str(rejected), row.raw, row.size, relations=lost)
    links = [link for item in items for link in _links(item, regions, main, text)]
    its_id = data.get("id") if type(data.get("id")) is str else row.value.get("id", row.place)
    return Stated(
        row.place, str(its_id), text, (*links, *others), row.size, row.raw, _language(data), notes=_notes(row.value)
    )


def _annotations(task: dict[str, Any]) -> list[dict[str, Any]] | None:
    """A task's annotations, each with a list of results that state their type; None if it isn't a task."""
    annotations = task.get("annotations")
    if type(task.get("data")) is not dict or type(annotations) is not list:
        return None
    for annotation in annotations:
        if type(annotation) is not dict or type(annotation.get("result")) is not list:
            return None
        if not all(type(item) is dict and type(item.get("type")) is str for item in annotation["result"]):
            return None
    return annotations


def _chosen(annotations: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The annotation that is read: of those not skipped, one that is marked as ground truth, else the newest."""

    def rank(annotation: dict[str, Any]) -> tuple[bool, str]:
        return annotation.get("ground_truth") is True, str(annotation.get("updated_at") or annotation.get("created_at"))

    done = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    return max(reversed(done), key=rank, default=None)


def _passed_over(annotation: dict[str, Any]) -> Iterator[Lost]:
    """The relations of an annotation that isn't read."""
    reason = "skipped_annotation" if annotation.get("was_cancelled") else "other_annotation"
    for item in annotation["result"]:
        if item["type"] == "relation":
            yield from (Lost(reason, link.raw) for link in _links(item, {}, "", ""))


def _notes(task: dict[str, Any]) -> tuple[str, ...]:
    skipped = sum(bool(annotation.get("was_cancelled")) for annotation in task["annotations"])
    there = {
        "several_annotations": len(task["annotations"]) - skipped > 1,
        "skipped_annotations": skipped > 0,
        "predictions": bool(task.get("predictions")),
        "drafts": bool(task.get("drafts")),
    }
    return tuple(note for note, holds in there.items() if holds)


def _language(data: dict[str, Any]) -> str:
    given = data.get("lang")
    return (language_code(given) if type(given) is str else None) or ""


def _regions(result: Sequence[dict[str, Any]]) -> dict[str, _Region | None]:
    """The entities by id; None where the file gives several places. Two control tags make two results of one region."""
    regions: dict[str, _Region | None] = {}
    for own_id, region in _places(result):
        first = regions.setdefault(own_id, region)
        if first and (first.to_name, first.mention.pieces) != (region.to_name, region.mention.pieces):
            regions[own_id] = None
        elif first and first.mention.surface is None:  # of a comment on the region, say
            regions[own_id] = region
    return regions


def _places(result: Sequence[dict[str, Any]]) -> Iterator[tuple[str, _Region]]:
    for item in result:
        own_id, name, value = item.get("id"), item.get("to_name"), item.get("value")
        if item["type"] == "relation" or type(own_id) is not str or type(value) is not dict:
            continue
        in_markup = type(value.get("start")) is str  # an XPath, or the number of a dialogue's turn
        shown_at = value.get("globalOffsets") if in_markup else value
        start, end = (shown_at.get(side) if type(shown_at) is dict else None for side in ("start", "end"))
        surface = value["text"] if type(value.get("text")) is str else None
        if type(start) is int and type(end) is int:
            yield own_id, _Region(str(name), Mention(((start, end),), surface), in_markup)
        elif in_markup:
            yield own_id, _Region(str(name), Mention((), surface), in_markup)


def _main_object(items: Sequence[dict[str, Any]], regions: dict[str, _Region | None]) -> str:
    """The object of the labelling interface, such as a text, that most arguments of relations are in."""
    ends = [regions.get(end) for item in items for end in (item.get("from_id"), item.get("to_id")) if type(end) is str]
    names = Counter(region.to_name for region in ends or regions.values() if region)
    return names.most_common(1)[0][0] if names else ""


def _text(data: dict[str, Any], regions: Sequence[_Region], usual: str) -> str:
    """The task's text. The export doesn't say which field of the data it is. Raises Rejected."""
    strings = [key for key, value in data.items() if type(value) is str]
    choices = _fitting(data, regions, usual) or sorted(strings, key=lambda key: _rank(key, regions, usual))
    if not choices:
        raise Rejected("not_text")
    if _rank(choices[0], regions, usual) == _OTHER and len({data[key] for key in choices}) > 1:
        raise Rejected("unknown_text")
    return data[choices[0]]


def _fitting(data: dict[str, Any], regions: Sequence[_Region], usual: str) -> list[str]:
    """The fields in which all entities, if there are any, read as the file says, the likeliest first."""
    strings = {key: value for key, value in data.items() if type(value) is str} if regions else {}
    fitting = [key for key, text in strings.items() if all(_fits(region, text) for region in regions)]
    return sorted(fitting, key=lambda key: _rank(key, regions, usual))


def _rank(key: str, regions: Sequence[_Region], usual: str) -> int:
    """A field is often named as the object that shows it."""
    return 0 if any(region.to_name == key for region in regions) else 1 if key == usual else _OTHER


def _fits(region: _Region, text: str) -> bool:
    return _reads_true(region.mention, text) or _shifted(region.mention, text) is not None


def _reads_true(mention: Mention, text: str) -> bool:
    inside = bool(mention.pieces) and all(0 <= start < end <= len(text) for start, end in mention.pieces)
    return inside and agreement(text, mention) != "differs"


def _check_text(text: object, regions: Sequence[_Region]) -> None:
    """Raises Rejected for what isn't the text that annotators saw."""
    if type(text) is not str:
        raise Rejected("not_text")
    fit = [_fits(region, text) for region in regions]
    if any(region.in_markup and not fits for region, fits in zip(regions, fit, strict=True)):
        raise Rejected("in_markup")
    if _ADDRESS.fullmatch(text) and not any(fit):
        raise Rejected("not_text")


def _links(item: dict[str, Any], regions: dict[str, _Region | None], main: str, text: str) -> Iterator[Link | Lost]:
    """The relations of an item: each label, in each direction."""
    raw, labels, direction = shown(item), item.get("labels"), item.get("direction")
    labels, direction = [] if labels is None else labels, "right" if direction is None else direction
    ends = item.get("from_id"), item.get("to_id")
    if type(labels) is not list or any(type(value) is not str for value in (*labels, *ends)):
        yield Lost("wrong_keys", raw)
    elif not labels:
        yield Lost("no_label", raw)
    elif type(direction) is not str or direction not in _DIRECTIONS:
        yield from (Lost("unknown_direction", raw) for _ in labels)
    else:
        sides = [_argument(regions, end, main, text) for end in ends]
        notes = ("both_directions",) if direction == "bi" else ()
        for label in labels:
            for head, tail in _DIRECTIONS[direction]:
                yield _link(sides[head], label, sides[tail], raw, notes)


def _link(head: _Argument, label: str, tail: _Argument, raw: str, notes: tuple[str, ...]) -> Link | Lost:
    if isinstance(head, str):
        return Lost(head, raw)
    if isinstance(tail, str):
        return Lost(tail, raw)
    repairs = ("utf16_offsets",) if head[1] or tail[1] else ()
    return Link(head[0], label, tail[0], raw, repairs, notes)


def _argument(regions: dict[str, _Region | None], own_id: Any, main: str, text: str) -> _Argument:
    if own_id not in regions:
        return "unknown_entity"
    region = regions[own_id]
    if region is None:
        return "two_places"
    if region.to_name != main:
        return "other_text"
    shifted = _shifted(region.mention, text)
    return (shifted or region.mention), shifted is not None


def _shifted(mention: Mention, text: str) -> Mention | None:
    """The mention where the surface stands, if its place counts UTF-16 code units since some earlier character.

    Such a place is too large by at most the number of characters in front of it that take two units. None if the place
    is right as it is, or no other place, or several, can be meant.
    """
    surface = mention.surface
    if text.isascii() or not surface or not mention.pieces or _reads_true(mention, text):
        return None
    ((start, end),) = mention.pieces
    found: list[Span] = []
    at = text.find(surface, max(0, start - _pairs(text[: max(0, start)])), max(0, end))
    while 0 <= at <= start:
        to = at + len(surface)
        if start - at <= _pairs(text[:at]) and 0 <= end - to <= _pairs(text[:to]):
            found.append((at, to))
        at = text.find(surface, at + 1, end)
    return Mention((found[0],), surface) if len(found) == 1 else None


def _pairs(text: str) -> int:
    """The characters of a text that UTF-16 writes as two units."""
    return sum(character > "\uffff" for character in text)


FORMATS = (
    Format(
        name="label-studio",
        about="Label Studio 1.x: its JSON export",
        parts=files_below((".json", ".jsonl")),
        recognise=_recognise,
        read=_read,
        flags=("map",),
        losses={
            "not_annotated": "the task has no annotation, or skipped ones alone",
            "not_text": "the task's data has no text: a dialogue, a table, or the address of a file",
            "unknown_text": "the task's data has several texts, and its entities fit none: pass --map=text=FIELD",
            "in_markup": "the text is HTML or a dialogue; the places count what is shown, which the file doesn't have",
            "no_label": "the relation has no label: the project has no <Relations> tag, or the label was renamed",
            "unknown_direction": "the relation's direction is not left, right or bi",
            "two_places": "the file gives several places for a head or tail",
            "other_text": "the head or tail is in another text of the task than most are",
            "skipped_annotation": "the relation is of an annotation that was skipped",
            "other_annotation": "the task has another annotation that is marked as ground truth, or newer",
        },
        repairs=units.REPAIRS,
        notes={
            "both_directions": "the relation's direction is bi; it is read in both directions",
            "several_annotations": "the task has several annotations; one is read",
            "skipped_annotations": "the task has skipped annotations, which are not read",
            "predictions": "the task has predictions, which are not read",
            "drafts": "the task has drafts, which are not read",
        },
    ),
)
