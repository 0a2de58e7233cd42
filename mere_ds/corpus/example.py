"""One sentence of a corpus with its triple, as character spans."""

from dataclasses import dataclass

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Example:
    """One sentence of a SMiLER-format file, with the marks removed from the text.

    `head` and `tail` are half-open character spans of `text`: `text[head[0]:head[1]]` is entity 1 (the head, `<e1>`)
    and `text[tail[0]:tail[1]]` entity 2 (the tail, `<e2>`). Both are non-empty and lie inside `text`.
    """

    id: str
    language: str
    label: str
    text: str
    head: Span
    tail: Span
    file: str
    line: int
