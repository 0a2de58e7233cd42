"""Language files -> compiled sentence patterns, name lists and clauses.

A file has sections: `[kind NAME]` (a name list), `[label NAME]` (patterns), `[before]`, `[after]`, `[aside]` (clauses),
`[facts]` (patterns with several entities) and `[join]` (what stands for the full stop between two sentences).
Braces in their lines: `{head}`, `{tail:kind}` (the entities), `{kind}` (another name, or a part of one), `{^kind}`
(with a capital first letter), `{a|b}` (one of these texts), `{1850..2023}`, `{100..9000:,}` (a number), `{#5}` (digits)
and, in a pattern, `{aside}`. A clause of `[after]` that starts with a comma or semicolon continues the sentence before.
A line of `[facts]` is `text => a LABEL b, c LABEL d`, its entities `{a:kind}` to `{f:kind}`; `{(a}` and `{a)}` stand
around the text of an entity that has another one in its name.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mere_ds.corpus.synthetic.parts import Aside, Choice, Digits, DrawnParts, Edge, Entity, Name, Number, Part, Parts
from mere_ds.corpus.synthetic.roles import LABEL_KINDS

LANGUAGES_DIR = Path(__file__).parent / "languages"

_SECTION = re.compile(r"\[(kind|label) ([A-Za-z0-9_-]+)\]|\[(before|after|aside|facts|join)\]")
_BRACE = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"(\d+)\.\.(\d+)(?::([,._]|ar|fa,?))?")
_DIGITS = re.compile(r"#(\d+)(?::(ar|fa))?")
_ENTITY = re.compile(r"(\^?)(head|tail|[a-f](?=:))(?::([a-z0-9_]+))?")
_EDGE = re.compile(r"\(([a-f])|([a-f])\)")
_ARROW = " => "
_NAME = re.compile(r"(\^?)([a-z0-9_]+)")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One core sentence: its parts, the kinds of its entities, and whether the head comes first."""

    parts: Parts
    head: str
    tail: str
    head_first: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """A sentence that states any number of triples: its parts, and (slot of the head, label, slot of the tail) each."""

    parts: Parts
    triples: tuple[tuple[str, str, str], ...]


@dataclass(slots=True)
class Language:
    """One compiled language file. `entity_kinds` are the kinds whose names are split into training and test names."""

    kinds: dict[str, list[DrawnParts]] = field(default_factory=dict)
    labels: dict[str, list[Pattern]] = field(default_factory=dict)
    clauses: dict[str, list[DrawnParts]] = field(default_factory=lambda: {"before": [], "after": [], "aside": []})
    facts: list[Facts] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)
    entity_kinds: set[str] = field(default_factory=set)

    def kinds_within(self, kind: str) -> set[str]:
        """The kind and those that it consists of without change (`person` = `{person_f}` | ...)."""
        found: set[str] = set()
        todo = [kind]
        while todo:
            if (kind := todo.pop()) not in found:
                found.add(kind)
                todo += [parts[0].kind for parts in self.kinds[kind] if len(parts) == 1 and isinstance(parts[0], Name)]
        return found


@cache
def load_language(code: str) -> Language:
    """The language of `languages/<code>.txt`, compiled once per process. Raises ValueError that lists all errors."""
    return parse_language((LANGUAGES_DIR / f"{code}.txt").read_text(encoding="utf-8"))


def parse_language(text: str) -> Language:
    """Compile a language file's text. Raises ValueError that lists all errors with line numbers."""
    language, faults = Language(), []
    add: Callable[[str], None] | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if line.startswith("["):
                add = _open_section(language, line)
            elif add is None:
                raise ValueError("a line before the first section")
            else:
                add(line)
        except ValueError as fault:
            faults.append(f"line {number}: {fault}: {line}")
    faults += _unknown_kinds(language)
    if faults:
        raise ValueError("\n".join(faults))
    language.entity_kinds = _entity_kinds(language)
    return language


def _open_section(language: Language, line: str) -> Callable[[str], None]:
    """The function that handles the lines of the section that this line opens."""
    match = _SECTION.fullmatch(line)
    if not match:
        raise ValueError("not a section")
    what, name, clause = match.groups()
    if clause == "facts":
        return lambda text: language.facts.append(_facts(text))
    if clause == "join":
        return language.joins.append
    if clause:
        return lambda text: language.clauses[clause].append(_drawn_parts(text))
    if what == "kind":
        if name in ("head", "tail", "aside"):
            raise ValueError("a kind may not have this name")
        alternatives = language.kinds.setdefault(name, [])
        return lambda text: alternatives.extend(_drawn_parts(one.strip()) for one in text.split(" | "))
    if name not in LABEL_KINDS:
        raise ValueError("unknown label")
    patterns = language.labels.setdefault(name, [])
    return lambda text: patterns.append(_pattern(name, text))


