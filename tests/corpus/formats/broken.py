"""Damage to the files of any format, drawn from a seed: bytes, lines, values of JSON, and numbers in texts."""

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any

from tests.corpus.formats.damage import Files

_RAW = {"@inf@": "1e999", "@digits@": "9" * 5000, "@nan@": "NaN", "@minus@": "-Infinity"}
_RAW |= {f"@deep{depth}@": "[" * depth + "]" * depth for depth in (90, 400, 960, 5000)}
_RAW |= {f"@objects{depth}@": '{"a":' * depth + "1" + "}" * depth for depth in (400, 960)}
"""What no value of Python is written as, by what stands for it until it is put in as text."""

_NUMBERS = [0, 1, 2, 3, 7, 40, -1, -3, 10**6, 2**31, 2**63, -(2**63), 10**30, -(10**30), 10**400, 1.0, 1.5, -0.0, 1e300]
_STRINGS = ["", " ", "x", "0", "1", "T1", "right", "\ud800", "a\udc00", "\x00", "\u2028", "\u200b", "e\u0301", "🜚", "é"]
_SINGLE = [None, True, False, *_NUMBERS, *_STRINGS, *_RAW]
_AGAIN = "@again@"  # in front of a key that its object has already

_BYTES = [
    b"\xff",
    b"\x00",
    b"\xed\xa0\x80",
    b"\r\n",
    b"\n",
    b"\r",
    b'"',
    b"\t",
    b" ",
    b"\\",
    b"|",
    b";",
    b"[",
    b"}",
    b"*",
]
_BYTES += ["\u0301".encode(), "\U0001f70a".encode(), "\u2028".encode(), "\ufeff".encode(), b"<", b"_", b":", b"9" * 30]
_DEEP = (b"[" * 60, b'{"a":' * 60)
_NUMBER = re.compile(rb"[0-9]+")


def broken(chance: Random, files: Files) -> Files:
    """One to three kinds of damage to one of the files; now and then all of its content is gone."""
    name = chance.choice(sorted(files))
    content = files[name]
    if chance.random() < 0.01:
        return {**files, name: b""}
    kinds: list[Callable[[Random, bytes], bytes]] = [_in_bytes, _in_lines, _in_numbers]
    for _ in range(chance.choice((1, 1, 2, 3))):
        its = [*kinds, *([_in_json] * 4 if _parsed(content) else [])]
        content = chance.choice(its)(chance, content)
    return {**files, name: content}


def value(chance: Random) -> Any:
    """A value of JSON, seldom a nested one; strings of `_RAW` stand for what is written otherwise."""
    if chance.random() < 0.75:
        return chance.choice(_SINGLE)
    inner = [value(chance) for _ in range(chance.randrange(4))]
    return inner if chance.random() < 0.6 else {str(chance.choice(_STRINGS)): item for item in inner}


def _in_bytes(chance: Random, content: bytes) -> bytes:
    a, b = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    new = chance.choice(_BYTES) if chance.random() < 0.7 else chance.randbytes(chance.randrange(1, 4))
    match chance.choice(["flip", "flip", "insert", "insert", "cut", "drop", "double", "whole"]):
        case "flip":
            return content[:a] + new + content[a + len(new) :]
        case "insert":
            return content[:a] + new + content[a:]
        case "cut":
            return content[:a]
        case "drop":
            return content[:a] + content[min(b, a + chance.randrange(40)) :]
        case "double":
            return content[:b] + content[a:]
    return _encoded_otherwise(chance, content)


def _encoded_otherwise(chance: Random, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    return chance.choice(
        [
            text.encode("utf-16"),
            text.encode("latin-1", "replace"),
            b"\xef\xbb\xbf" + content,
            content.replace(b"\n", b"\r\n"),
            content.replace(b"\n", b"\r"),
        ]
    )


def _in_lines(chance: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    a, b = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.choice(["swap", "drop", "double", "double", "blank", "join", "shuffle"]):
        case "swap":
            lines[a], lines[b] = lines[b], lines[a]
        case "drop":
            del lines[a]
        case "double":
            lines.insert(b, lines[a])
        case "blank":
            lines.insert(b, b"")
        case "join":
            lines[a : a + 2] = [b"".join(lines[a : a + 2])]
        case "shuffle":
            chance.shuffle(lines)
    return b"\n".join(lines)


def _in_numbers(chance: Random, content: bytes) -> bytes:
    """Moves a number that the file states, such as an offset."""
    found = list(_NUMBER.finditer(content))
    if not found:
        return content
    number = chance.choice(found)
    moved = int(number[0][-18:]) + chance.choice((-2, -1, 1, 2, 3, 100, 10**9, 10**19))
    return content[: number.start()] + str(moved).encode() + content[number.end() :]


def _in_json(chance: Random, content: bytes) -> bytes:
    """Replaces, moves, renames, drops or doubles a value anywhere inside, or states a key twice."""
    documents = _parsed(content)
    places = list(_places(documents))
    if not places:
        return content
    holder, key = chance.choice(places)
    is_list = isinstance(holder, list)
    match chance.choice(["replace"] * 5 + ["shift", "move", "drop", "double", "again"]):
        case "shift" if type(holder[key]) is int:
            holder[key] += chance.choice((-2, -1, 1, 2))
        case "replace" | "shift":
            holder[key] = value(chance)
        case "move":
            other, name = chance.choice(places)
            holder[key] = deepcopy(other[name])
        case "drop":
            del holder[key]
        case "double" if is_list:
            holder.insert(chance.randrange(len(holder) + 1), deepcopy(holder[key]))
        case "again" if not is_list:
            holder[_AGAIN + key] = value(chance) if chance.random() < 0.5 else deepcopy(holder[key])
        case _ if not is_list:
            holder[str(chance.choice(_STRINGS))] = holder.pop(key)
    return _written(documents, is_array=content.lstrip()[:1] == b"[")


def _written(documents: list[Any], is_array: bool) -> bytes:
    text = json.dumps(documents[0]) if is_array and documents else "\n".join(map(json.dumps, documents)) + "\n"
    for stand_in, raw in _RAW.items():
        text = text.replace(f'"{stand_in}"', raw)
    return text.replace(_AGAIN, "").encode()


def _places(holder: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested lists and objects, as what holds it and its key."""
    for key in range(len(holder)) if isinstance(holder, list) else list(holder):
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


def _parsed(content: bytes) -> list[Any]:
    """A list of the one JSON value of a file, or of those of its lines; empty if it is not JSON, or nested deep."""
    if any(deep in content for deep in _DEEP):
        return []
    for parts in ([content], [line for line in content.split(b"\n") if line.strip()]):
        try:
            found = [json.loads(part) for part in parts]
        except (ValueError, RecursionError):
            continue
        if found and all(isinstance(value, dict | list) for value in found):
            return found
    return []
