"""Records of one text, two entities and their relation, which several corpora have in different shapes."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from mere_ds.corpus.formats.json_rows import Row
from mere_ds.corpus.formats.stated import Link, Mention, Stated, Unreadable
from mere_ds.corpus.formats.values import string
from mere_ds.corpus.rows import Rejected

NOTES = {"reversed": "the label ends in (e2,e1), so the second entity is the head"}
"""Of links that `directed` makes."""

How = TypeVar("How")

_DIRECTION = re.compile(r"\(\s*(e1\s*,\s*e2|e2\s*,\s*e1)\s*\)\s*$")


def directed(first: Mention, label: str, second: Mention, raw: str, notes: tuple[str, ...] = ()) -> Link:
    """The relation of a pair whose label may end in (e1,e2) or (e2,e1), which is then no part of the label.

    In SemEval-2010's Task 8 and all that copied it, the file's entities are in the order of the text, and only this
    ending says which is the head. A label without it, such as Other, keeps the file's order.
    """
    direction = _DIRECTION.search(label)
    label = label[: direction.start()] if direction else label
    if direction and direction[1].startswith("e2"):
        return Link(second, label, first, raw, notes=("reversed", *notes))
    return Link(first, label, second, raw, notes=notes)


def stated_or_not(row: Row, stated: Callable[[Row, How], Stated], how: How) -> Stated | Unreadable:
    """`stated(row, how)`, or the reason for which it raises Rejected."""
    try:
        return stated(row, how)
    except Rejected as rejected:
        return Unreadable(row.place, str(rejected), row.raw, row.size, relations=1)


def label_of(value: Any) -> str:
    """A label; a number, as in files that were made with Hugging Face datasets, is taken as the label's name."""
    return str(value) if type(value) is int else string(value)


def id_of(value: Any, place: int) -> str:
    """An id, or the record's place if it has none."""
    return str(value if type(value) in (int, str) and value != "" else place)
