"""Which column of a table holds which of our fields: what --map says, and names that are obvious."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.table_files import Shape, Table
from mere_ds.corpus.rows import Rejected
from mere_ds.errors import UserError

Get = Callable[[Any], Any]
"""A field's value in a row, or in one of its relations; None where there is none. Raises Rejected."""

OFFSETS = ("head_start", "head_end", "tail_start", "tail_end")
TEXTS = ("head", "tail")
OF_RELATION = ("relation", *TEXTS, *OFFSETS)
OF_ROW = ("text", "tokens", "id", "lang", "split", "triples")
FIELDS = (*OF_ROW, *OF_RELATION, *(f"triples.{name}" for name in OF_RELATION))
"""What --map can name."""

_SIDES = {"head": ("head", "subj"), "tail": ("tail", "obj")}
OBVIOUS = {
    "text": ("text", "sentence"),
    "tokens": ("tokens", "token", "words"),
    "id": ("id",),
    "lang": ("lang", "language"),
    "split": ("split",),
    "triples": ("triples", "relations"),
    "relation": ("relation", "label"),
    **{role: tuple(name for side in sides for name in (side, f"{side}.text")) for role, sides in _SIDES.items()},
    **{
        f"{role}_{end}": tuple(name for side in sides for name in (f"{side}_{end}", f"{side}.{end}", f"{side}.{place}"))
        for role, sides in _SIDES.items()
        for end, place in (("start", 0), ("end", 1))
    },
}
"""Columns that are taken for a field which --map doesn't name, the first that there is."""

_KINDS: dict[str, tuple[type, ...]] = {"tokens": (list,), "triples": (list, dict)}  # all others are single values
_MOST_LISTED = 40

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Fields:
    """How to get at the fields of a row."""

    row: Mapping[str, Get]
    """Of `OF_ROW`, what there is."""
    relation: Mapping[str, Get]
    """Of `OF_RELATION`, what there is; each from an item of row["triples"] if that is there, else from the row."""
    columns: tuple[str, ...]
    """Of the table, what these take."""


def fields_of(table: Table, options: SourceOptions) -> Fields:
    """Raises UserError that says what is wrong in --map, or which fields it should name."""
    return _Finding(table, options).fields()


class _Finding:
    def __init__(self, table: Table, options: SourceOptions):
        self._table, self._options = table, options
        self._given = options.columns
        for name in self._given:
            if name not in FIELDS:
                raise UserError(f"--map={name}=...: no such field{_meant(name, FIELDS)}; fields: {', '.join(FIELDS)}")

    def fields(self) -> Fields:
        paths = {name: path for name in OF_ROW if (path := self._path(name, self._table.columns, ""))}
        if any(name in self._given for name in OF_RELATION):
            paths.pop("triples", None)
        if "text" in paths and "tokens" in paths:
            paths.pop(self._superfluous())
        inner: Shape = self._table.columns
        prefix = ""
        if "triples" in paths:
            inner, prefix = _item(_at(self._table.columns, paths["triples"])), "triples."
        of_relation = {name: path for name in OF_RELATION if (path := self._path(name, inner, prefix))}
        self._ask(paths, of_relation, prefix)
        if not all(name in of_relation for name in OFFSETS):
            of_relation = {name: path for name, path in of_relation.items() if name not in OFFSETS}
        start = paths.get("triples", ())
        row = {name: self._get(path, path) for name, path in paths.items()}
        relation = {name: self._get(path, (*start, *path)) for name, path in of_relation.items()}
        taken: list[Path] = [*paths.values(), *(() if start else of_relation.values())]
        columns = tuple(dict.fromkeys(str(path[0]) for path in taken))
        if several := self._table.several & {*columns}:
            raise UserError(f"{self._table.path}: has several columns named {min(several)}: rename them")
        return Fields(row, relation, columns)

    def _superfluous(self) -> str:
        """Which of text and tokens is not needed where the table has both."""
        given = [name for name in ("text", "tokens") if name in self._given]
        if len(given) == 2:
            raise UserError("--map: names both text and tokens: leave one out")
        wanted = given[0] if given else "tokens" if self._options.offsets == "token" else "text"
        return "text" if wanted == "tokens" else "tokens"

    def _path(self, name: str, shape: Shape, prefix: str) -> Path | None:
        """Where a field is in a row or relation of this shape."""
        if column := self._given.get(prefix + name):
            if path := find(shape, column):
                return path
            there = list(leaves(shape))
            raise UserError(
                f"--map={prefix}{name}={column}: {self._table.path} has no such column"
                f"{' in its triples' if prefix else ''}{_meant(column, there)}; there are {_listed(there)}"
            )
        if name == "lang" and self._options.lang:
            return None  # what is said by a flag isn't looked for
        kind = _KINDS.get(name, (type(None),))
        found = (find(shape, column) for column in OBVIOUS[name])
        return next((path for path in found if path and isinstance(_at(shape, path), kind)), None)

    def _ask(self, paths: Mapping[str, Path], of_relation: Mapping[str, Path], prefix: str) -> None:
        """Raises UserError if something is missing that is needed."""
        missing = [] if "text" in paths or "tokens" in paths else ["text"]
        missing += [] if "relation" in of_relation else [f"{prefix}relation"]
        offsets = [name for name in OFFSETS if name not in of_relation]
        offsets_given = any(prefix + name in self._given for name in OFFSETS)
        if offsets and (offsets_given or not all(name in of_relation for name in TEXTS)):
            missing += [prefix + name for name in offsets]
        if missing:
            alone = f" (or {prefix}head and {prefix}tail, their texts alone)" if len(offsets) == len(OFFSETS) else ""
            raise UserError(
                f"{self._table.path}: which columns hold {', '.join(missing)}{alone}? It has "
                f"{_listed(list(leaves(self._table.columns)))}: pass --map={missing[0]}=COLUMN,..."
            )

    def _get(self, path: Path, whole: Path) -> Get:
        """`path` leads to the value; `whole` does so from the table's columns."""
        names = class_names(self._table.features, whole)
        get = _getter(path)
        return get if names is None else lambda row: _class_name(names, get(row))


