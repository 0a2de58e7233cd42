"""What a source doesn't say about itself, as knobs of every command that reads one."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from mere_ds.corpus.languages import language_code
from mere_ds.errors import UserError
from mere_ds.knobs import check_knobs, knob

_option = partial(knob, on_resume="content")  # what is read decides a result, not how it was named


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source that is neither SMiLER's files nor our JSON lines. Raises UserError."""

    format: str = _option(
        "The source's format; auto recognises it, mere-ds convert --help lists all.", "auto", also="type"
    )
    lang: str | None = _option("Language of the texts, where the files state none.", None, also="language")
    split: Literal["auto", "train", "dev", "test"] = _option(
        "What the texts are for; auto: what the names of files and folders say.", "auto"
    )
    map: tuple[str, ...] = _option(
        "Tables: our fields and their columns, such as text=sentence,head_start=subj.start.", (), also="columns fields"
    )
    offsets: Literal["auto", "char", "utf16", "grapheme", "byte", "token"] = _option(
        "What the files' offsets count; char: Unicode code points; auto: what the format says.", "auto", also="unit"
    )
    end: Literal["auto", "exclusive", "inclusive"] = _option(
        "Whether the end of a span is the first place after it, or its last; auto: what the format says.", "auto"
    )
    ambiguous: Literal["reject", "first", "all"] = _option(
        "An entity given as text alone that occurs several times: reject the relation, take the first, or all.",
        "reject",
    )
    cut: Literal["auto", "sentence", "document"] = _option(
        "Documents: cut into sentences, but never through a relation, or kept whole; auto: what the format says.",
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

    def unit(self, own: str, *others: str) -> str:
        """What offsets count that are of `own` unit, unless --offsets says one of the others. Raises UserError."""
        if self.offsets in ("auto", own):
            return own
        if self.offsets in others:
            return self.offsets
        raise UserError(f"--offsets={self.offsets}: here offsets are of {' or '.join((own, *others))}: omit it")

    def past_end(self, own: Literal["exclusive", "inclusive"]) -> int:
        """What to add to a stated end to get the first place after the span; `own` is what the format says."""
        return int((own if self.end == "auto" else self.end) == "inclusive")