def _pattern(label: str, text: str) -> Pattern:
    default = dict(zip(("head", "tail"), LABEL_KINDS[label], strict=True))
    parts = tuple(
        Entity(part.slot, part.kind or default[part.slot], part.capital) if isinstance(part, Entity) else part
        for part in _parts(text)
    )
    entities = [part for part in parts if isinstance(part, Entity)]
    if sorted(entity.slot for entity in entities) != ["head", "tail"]:
        raise ValueError("head and tail must occur exactly once each")
    kinds = {entity.slot: entity.kind for entity in entities}
    return Pattern(parts, kinds["head"], kinds["tail"], entities[0].slot == "head")


def _facts(text: str) -> Facts:
    sentence, _, stated = text.partition(_ARROW)
    triples = tuple((head, label, tail) for head, label, tail in map(_triple, stated.split(", ")))
    parts = _parts(sentence)
    slots = [part.slot for part in parts if isinstance(part, Entity) or isinstance(part, Edge) and part.closes]
    if len(set(slots)) < len(slots) or {slot for head, _, tail in triples for slot in (head, tail)} != set(slots):
        raise ValueError("each entity must stand once in the text and have a triple")
    if any(isinstance(part, Entity) and not part.kind for part in parts):
        raise ValueError("an entity without a kind")
    if len(set(triples)) < len(triples):
        raise ValueError("a triple twice")
    opened: list[str] = []
    for part in parts:
        if isinstance(part, Edge):
            if part.closes and (not opened or opened.pop() != part.slot):
                raise ValueError("the edges of a name must be in order")
            opened += [] if part.closes else [part.slot]
    if opened:
        raise ValueError("a name that doesn't end")
    return Facts(parts, triples)


def _triple(text: str) -> tuple[str, str, str]:
    found = text.split(" ")
    if len(found) != 3 or found[1] not in LABEL_KINDS or found[0] == found[2]:
        raise ValueError("not a triple")
    return found[0], found[1], found[2]


def _drawn_parts(text: str) -> DrawnParts:
    parts = _parts(text)
    drawn = tuple(part for part in parts if not isinstance(part, Entity | Edge | Aside))
    if len(drawn) < len(parts):
        raise ValueError("entities and {aside} are only allowed in patterns")
    return drawn


def _parts(text: str) -> Parts:
    """A line as literal texts and parts to draw."""
    pieces = _BRACE.split(text)
    if any(brace in piece for piece in pieces[::2] for brace in "{}"):
        raise ValueError("unbalanced brace")
    if any(mark in text for mark in "<>\t"):
        raise ValueError("a mark or a tab")
    if not text:
        raise ValueError("an empty alternative")
    parts = [_brace(piece) if index % 2 else piece for index, piece in enumerate(pieces)]
    return tuple(part for part in parts if part != "")


def _brace(inside: str) -> Part:
    if inside == "aside":
        return Aside()
    if "|" in inside:
        return Choice(tuple(inside.split("|")))
    if match := _NUMBER.fullmatch(inside):
        low, high, form = int(match[1]), int(match[2]), match[3] or ""
        if low > high:
            raise ValueError("an empty range")
        return Number(low, high, form)
    if match := _DIGITS.fullmatch(inside):
        return Digits(int(match[1]), match[2] or "")
    if match := _ENTITY.fullmatch(inside):
        return Entity(match[2], match[3] or "", bool(match[1]))
    if match := _EDGE.fullmatch(inside):
        return Edge(match[1] or match[2], bool(match[2]))
    if match := _NAME.fullmatch(inside):
        return Name(match[2], bool(match[1]))
    raise ValueError(f"cannot read {{{inside}}}")


def _lines(language: Language) -> Iterator[tuple[str, Parts]]:
    """Every compiled line with the name of its section."""
    for kind, alternatives in language.kinds.items():
        yield from ((f"kind {kind}", parts) for parts in alternatives)
    for label, patterns in language.labels.items():
        yield from ((f"label {label}", pattern.parts) for pattern in patterns)
    for place, clauses in language.clauses.items():
        yield from ((place, parts) for parts in clauses)
    yield from (("facts", facts.parts) for facts in language.facts)


def _unknown_kinds(language: Language) -> list[str]:
    used = {
        (where, part.kind) for where, parts in _lines(language) for part in parts if isinstance(part, Name | Entity)
    }
    return [f"[{where}]: kind {kind} is not defined" for where, kind in sorted(used) if kind not in language.kinds]


def _entity_kinds(language: Language) -> set[str]:
    """The kinds of all entities, and the kinds that they consist of without change."""
    patterns = [pattern.parts for of_label in language.labels.values() for pattern in of_label]
    entities = [part for parts in (*patterns, *(f.parts for f in language.facts)) for part in parts]
    return set().union(*(language.kinds_within(part.kind) for part in entities if isinstance(part, Entity)))
