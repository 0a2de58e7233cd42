"""How the triples of a sentence overlap with each other."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from mere_ds.corpus.example import Span

OVERLAPS = ("normal", "same pair", "same entity", "nested")


class Linked(Protocol):
    """A triple by its characters; its first three fields are relation, head and tail, in any order."""

    @property
    def head(self) -> Span: ...

    @property
    def tail(self) -> Span: ...

    def __getitem__(self, places: slice, /) -> tuple: ...


def overlaps(triples: Sequence[Linked]) -> list[set[str]]:
    """The kinds in which each triple overlaps with the others of its sentence; "normal" where in none.

    "same pair": another one has both of its entities, in either order; "same entity": another one has just one of
    them; "nested": one of its entities shares characters with an unequal entity of the sentence, its own other one
    included. Equal triples are one. Linear in the number of triples, but for sorting.
    """
    if len(triples) < 2:  # most sentences of most corpora: much faster
        pairs = [(triple.head, triple.tail) for triple in triples]
        return [{"nested"} if a != b and a[0] < b[1] and b[0] < a[1] else {"normal"} for a, b in pairs]
    owned = {triple[:3]: frozenset((triple.head, triple.tail)) for triple in triples}
    with_pair = Counter(owned.values())
    with_entity = Counter(entity for own in owned.values() for entity in own)
    nested = _nested(with_entity)
    found = []
    for triple in triples:
        own = owned[triple[:3]]
        kinds = {"same pair"} if with_pair[own] > 1 else set()
        if any(with_entity[entity] > with_pair[own] for entity in own):
            kinds.add("same entity")
        if not own.isdisjoint(nested):
            kinds.add("nested")
        found.append(kinds or {"normal"})
    return found


def _nested(entities: Iterable[Span]) -> set[Span]:
    """Those of different spans that share characters with another one."""
    ordered = sorted(entities)
    found = set()
    furthest = -1  # where the ones before end
    for place, (start, end) in enumerate(ordered, start=1):
        if start < furthest or (place < len(ordered) and ordered[place][0] < end):
            found.add((start, end))
        furthest = max(furthest, end)
    return found
