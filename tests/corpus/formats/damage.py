"""Damaged files for property tests: values of JSON in other places and of other types, and bytes that changed."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.sampled_from([10**30, -(10**30), 1.5, "", "\ud800", "right"])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


def _places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths of everything inside of a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from _places(item, (*path, key))


@st.composite
def damaged(draw: Callable, value: Any) -> Any:
    """The value with up to four of its inner values replaced or removed."""
    value = deepcopy(value)
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(value))
        if not places:
            break
        *path, last = draw(st.sampled_from(places))
        inner = value
        for key in path:
            inner = inner[key]
        if draw(st.booleans()):
            inner[last] = draw(VALUES)
        else:
            del inner[last]
    return value


@st.composite
def damaged_bytes(draw: Callable, content: bytes) -> bytes:
    """The file with some bytes replaced, or its end cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 5))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.sampled_from([len(changed), len(changed) // 2]))])


def lines(*values: Any) -> bytes:
    """JSON lines."""
    return "".join(json.dumps(value) + "\n" for value in values).encode()