def find(shape: Shape, name: str) -> Path | None:
    """Where a column is whose name has dots for the fields of structs and numbers for the places of lists.

    A column that has dots in its own name comes first.
    """
    if isinstance(shape, list):
        first, _, rest = name.partition(".")
        if not (first.isascii() and first.isdigit()):
            return None
        inner = find(shape[0], rest) if rest else ()
        return None if inner is None else (int(first), *inner)
    if not isinstance(shape, dict):
        return None
    if name in shape:
        return (name,)
    for at, character in enumerate(name):
        if character == "." and name[:at] in shape and (path := find(shape[name[:at]], name[at + 1 :])):
            return (name[:at], *path)
    return None


def leaves(shape: Shape, prefix: str = "") -> Iterator[str]:
    """The names of all single values and lists, with dots, as --map takes them."""
    if isinstance(shape, dict):
        for name, inner in shape.items():
            yield from leaves(inner, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix


def class_names(features: Any, path: Path) -> list[str] | None:
    """The names of Hugging Face's class labels at a place, None where there are none."""
    for part in path:
        features = features.get("feature") if isinstance(part, int) else _unlisted(features).get(part)
        features = features if isinstance(features, dict) else {}
    kind = _unlisted(features)
    names = kind.get("names") if kind.get("_type") == "ClassLabel" else None
    return [str(name) for name in names] if isinstance(names, list) else None


def _unlisted(features: dict[str, Any]) -> dict[str, Any]:
    """Of a list, what Hugging Face's types say of its items."""
    while isinstance(features.get("_type"), str) and isinstance(inner := features.get("feature"), dict):
        features = inner
    return features


def _class_name(names: list[str], value: Any) -> Any:
    """-1 means that there is none. Raises Rejected for a number without a name."""
    if type(value) is not int:
        return value
    if not -1 <= value < len(names):
        raise Rejected("wrong_keys")
    return None if value == -1 else names[value]


def _getter(path: Path) -> Get:
    """Of one part or two, as nearly all have, without a loop."""
    first, *rest = path
    if not rest:

        def get_first(row: Any) -> Any:
            try:
                return row[first]
            except (KeyError, IndexError, TypeError):
                return None

        return get_first
    if len(rest) == 1:
        [second] = rest

        def get_second(row: Any) -> Any:
            try:
                return row[first][second]
            except (KeyError, IndexError, TypeError):
                return None

        return get_second

    def get(row: Any) -> Any:
        for part in path:
            try:
                row = row[part]
            except (KeyError, IndexError, TypeError):
                return None
        return row

    return get


def _at(shape: Shape, path: Path) -> Shape:
    for part in path:
        shape = shape[0] if isinstance(shape, list) else shape[str(part)] if isinstance(shape, dict) else None
    return shape


def _item(shape: Shape) -> Shape:
    """The shape of a relation: an item of a list, or a struct of lists, as Hugging Face has it."""
    if isinstance(shape, dict):
        return {name: inner[0] if isinstance(inner, list) else inner for name, inner in shape.items()}
    return shape[0] if isinstance(shape, list) else None


def _meant(name: str, names: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, 3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_LISTED
    shown = (name if name.isprintable() else repr(name) for name in names[:_MOST_LISTED])
    return f"the columns {', '.join(shown)}{f' and {more} more' if more > 0 else ''}"
