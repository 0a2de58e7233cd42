"""Rows -> answers: each row's text in its language, read together with those of its unit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from mere_ds.bulk.rows import Row
from mere_ds.config import AUTO, spelt_as


class Answered(NamedTuple):
    """A row and what the model found in it."""

    number: int
    text: str | None
    """None if the row has none that can be shown."""
    language: str | None
    fields: dict[str, Any]
    triples: list[dict]
    note: str | None
    candidates: list | None = None
    """The languages that come into question, if they were asked for and the row's was to be detected."""

    @property
    def kind(self) -> str | None:
        """What kind of note it has."""
        return self.note.partition(":")[0] if self.note is not None else None


class Reads(Protocol):
    def answers(self, texts: Sequence[str], languages: Sequence[str]) -> list[dict]: ...


class Answerer:
    """Answers rows in the language that they say, in `default` where they say none."""

    def __init__(self, extractor: Reads, languages: Sequence[str], default: str | None):
        self._extractor, self._default = extractor, default
        self._languages = languages

    def answer(self, rows: Sequence[Row]) -> list[Answered]:
        """One for each row, in order; a row that can't be read gets its problem as a note, and no triples."""
        asked = [self._with_language(row) for row in rows]
        whole = [row for row in asked if row.problem is None]
        found = self._extractor.answers([row.text or "" for row in whole], [row.language or "" for row in whole])
        triples: Mapping[int, dict] = {row.number: its for row, its in zip(whole, found, strict=True)}
        return [_answered(row, triples.get(row.number)) for row in asked]

    def _with_language(self, row: Row) -> Row:
        if row.problem is not None:
            return row._replace(language=row.language or self._default)
        if row.language is None and self._default is None:
            return row._replace(problem=f"no language: row {row.number} has none, and --lang is not given")
        spelt = self._default if row.language is None else spelt_as(row.language, self._languages)
        if spelt is None:
            known = ", ".join(self._languages)
            what = f"unknown language: {row.language!r} of row {row.number} is none of {known}"
            return row._replace(problem=what)
        return row._replace(language=spelt)


def _answered(row: Row, found: dict | None) -> Answered:
    notes = [row.problem, found["note"] if found and "note" in found else None, row.note]
    note = "; ".join(filter(None, notes)) or None
    language = found["lang"] if found else None if row.language == AUTO else row.language
    triples, candidates = (found["triples"], found.get("candidates")) if found else ([], None)
    return Answered(row.number, row.text, language, row.fields, triples, note, candidates)


def kinds_of(answers: Sequence[Answered]) -> Counter[str]:
    """How many notes there are of each kind."""
    return Counter(kind for answer in answers if (kind := answer.kind) is not None)
