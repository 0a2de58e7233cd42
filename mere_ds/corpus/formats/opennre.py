"""OpenNRE's lines: a text with places of characters, or tokens with places of tokens; all ends are exclusive."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats import pairs
from mere_ds.corpus.formats.json_rows import Row, data_files, json_rows
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import join_tokens, span_at, span_of_tokens, to_code_points
from mere_ds.corpus.formats.values import fields, integer, items, string, strings
from mere_ds.corpus.rows import Rejected

_Place = Callable[[int, int], Span | None]
"""Maps the stated start and end to a span of the text."""


def _recognise(sample: Sample) -> str | None:
    h, t = sample.first.get("h"), sample.first.get("t")
    if not (sample.has("relation") and isinstance(h, dict) and isinstance(t, dict) and "pos" in h and "pos" in t):
        return None
    return next((f"pos of h and t in {key}" for key in ("text", "token") if sample.has(key)), None)


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else pairs.stated_or_not(row, _stated, options)


def _stated(row: Row, options: SourceOptions) -> Stated:
    value = row.value
    text, place = _text(value, options)
    h, t = (_mention(fields(value.get(end)), place) for end in "ht")
    label = pairs.label_of(value.get("relation"))
    link: Link | Lost = Lost("span_out_of_text", row.raw)
    if h and t:
        link = pairs.directed(h, label, t, row.raw)
    return Stated(row.place, pairs.id_of(value.get("id"), row.place), text, (link,), row.size, row.raw)


def _text(value: dict[str, Any], options: SourceOptions) -> tuple[str, _Place]:
    """`text` if there is one, as OpenNRE's own reader does."""
    past_end = options.past_end("exclusive")
    if "text" not in value:
        options.unit("token")
        joined, spans = join_tokens(strings(value.get("token")))
        return joined, lambda start, end: span_of_tokens(spans, start, end + past_end)
    text = string(value["text"])
    place = to_code_points(text, options.unit("char", "utf16", "byte", "grapheme"))
    return text, lambda start, end: span_at(place, start, end + past_end)


def _mention(entity: dict[str, Any], place: _Place) -> Mention | None:
    """Names are in lower case in some files. None where the place is none of the text."""
    pos, name = items(entity.get("pos")), entity.get("name")
    if len(pos) != 2:
        raise Rejected("wrong_keys")
    span = place(integer(pos[0]), integer(pos[1]))
    return span and Mention((span,), string(name) if name else None, any_case=True)


FORMATS = (
    Format(
        name="opennre",
        about="OpenNRE: JSON lines of a text or tokens with h and t",
        parts=data_files(".txt", ".json", ".jsonl"),
        recognise=_recognise,
        read=_read,
        flags=("offsets", "end"),
        notes=pairs.NOTES,
        one_relation=True,
    ),
)
