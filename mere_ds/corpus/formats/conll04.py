"""CoNLL04 as JSON (also ADE, SciERC and others prepared for the same tools), in its three shapes.

SpERT's: `entities` of type, start and end, exclusive; a relation's head and tail are numbers of entities. TablERT's: no
entities but BILOU `tags`; head and tail are numbers of the spans that the tags mark. The third: `entities` of label,
start and end, inclusive; a relation's subj and obj are the tokens that its entities start with. Keys show
which shape a file has, and which ends are possible in it shows whether they are exclusive: nothing is guessed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.json_rows import Row, json_files, json_rows, shown, unreadable
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import join_tokens, span_of_tokens
from mere_ds.corpus.formats.values import is_int, is_strings
from mere_ds.errors import UserError

_TAG = re.compile(r"O|([BILU])-(.+)", re.DOTALL)

Entities = Mapping[int, Sequence[Span | str]]
"""Spans of the text by what relations call an entity: its number, or the token that it starts with; a reason of
`Lost` for one without a span. Several where two entities start with the same token."""


def _recognise(sample: Sample) -> str | None:
    value = sample.first
    if not (is_strings(value.get("tokens")) and isinstance(value.get("relations"), list)):
        return None
    if isinstance(value.get("entities"), list):
        return "tokens, entities and relations"
    return "tokens, BILOU tags and relations" if is_strings(value.get("tags")) else None


@dataclass
class _Signs:
    """What the rows of a file show: how they can be read, and the first row that shows it."""

    shapes: dict[str, int] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        entities, tags = row.value.get("entities"), row.value.get("tags")
        if type(tags) is list:
            self.shapes.setdefault("BILOU tags", row.place)
        if type(entities) is not list:
            return
        self.shapes.setdefault("entities", row.place)
        relations, tokens = row.value.get("relations"), row.value.get("tokens")
        objects = [item for item in entities if type(item) is dict]
        links = [item for item in relations if type(item) is dict] if type(relations) is list else []
        for number in {_names(item) for item in objects} & {_numbers(item) for item in links}:
            self.ends.setdefault(number, f"as the keys of row {row.place} say")
        for start, end in ((item.get("start"), item.get("end")) for item in objects):
            if is_int(start) and start == end:
                self.ends.setdefault("inclusive", f"as row {row.place} has an entity from {start} to {end}")
            if is_int(end) and type(tokens) is list and end == len(tokens):
                self.ends.setdefault(
                    "exclusive", f"as row {row.place} has {end} tokens and an entity that ends at {end}"
                )


def _names(entity: dict[str, Any]) -> str:
    return {(True, False): "exclusive", (False, True): "inclusive"}.get(("type" in entity, "label" in entity), "")


def _numbers(relation: dict[str, Any]) -> str:
    ordinal, start = {"head", "tail"} <= relation.keys(), {"subj", "obj"} <= relation.keys()
    return {(True, False): "exclusive", (False, True): "inclusive"}.get((ordinal, start), "?")


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    last = _last(path, options.end)
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row, last)


def _last(path: Path, given: str) -> int:
    """What is added to an entity's end to make it exclusive. Raises UserError where the file allows two readings."""
    signs = _Signs()
    for row in json_rows(path):
        if isinstance(row, Row):
            signs.add(row)
    if len(signs.shapes) > 1:
        found = " and ".join(f"{name} (row {place})" for name, place in signs.shapes.items())
        raise UserError(f"{path}: has {found}, so relations may count either: remove one of the two from all rows")
    if given != "auto" or "entities" not in signs.shapes:
        return int(given == "inclusive")
    if len(signs.ends) > 1:
        found = "; ".join(f"--end={end}, {why}" for end, why in sorted(signs.ends.items()))
        raise UserError(f"{path}: entities' ends may be meant in two ways, pass the right one: {found}")
    if not signs.ends and _has_entities(path):
        raise UserError(f"{path}: nothing shows whether entities' ends are exclusive or inclusive: pass --end")
    return int("inclusive" in signs.ends)


def _has_entities(path: Path) -> bool:
    return any(isinstance(row, Row) and row.value.get("entities") for row in json_rows(path))


