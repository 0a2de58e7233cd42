"""TACRED and corpora of its shape: tokens, and the first and last token of the subject and the object."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mere_ds.corpus.formats import pairs
from mere_ds.corpus.formats.json_rows import Row, json_rows
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import join_tokens, span_of_tokens
from mere_ds.corpus.formats.values import integer, strings

_ENDS = ("subj_start", "subj_end", "obj_start", "obj_end")


def _recognise(sample: Sample) -> str | None:
    return "subj_start and obj_end of token" if sample.has("token", *_ENDS) else None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    options.unit("token")
    past_end = options.past_end("inclusive")
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else pairs.stated_or_not(row, _stated, past_end)


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
        about="TACRED and corpora of its shape: JSON of tokens with inclusive ends",
        parts=pairs.data_files(".json", ".jsonl"),
        recognise=_recognise,
        read=_read,
        notes=pairs.NOTES,
        one_relation=True,
    ),
)
