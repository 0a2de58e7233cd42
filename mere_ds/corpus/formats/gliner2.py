"""GLiNER2's training files: JSON lines of a text and relations between strings, in roles of any names."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from mere_ds.corpus.formats import locating
from mere_ds.corpus.formats.json_rows import Row, json_files, json_rows, shown, unreadable
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Stated, Unreadable
from mere_ds.corpus.formats.values import is_strings

_KEYS = (("input", "output"), ("text", "schema"))


def _recognise(sample: Sample) -> str | None:
    for text, said in _KEYS:
        if isinstance(sample.first.get(text), str) and isinstance(sample.first.get(said), dict):
            return f"{text} and {said}"
    return None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row, path, options)


def _stated(row: Row, path: Path, options: SourceOptions) -> Stated | Unreadable:
    key, said = next((keys for keys in _KEYS if keys[0] in row.value), _KEYS[0])
    match row.value.get(key), row.value.get(said):
        case str(text), {"relations": list(relations)}:
            pass
        case str(text), dict(output) if "relations" not in output:  # it has entities or other tasks alone
            relations = []
        case _:
            return unreadable(row, "wrong_keys", None)
    links = tuple(link for relation in relations for link in _links(relation, text, options))
    return Stated(row.place, f"{path.stem}-{row.place}", text, links, row.size, row.raw)


def _links(relation: Any, text: str, options: SourceOptions) -> Iterator[Link | Lost]:
    """An object of relations by their names; each role of one beyond two is lost."""
    if not isinstance(relation, dict) or not relation:
        yield Lost("wrong_keys", shown(relation))
        return
    for name, roles in relation.items():
        raw = shown({name: roles})
        if not isinstance(roles, dict) or not all(_strings(value) for value in roles.values()):
            yield Lost("wrong_keys", raw)
        elif len(roles) < 2:
            yield Lost("one_role", raw)
        else:
            yield from _between(text, name, roles, raw, options)


def _between(text: str, name: str, roles: dict[str, Any], raw: str, options: SourceOptions) -> Iterator[Link | Lost]:
    named = {"head", "tail"} <= roles.keys()
    head, tail = ("head", "tail") if named else list(roles)[:2]
    several = len(_strings(roles[head])) * len(_strings(roles[tail])) > 1
    notes = [note for note, holds in (("first_roles", not named), ("several_strings", several)) if holds]
    for a, b in product(_strings(roles[head]), _strings(roles[tail])):
        for link in locating.located(text, a, name, b, raw, options, any_case=True):
            yield link._replace(notes=(*link.notes, *notes)) if isinstance(link, Link) else link
    for role in roles:
        if role not in (head, tail):
            yield Lost("further_role", raw)


def _strings(value: Any) -> list[str]:
    """A role's string or strings; none if it has another type."""
    strings = value if isinstance(value, list) else [value]
    return strings if is_strings(strings) else []


FORMATS = (
    Format(
        name="gliner2",
        about="GLiNER2's training files: JSON lines with relations between strings",
        parts=json_files,
        recognise=_recognise,
        read=_read,
        flags=("ambiguous",),
        losses={
            **locating.LOSSES,
            "one_role": "the relation has fewer than two roles",
            "further_role": "a role beyond the head and tail of its relation",
        },
        notes={
            **locating.NOTES,
            **locating.CASE,
            "first_roles": "relations without roles named head and tail: the first two roles are taken",
            "several_strings": "relations with several strings in a role: each is combined with each of the other",
        },
    ),
)
