"""TACRED and corpora of its shape: tokens, and the places of the subject and the object among them.

An end is the last token in TACRED itself and the next one in what Hugging Face's loader makes of it, with the same
fields. Each has entities that can't be of the other, and these show which of the two a file is.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mere_ds.corpus.formats import pairs
from mere_ds.corpus.formats.json_rows import Row, data_files, json_rows
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import join_tokens, span_of_tokens
from mere_ds.corpus.formats.values import integer, is_int, strings
from mere_ds.errors import UserError

_TRIED = 1000  # rows
_ENDS = ("subj_start", "subj_end", "obj_start", "obj_end")


def _recognise(sample: Sample) -> str | None:
    return "subj_start and obj_end of token" if sample.has("token", *_ENDS) else None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    past_end = _past_end(path, options)
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else pairs.stated_or_not(row, _stated, past_end)


def _past_end(path: Path, options: SourceOptions) -> int:
    """What to add to an end to get the token after it. Raises UserError if the file doesn't show it."""
    if options.end != "auto":
        return options.past_end("inclusive")
    entities = [entity for row in islice(json_rows(path), _TRIED) if isinstance(row, Row) for entity in _entities(row)]
    inclusive = sum(start == end for start, end, _ in entities)
    exclusive = sum(end == tokens for _, end, tokens in entities)
    if entities and inclusive == exclusive:
        raise UserError(
            f"{path}: doesn't show whether an end is the entity's last token (TACRED itself) or the one after it "
            "(Hugging Face's loader): pass --end=inclusive or --end=exclusive"
        )
    return int(inclusive >= exclusive)


def _entities(row: Row) -> Iterator[tuple[int, int, int]]:
    """Start and end of the subject and the object, and how many tokens there are; nothing of a bad one."""
    tokens = row.value.get("token")
    for name in ("subj", "obj"):
        start, end = row.value.get(f"{name}_start"), row.value.get(f"{name}_end")
        if isinstance(tokens, list) and is_int(start) and is_int(end):
            yield start, end, len(tokens)


def _stated(row: Row, past_end: int) -> Stated:
    value: dict[str, Any] = row.value
    text, spans = join_tokens(strings(value.get("token")))
    a, b, c, d = (integer(value.get(end)) for end in _ENDS)
    subject, object = span_of_tokens(spans, a, b + past_end), span_of_tokens(spans, c, d + past_end)
    label = pairs.label_of(value.get("relation"))
    link: Link | Lost = Lost("span_out_of_text", row.raw)
    if subject and object:
        link = pairs.directed(Mention((subject,)), label, Mention((object,)), row.raw)
    return Stated(row.place, pairs.id_of(value.get("id"), row.place), text, (link,), row.size, row.raw)


FORMATS = (
    Format(
        name="tacred",
        about="TACRED and corpora of its shape: JSON of tokens with subj_start, obj_start and so on",
        parts=data_files(".json", ".jsonl"),
        recognise=_recognise,
        read=_read,
        flags=("end",),
        notes=pairs.NOTES,
        one_relation=True,
    ),
)
