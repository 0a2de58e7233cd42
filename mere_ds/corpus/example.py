"""One sentence of a corpus with its triples, as character spans."""

from dataclasses import dataclass
from typing import NamedTuple

Span = tuple[int, int]


class Triple(NamedTuple):
    """Head and tail are half-open character spans of the text, non-empty and inside it; they may overlap."""

    head: Span
    relation: str
    tail: Span


@dataclass(frozen=True, slots=True)
class Example:
    """One sentence of a corpus. From a SMiLER-format file: one triple, and the marks are removed from the text."""

    id: str
    language: str
    text: str
    triples: tuple[Triple, ...]
    file: str
    line: int