def _stated(row: Row, last: int) -> Stated | Unreadable:
    tokens, relations = row.value.get("tokens"), row.value.get("relations")
    if not (is_strings(tokens) and type(relations) is list):
        return unreadable(row, "wrong_keys", relations)
    text, spans = join_tokens(tokens)
    ordinals, starts, reason = _entities(row.value, spans, last)
    if reason:
        return unreadable(row, reason, relations)
    own_id = next(
        (row.value[key] for key in ("orig_id", "doc_key") if type(row.value.get(key)) in (str, int)), row.place
    )
    links = tuple(_link(relation, ordinals, starts) for relation in relations)
    return Stated(row.place, str(own_id), text, links, row.size, row.raw)


def _entities(value: dict[str, Any], spans: Sequence[Span], last: int) -> tuple[Entities, Entities, str]:
    """The entities by number and by first token, or why the row can't be read."""
    ordinals: dict[int, list[Span | str]] = {}
    starts: dict[int, list[Span | str]] = {}
    if type(value.get("entities")) is list:
        ends = [
            (entity.get("start"), entity.get("end")) if type(entity) is dict else (0, None)
            for entity in value["entities"]
        ]
    else:
        decoded = spans_of_tags(value.get("tags"), len(spans))
        if decoded is None:
            return {}, {}, "invalid_tags" if is_strings(value.get("tags")) else "wrong_keys"
        ends, last = list(decoded), 0
    for number, (start, end) in enumerate(ends):
        span: Span | str = "wrong_keys"
        if is_int(start) and is_int(end):
            span = span_of_tokens(spans, start, end + last) or (
                "empty_span" if start == end + last else "span_out_of_text"
            )
        ordinals[number] = [span]
        if is_int(start) and span not in starts.setdefault(start, []):
            starts[start].append(span)
    return ordinals, starts, ""


def spans_of_tags(tags: object, tokens: int) -> list[Span] | None:
    """The spans that BILOU tags mark, ends exclusive; None for invalid tags, or not one for each token.

    One wrong tag changes the numbers of all later spans, so the rest can't be read either.
    """
    if not is_strings(tags) or len(tags) != tokens:
        return None
    found: list[Span] = []
    begun, kind = -1, ""
    for place, tag in enumerate(tags):
        match = _TAG.fullmatch(tag)
        if not match or (match[1] in ("I", "L")) != (begun >= 0) or (begun >= 0 and match[2] != kind):
            return None
        if match[1] == "B":
            begun, kind = place, match[2]
        elif match[1] in ("L", "U"):
            found.append((begun if match[1] == "L" else place, place + 1))
            begun = -1
    return found if begun < 0 else None


def _link(relation: object, ordinals: Entities, starts: Entities) -> Link | Lost:
    raw = shown(relation)
    if type(relation) is not dict:
        return Lost("wrong_keys", raw)
    if _numbers(relation) == "exclusive":
        entities, label, places = ordinals, relation.get("type"), (relation["head"], relation["tail"])
    elif _numbers(relation) == "inclusive":
        entities, label, places = starts, relation.get("label"), (relation["subj"], relation["obj"])
    else:
        return Lost("wrong_keys", raw)
    if type(label) is not str or not all(is_int(place) for place in places):
        return Lost("wrong_keys", raw)
    arguments = []
    for place in places:
        match list(entities.get(place, ())):
            case []:
                return Lost("unknown_entity", raw)
            case [str() as reason]:
                return Lost(reason, raw)
            case [(start, end)]:
                arguments.append(Mention(((start, end),)))
            case _:
                return Lost("same_start", raw)
    return Link(arguments[0], label, arguments[1], raw)


FORMATS = (
    Format(
        name="conll04",
        about="CoNLL04 and others, as JSON for SpERT, for TablERT, or with entities named by their first token",
        parts=json_files,
        recognise=_recognise,
        read=_read,
        flags=("end",),
        losses={
            "invalid_tags": "the tags are not valid BILOU, so that it's unknown which spans the relations mean",
        },
    ),
)
