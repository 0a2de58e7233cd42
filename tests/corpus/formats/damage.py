"""Damaged files for property tests: values of JSON in other places and of other types, and bytes that changed."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Files = dict[str, bytes]
"""Contents by path below a folder."""

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.sampled_from([10**6, 2**31, 2**63, 10**30, -(10**30), 10**400, 1.5, 1.0, -0.0, 1e300])
    | st.sampled_from(["", " ", "\ud800", "\x00", "\u2028", "e\u0301", "🜚", "right"])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested lists and objects, as what holds it and its key."""
    for key in range(len(value)) if isinstance(value, list) else value:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


@st.composite
def damaged(draw: Callable, value: Any) -> Any:
    """The value with up to four of its inner values replaced or removed."""
    value = deepcopy(value)
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(value)) if isinstance(value, dict | list) else []
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        if draw(st.booleans()):
            holder[key] = draw(VALUES)
        else:
            del holder[key]
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
