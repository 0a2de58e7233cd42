"""GLiREL's JSON lines: tokens and relations whose ends are inclusive to train with, and exclusive where it predicts.

What its converters made of DocRED has exclusive ends too. Where the file has an entity's words, they tell.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.checking import agreement
from mere_ds.corpus.formats.json_rows import Row, json_files, json_rows, shown, unreadable
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import join_tokens, span_of_tokens
from mere_ds.corpus.formats.values import is_int, is_strings


class _Argument(NamedTuple):
    start: int
    end: int
    predicted: bool
    """So its end is exclusive."""
    surface: str | None


def _recognise(sample: Sample) -> str | None:
    return "tokenized_text and relations" if sample.has("tokenized_text", "relations") else None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row, path, options)


def _stated(row: Row, path: Path, options: SourceOptions) -> Stated | Unreadable:
    tokens, relations = row.value.get("tokenized_text"), row.value.get("relations")
    if not (is_strings(tokens) and isinstance(relations, list)):
        return unreadable(row, "wrong_keys", relations)
    text, spans = join_tokens(tokens)
    names = _names(row.value.get("ner"))
    links = tuple(_link(relation, text, spans, names, options.end) for relation in relations)
    return Stated(row.place, f"{path.stem}-{row.place}", text, links, row.size, row.raw)


def _names(entities: Any) -> dict[Span, str]:
    """The words of the entities, where `ner` has them."""
    found = {}
    for entity in entities if isinstance(entities, list) else ():
        match entity:
            case [start, end, _, str(name)] if is_int(start) and is_int(end):
                found[start, end] = name
    return found


def _link(relation: Any, text: str, spans: list[Span], names: dict[Span, str], end: str) -> Link | Lost:
    raw = shown(relation)
    head, tail = (_argument(relation, side, names) for side in ("head", "tail"))
    label = relation.get("relation_text", relation.get("label")) if isinstance(relation, dict) else None
    if not head or not tail or not isinstance(label, str):
        return Lost("wrong_keys", raw)
    mentions, repairs = [], []
    for argument in (head, tail):
        mention, is_repaired = _mention(argument, text, spans, end)
        if not mention:
            return Lost("span_out_of_text", raw)
        mentions.append(mention)
        repairs += ["exclusive_end"] * is_repaired
    return Link(mentions[0], label, mentions[1], raw, tuple(dict.fromkeys(repairs)))


def _argument(relation: Any, side: str, names: dict[Span, str]) -> _Argument | None:
    """A relation's head or tail, as in files to train with or as predicted; None if it is neither."""
    match relation:
        case {"head_pos": [_, _], "tail_pos": [_, _]}:
            start, end = relation[f"{side}_pos"]
            words = relation.get(f"{side}_text")
            said = " ".join(words) if is_strings(words) else None
        case {"head": {"position": [_, _]}, "tail": {"position": [_, _]}}:
            given = relation[side]
            start, end = given["position"]
            said = given.get("mention", given.get("name"))
        case _:
            return None
    if not (is_int(start) and is_int(end)):
        return None
    surface = said if isinstance(said, str) and said else names.get((start, end))
    return _Argument(start, end, "head_pos" in relation, surface)


def _mention(argument: _Argument, text: str, spans: list[Span], end: str) -> tuple[Mention | None, bool]:
    """The argument in the text, None if there are no such tokens; and whether its words showed its end to be exclusive.

    `end` is --end.
    """
    exclusive = argument.predicted if end == "auto" else end == "exclusive"
    span, other = (
        span_of_tokens(spans, argument.start, argument.end + inclusive) for inclusive in (not exclusive, exclusive)
    )
    stated, short = (Mention((place,), argument.surface) if place else None for place in (span, other))
    may_differ = end == "auto" and not exclusive and argument.surface is not None
    if may_differ and short and agreement(text, short) != "differs":
        is_wrong = not stated or agreement(text, stated) == "differs"
        return (short, True) if is_wrong else (stated, False)
    return stated, False


FORMATS = (
    Format(
        name="glirel",
        about="GLiREL's training files and predictions: JSON lines of tokens",
        parts=json_files,
        recognise=_recognise,
        read=_read,
        flags=("end",),
        repairs={"exclusive_end": "a head's or tail's end was read as exclusive, because only so it reads as stated"},
    ),
)
