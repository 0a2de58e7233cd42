"""How many records and relations the files of a format state, counted without the format's reader."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.streams import BOM

Row = dict[str, Any]


class Stated(NamedTuple):
    """What a file states."""

    records: int
    relations: int
    """At least, unless these are all."""
    are_all: bool = True


def stated_in(name: str, path: Path) -> Stated | None:
    """Of what a format's reader has read without an error; None where only the reader can tell."""
    if name == "brat":
        return _in_standoff(path)
    if (name not in _IN_ROWS and name not in ("fewrel", "marked-text")) or path.suffix in (".csv", ".parquet"):
        return None
    content = path.read_bytes().removeprefix(BOM)
    if name == "marked-text":
        marked = len(_MARKED.findall(content))
        return Stated(marked, marked, are_all=False)
    if name == "fewrel":
        found = json.loads(content).values()
        rows = sum(len(rows) if isinstance(rows, list) else 1 for rows in found)
        return Stated(rows, rows)
    count, are_all = _IN_ROWS[name]
    values = _values(content)
    return Stated(len(values), sum(count(value) for value in values if isinstance(value, dict)), are_all)


_MARKED = re.compile(rb"^[^\s<>]+ *\t[^\n]*<e1>", re.MULTILINE)
_STANDOFF = re.compile(rb"^(?:R[0-9]+|\*)\t", re.MULTILINE)


def _in_standoff(folder: Path) -> Stated:
    """A `*` line may be several relations."""
    names = {path.stem for path in folder.iterdir()}
    lines = sum(len(_STANDOFF.findall(path.read_bytes().removeprefix(BOM))) for path in folder.glob("*.ann"))
    return Stated(len(names), lines, are_all=False)


def _listed(*keys: str) -> Callable[[Row], int]:
    """The items of the list under the first of the keys that there is."""

    def count(row: Row) -> int:
        value = next((row[key] for key in keys if key in row), None)
        return len(value) if isinstance(value, list) else 0

    return count


def _in_columns(row: Row) -> int:
    """As `_listed`, or the items of each of an object's lists."""
    value = row.get("triples", row.get("relations"))
    lists = list(value.values()) if isinstance(value, dict) else [value]
    are_even = all(isinstance(column, list) for column in lists) and len(set(map(len, lists))) == 1
    return len(lists[0]) if are_even else 0


def _in_sentences(row: Row) -> int:
    lists = row.get("relations")
    return sum(map(len, lists)) if isinstance(lists, list) and all(isinstance(its, list) for its in lists) else 0


def _in_results(row: Row) -> int:
    """The items that are relations, each of which may have several labels, where the task can be read."""
    annotations = row.get("annotations")
    if not (isinstance(row.get("data"), dict) and isinstance(annotations, list)):
        return 0
    results = [annotation.get("result") if isinstance(annotation, dict) else None for annotation in annotations]
    if not all(isinstance(result, list) for result in results):
        return 0
    items = [item for result in results for item in result]
    if not all(isinstance(item, dict) and isinstance(item.get("type"), str) for item in items):
        return 0
    # without a label there's no relation to lose, and none to count
    return sum(item["type"] == "relation" and item.get("labels", [""]) != [] for item in items)


def _in_output(row: Row) -> int:
    """Objects of relations, each of which may have several."""
    text, said = ("input", "output") if "input" in row else ("text", "schema")
    output = row.get(said)
    relations = output.get("relations") if isinstance(output, dict) and isinstance(row.get(text), str) else None
    return len(relations) if isinstance(relations, list) else 0


_IN_ROWS: dict[str, tuple[Callable[[Row], int], bool]] = {
    "conll04": (_listed("relations"), True),
    "crossre": (_listed("relations"), True),
    "doccano": (_listed("relations"), True),
    "docred": (_listed("labels"), True),
    "duie": (_listed("triple_list", "spo_list", "triples"), False),
    "gliner2": (_in_output, False),
    "glirel": (_listed("relations"), True),
    "klue": (lambda row: 1, True),
    "label-studio": (_in_results, False),
    "nyt": (_listed("triple_list", "spo_list", "triples"), True),
    "opennre": (lambda row: 1, True),
    "prodigy": (_listed("relations"), True),
    "rebel": (_in_columns, True),
    "scierc": (_in_sentences, True),
    "table": (_in_columns, True),
    "tacred": (lambda row: 1, True),
}
"""Formats of a JSON object a record: how many relations it has, and whether these are all."""


def _values(content: bytes) -> list[Any]:
    """The items of an array, or the lines; None for one that is no JSON, or no object because it has a key twice."""
    if content.lstrip().startswith(b"["):
        return json.loads(content, object_pairs_hook=_object)
    lines = content.split(b"\n")
    return [_value(line) for line in (lines if lines[-1] else lines[:-1])]


def _value(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"), object_pairs_hook=_object, parse_constant=_none)
    except (ValueError, RecursionError):
        return None


def _none(name: str) -> None:
    raise ValueError(name)


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    return found if len(found) == len(pairs) else None
