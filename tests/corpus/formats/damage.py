"""Damaged files for property tests: values of JSON in other places and of other types, and bytes that changed."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Files = dict[str, bytes]
"""Contents by path below a folder."""

# no value of Python is written as these, so they are put in as text: a number that is infinite once read, one of too
# many digits for Python, nesting that is too deep for it, and what isn't JSON
_RAW = {"@inf@": "1e999", "@digits@": "9" * 5000, "@deep@": "[" * 5000 + "]" * 5000, "@nan@": "NaN"}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.sampled_from([10**6, 2**31, 2**63, 10**30, -(10**30), 10**400, 1.5, 1.0, -0.0, 1e300])
    | st.sampled_from([*_RAW, "", " ", "\ud800", "\x00", "\u2028", "e\u0301", "🜚", "right"])
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


def damaged_files(files: Files) -> st.SearchStrategy[Files]:
    """One to three kinds of damage to one of the files, or a file that is missing or empty."""

    @st.composite
    def draw_files(draw: st.DrawFn) -> Files:
        name = draw(st.sampled_from(sorted(files)))
        content = files[name]
        kinds = [_in_bytes, _in_lines, *([_in_json] * 3 if _parsed(content) else [])]
        for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3)):
            content = kind(draw, content)
        return {**files, name: content}

    return draw_files()


def _place(draw: st.DrawFn, content: bytes) -> int:
    return draw(st.integers(0, len(content)))


def _in_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    a, b = sorted((_place(draw, content), _place(draw, content)))
    new = draw(
        st.one_of(st.binary(max_size=4), st.sampled_from([b"\xff", b"\x00", b"\xed\xa0\x80", b"\r\n", b'"', b"\t"]))
    )
    how = draw(st.sampled_from(["flip", "flip", "insert", "cut", "drop", "double", "empty", "utf-16", "bom", "crlf"]))
    return {
        "flip": lambda: content[:a] + new + content[a + len(new) :],
        "insert": lambda: content[:a] + new + content[a:],
        "cut": lambda: content[:a],
        "drop": lambda: content[:a] + content[b:],
        "double": lambda: content[:b] + content[a:],
        "empty": lambda: b"",
        "utf-16": lambda: content.decode("utf-8", "replace").encode("utf-16"),
        "bom": lambda: b"\xef\xbb\xbf" + content,
        "crlf": lambda: content.replace(b"\n", b"\r\n"),
    }[how]()


def _in_lines(draw: st.DrawFn, content: bytes) -> bytes:
    lines = content.split(b"\n")
    a, b = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    how = draw(st.sampled_from(["swap", "drop", "double", "blank", "join"]))
    if how == "swap":
        lines[a], lines[b] = lines[b], lines[a]
    elif how == "drop":
        del lines[a]
    elif how == "join":
        lines[a : a + 2] = [b"".join(lines[a : a + 2])]
    else:
        lines.insert(b, lines[a] if how == "double" else b"")
    return b"\n".join(lines)


def _in_json(draw: st.DrawFn, content: bytes) -> bytes:
    """Replaces, renames, drops, doubles or swaps a value anywhere inside."""
    documents = _parsed(content)
    if not documents:
        return content
    places = list(_places(documents))
    holder, key = places[draw(st.integers(0, len(places) - 1))]
    how = draw(st.sampled_from(["replace"] * 5 + ["move", "drop", "double"]))
    if how == "replace":
        holder[key] = draw(VALUES)
    elif how == "move":
        other, name = places[draw(st.integers(0, len(places) - 1))]
        holder[key] = json.loads(json.dumps(other[name]))
    elif how == "drop":
        del holder[key]
    elif isinstance(holder, list):
        holder.insert(draw(st.integers(0, len(holder))), json.loads(json.dumps(holder[key])))
    else:
        holder[draw(st.text(max_size=3))] = holder.pop(key)
    written = "\n".join(json.dumps(document) for document in documents) + "\n"
    for stand_in, raw in _RAW.items():
        written = written.replace(f'"{stand_in}"', raw)
    return written.encode()


def _parsed(content: bytes) -> list[Any]:
    """The one JSON value of a file, or those of its lines; none if it is not JSON."""
    readers: list[Callable[[], list[Any]]] = [
        lambda: [json.loads(content)],
        lambda: [json.loads(line) for line in content.split(b"\n") if line.strip()],
    ]
    for reader in readers:
        try:
            return [value for value in reader() if isinstance(value, dict | list) and value]
        except (ValueError, RecursionError):
            continue
    return []
