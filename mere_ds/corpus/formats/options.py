"""What a source doesn't say about itself, as knobs of every command that reads one."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

from mere_ds.corpus.languages import language_code
from mere_ds.errors import UserError
from mere_ds.knobs import check_knobs, knob

FOR_ALL = ("lang", "split", "cut")
"""Options that every format of another tool reads, but neither SMiLER's files nor our JSON lines."""
NOT_FOR_ALL = ("map", "offsets", "end", "ambiguous")
"""Options that such a format may have no use for."""

_INSTEAD = {  # of an option that has no use
    "map": " or pass --format=table, which uses it",
    "lang": ", as the names of the files or their rows state the language",
    "split": ", as the names of the files say it",
    "cut": ", as each row is a sentence",
}

_option = partial(knob, on_resume="content")  # what is read decides a result, not how it was named


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source that is neither SMiLER's files nor our JSON lines. Raises UserError."""

    format: str = _option(
        "The source's format: smiler, jsonl, or one that mere-ds convert --help lists; auto recognises it.",
        "auto",
        also="type",
    )
    lang: str | None = _option(
        "Language of the texts, such as de or pt-BR, where the files don't state it.", None, also="language"
    )
    split: Literal["auto", "train", "dev", "test"] = _option(
        "What the texts are for; auto: as the names of files and folders say.", "auto"
    )
    map: tuple[str, ...] = _option(
        "Tables: FIELD=COLUMN,..., such as text=sentence,head_start=subj.start; docs/formats.md lists other uses.",
        (),
        also="columns fields",
    )
    offsets: Literal["auto", "char", "utf16", "grapheme", "byte", "token"] = _option(
        "What offsets count: char (Unicode code points), utf16, grapheme, byte or token; auto: what the format says.",
        "auto",
        also="unit",
    )
    end: Literal["auto", "exclusive", "inclusive"] = _option(
        "Whether a span's end is the place after it (exclusive) or its last one; auto: what the format says.", "auto"
    )
    ambiguous: Literal["reject", "first", "all"] = _option(
        "For a head or tail given as text alone that occurs several times: reject it, take the first place, or all.",
        "reject",
    )
    cut: Literal["auto", "sentence", "document"] = _option(
        "Documents are cut into sentences, never through a relation, or kept whole; auto: what the format says.",
        "auto",
    )

    def __post_init__(self) -> None:
        check_knobs(self)
        _ = self.columns  # raises before any work
        if self.lang is not None:
            code = language_code(self.lang)
            if not code:
                raise UserError(f"--lang={self.lang}: not a language code: pass one such as de or pt-BR")
            object.__setattr__(self, "lang", code)

    @property
    def columns(self) -> dict[str, str]:
        """`map` as field -> column. Raises UserError."""
        pairs = [pair.partition("=") for pair in self.map]
        if wrong := next(
            (pair for pair, (field, _, column) in zip(self.map, pairs, strict=True) if not (field and column)), ""
        ):
            raise UserError(f"--map={wrong}: must be FIELD=COLUMN, several separated by commas")
        return {field.strip(): column.strip() for field, _, column in pairs}

    def check_used(self, reader: str, used: Collection[str]) -> None:
        """Raises UserError for an option that is given, but not `used` by the `reader`, such as "format brat"."""
        for field in fields(SourceOptions):  # a subclass has other settings too
            value = getattr(self, field.name)
            if value != field.default and field.name not in ("format", *used):
                given = ",".join(value) if isinstance(value, tuple) else value
                hint = _INSTEAD.get(field.name, "")
                raise UserError(f"--{field.name}={given}: {reader} has no use for it: omit it{hint}")

    def unit(self, own: str, *others: str) -> str:
        """What offsets count that are of `own` unit, unless --offsets says one of the others. Raises UserError."""
        if self.offsets in ("auto", own):
            return own
        if self.offsets in others:
            return self.offsets
        raise UserError(f"--offsets={self.offsets}: here offsets count {' or '.join((own, *others))}: omit it")

    def past_end(self, own: Literal["exclusive", "inclusive"]) -> int:
        """What to add to a stated end to get the first place after the span; `own` is what the format says."""
        return int((own if self.end == "auto" else self.end) == "inclusive")
