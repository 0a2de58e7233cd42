"""Markdown in which words of users, such as labels, are only words."""

import re
import string
from collections.abc import Sequence

_MARKS = str.maketrans({mark: f"\\{mark}" for mark in string.punctuation})
_PLAIN = re.compile(r"[^\W_]+(?:(?:[-_ ]|, )[^\W_]+)*")
"""Words joined by signs that mean nothing between letters."""
_CODE = re.compile(r"[\w.,:/()\[\]+-]+(?: [\w.,:/()\[\]+-]+)*")
"""Words that can't end a piece of code or a table's cell."""


def plain(text: str) -> str:
    """`text` so that it is shown as it is, on one line: no mark of Markdown, HTML or a table in it has an effect, and
    what can't be seen, such as a line break or a sign that turns the direction, is shown as an escape."""
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return seen if _PLAIN.fullmatch(seen) else seen.translate(_MARKS)


def code(text: str) -> str:
    """`text` as a piece of code where that can't go wrong, else as `plain` gives it."""
    return f"`{text}`" if _CODE.fullmatch(text) and text.isprintable() else plain(text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table of cells that are Markdown already; the first `left` columns are left-aligned, the others right."""
    places = ["---" if place < left else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, places, *rows))
