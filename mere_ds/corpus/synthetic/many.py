"""Sentences with none, one or several triples, made of a language's patterns, facts, joins and clauses."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from mere_ds.corpus.example import Span
from mere_ds.corpus.synthetic.grammar import Facts, Language
from mere_ds.corpus.synthetic.parts import Choice, Edge, Entity, Name, Names, NoNameLeft
from mere_ds.corpus.synthetic.sentences import CONTINUATIONS, MOST_WORDS, Writer

TRIPLE_SHARES = (0.25, 0.25, 0.2, 0.15, 0.1, 0.05)
"""Share of the sentences with 0, 1, ... triples."""
OVERLAPS = ("normal", "same_entity", "same_pair", "same_relation", "both_directions", "nested")

_SEVERAL_SHARE = 0.6
_DISTRACTOR_SHARE = 0.15
_SAME_HEAD_SHARE = 0.4
_JOIN_SHARE = 0.6
_TRIES = 500
_MARK = re.compile(r"<(/?)(\d+)>")

Stated = tuple[Span, str, Span]
"""Head, relation, tail; half-open spans in code points."""


@dataclass(frozen=True, slots=True)
class ManySentence:
    """A text with its triples, in the order of the text, and the name that was written at each of their spans."""

    text: str
    triples: tuple[Stated, ...]
    names: dict[Span, str]


@dataclass(slots=True)
class _Named:
    """An entity of the sentence that is being written, and the labels that it is the head of."""

    surface: str
    kind: str
    labels: set[str]


class ManyWriter:
    """Writes sentences of one language for one side (training or test) from one random stream."""

    def __init__(self, language: Language, rng: Random, test: bool):
        self.language, self.writer = language, Writer(language, rng, test)
        self.names: Names = self.writer.names
        self._lines = _by_size(lines(language))
        self._sizes = sorted(size for size in self._lines if size > 1)
        self._within = {kind: language.kinds_within(kind) for kind in language.kinds}

    def sentence(self, count: int) -> ManySentence:
        """A sentence with `count` triples, at most `MOST_WORDS` words long, clauses around what states them."""
        for _ in range(_TRIES):
            with suppress(NoNameLeft):  # a kind of few names was asked for too often
                text, triples, entities = self._stating(count)
                if len(text.split()) <= MOST_WORDS:
                    self.names.avoid = tuple(entity.surface.casefold() for entity in entities)
                    text, spans = _unmarked(self.writer.with_clauses(text, MOST_WORDS))
                    stated = sorted((spans[head], label, spans[tail]) for head, label, tail in triples)
                    names = {spans[number]: entity.surface for number, entity in enumerate(entities)}
                    return ManySentence(text, tuple(stated), names)
        raise AssertionError(f"no sentence with {count} triples")

    def _stating(self, count: int) -> tuple[str, list[tuple[int, str, int]], list[_Named]]:
        """Marked text that states `count` triples, the triples by the numbers of their entities, the entities."""
        names, text = self.names, ""
        triples: list[tuple[int, str, int]] = []
        entities: list[_Named] = []
        while len(triples) < count or not text:
            facts = self._line(count - len(triples))
            slots, piece = self._written(facts, entities)
            triples += [(slots[head], label, slots[tail]) for head, label, tail in facts.triples]
            joins = self.language.joins
            if text and joins and facts.triples and _goes_on(facts) and names.random() < _JOIN_SHARE:
                text = f"{text.removesuffix('.')}{names.pick(joins)} {piece}"
            else:
                text = f"{text} {piece}".lstrip()
        return text, triples, entities

    def _line(self, left: int) -> Facts:
        """A line that states at most `left` triples; often as many as there are lines for."""
        sizes = [size for size in self._sizes if size <= left]
        if sizes and self.names.random() < _SEVERAL_SHARE:
            size = self.names.pick(sizes)
        else:
            size = int(left > 0 and self.names.random() >= _DISTRACTOR_SHARE)
        return self.names.pick(self.names.pick(self._lines[size]))

    def _written(self, facts: Facts, entities: list[_Named]) -> tuple[dict[str, int], str]:
        """The number of each slot's entity, which `entities` then has, and the marked text.

        No entity is named twice in a sentence, except that the head may be one that was named before, as long as it is
        the head of other labels then. Names with others in them are test names or training names too: drawn together.
        """
        names, start = self.names, len(entities)
        heads: dict[str, set[str]] = {}
        for head, label, _ in facts.triples:
            heads.setdefault(head, set()).add(label)
        for _ in range(_TRIES):
            names.avoid = tuple(entity.surface.casefold() for entity in entities)
            kinds = {part.slot: part.kind for part in facts.parts if isinstance(part, Entity)}
            surfaces = self._named_before(heads, kinds, entities)
            for slot, kind in kinds.items():
                if slot not in surfaces:
                    surfaces[slot] = names.surface(kind)
                    names.avoid += (surfaces[slot].casefold(),)
            slots = {slot: start + number for number, slot in enumerate(kinds)}
            composed = [part.slot for part in facts.parts if isinstance(part, Edge) and part.closes]
            slots |= {slot: start + len(kinds) + number for number, slot in enumerate(composed)}
            text = self.writer.marked(facts.parts, surfaces, {slot: str(number) for slot, number in slots.items()})
            plain, spans = _unmarked(text)
            surfaces |= {slot: plain[slice(*spans[slots[slot]])] for slot in composed}
            if all(names.allows(surfaces[slot]) for slot in composed):
                break
        else:
            raise NoNameLeft(f"no allowed name with others in it: {text}")
        entities += [_Named(surfaces[slot], kinds.get(slot, ""), heads.get(slot, set())) for slot in slots]
        return slots, text

    def _named_before(
        self, heads: dict[str, set[str]], kinds: dict[str, str], entities: list[_Named]
    ) -> dict[str, str]:
        """{slot: surface} of one head that was named before; mostly empty."""
        fitting = [
            (slot, entity)
            for slot, labels in heads.items()
            for entity in entities
            if slot in kinds and entity.kind in self._within[kinds[slot]]
            if not any(labels & other.labels for other in entities if other.surface == entity.surface)
        ]
        if not fitting or self.names.random() >= _SAME_HEAD_SHARE:
            return {}
        slot, entity = self.names.pick(fitting)
        return {slot: entity.surface}


def lines(language: Language) -> list[Facts]:
    """All that can be a sentence of its own: `[facts]`, the patterns of the labels, clauses (they state nothing)."""
    patterns = [
        Facts(pattern.parts, (("head", label, "tail"),) if label != "no_relation" else ())
        for label, of_label in language.labels.items()
        for pattern in of_label
    ]
    clauses = [
        Facts(clause, ())
        for where in ("before", "after")
        for clause in language.clauses[where]
        if isinstance(clause[-1], str) and clause[-1].endswith(".")
        if not (isinstance(clause[0], str) and clause[0].startswith(CONTINUATIONS))
    ]
    return language.facts + patterns + clauses


def _by_size(lines: Iterable[Facts]) -> dict[int, list[list[Facts]]]:
    """{triples: the lines that state so many, those of the same labels together}."""
    found: dict[int, dict[tuple[str, ...], list[Facts]]] = {}
    for line in lines:
        labels = tuple(label for _, label, _ in line.triples)
        found.setdefault(len(labels), {}).setdefault(labels, []).append(line)
    return {size: list(of_size.values()) for size, of_size in found.items()}


def _goes_on(facts: Facts) -> bool:
    """Whether the line can follow a join: whether no capital is the first letter of it because it starts a sentence."""
    first = facts.parts[0]
    if isinstance(first, Entity | Name):
        return not first.capital
    return not (isinstance(first, Choice) or isinstance(first, str) and first[0].lower() != first[0].upper())


def _unmarked(text: str) -> tuple[str, dict[int, Span]]:
    """The text without its marks, and {number of a mark: what stood between `<number>` and `</number>`}."""
    starts: dict[str, int] = {}
    spans: dict[int, Span] = {}
    plain, end = "", 0
    for match in _MARK.finditer(text):
        plain += text[end : match.start()]
        end = match.end()
        if match[1]:
            spans[int(match[2])] = (starts[match[2]], len(plain))
        else:
            starts[match[2]] = len(plain)
    return plain + text[end:], spans


def overlaps(triples: Iterable[Stated]) -> set[str]:
    """Which of `OVERLAPS` the triples of a sentence have; `normal` is a triple that shares no span with another.

    `same_entity`: two pairs have a span in common; `same_pair`: several relations of one pair; `same_relation`: one
    relation of several pairs; `both_directions`: a pair's head is another's tail and the other way round; `nested`: a
    span lies in another one.
    """
    triples = list(triples)
    found = set()
    pairs = {(head, tail) for head, _, tail in triples}
    for head, relation, tail in triples:
        others = [other for other in triples if other != (head, relation, tail)]
        if not any({head, tail} & {other[0], other[2]} for other in others):
            found.add("normal")
        if any(len({head, tail} & {other[0], other[2]}) == 1 for other in others):
            found.add("same_entity")
        if any((head, tail) == (other[0], other[2]) for other in others):
            found.add("same_pair")
        if any(relation == other[1] and (head, tail) != (other[0], other[2]) for other in others):
            found.add("same_relation")
        if (tail, head) in pairs:
            found.add("both_directions")
    spans = {span for pair in pairs for span in pair}
    if any(a != b and a[0] <= b[0] and b[1] <= a[1] for a in spans for b in spans):
        found.add("nested")
    return found
