"""Sets of triples: what of an answer is right where a sentence has any number of triples.

Everything is counted over sets: equal triples once, for entity pairs, heads, tails and relations as for whole triples.
Two are equal if their characters are, blanks at the ends aside. By tokens a found one is right if there is a gold one
with the same tokens; each gold one is found once at most.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from mere_ds.corpus.example import Span
from mere_ds.corpus.graphemes import trim


class Named(NamedTuple):
    """A triple by its characters and, where they are known, by its tokens."""

    relation: str
    head: Span
    tail: Span
    head_tokens: Span | None = None
    """First and last; None where the entity has none."""
    tail_tokens: Span | None = None


PARTS: dict[str, Callable[[str, Hashable, Hashable], Hashable]] = {
    "relation": lambda relation, head, tail: relation,
    "pair": lambda relation, head, tail: (head, tail),
    "head": lambda relation, head, tail: head,
    "tail": lambda relation, head, tail: tail,
    "triple": lambda relation, head, tail: (relation, head, tail),
}
"""What is counted of triples, each as a set."""


def from_json(text: str, triples: Iterable[dict]) -> list[Named]:
    """Triples `{"relation", "head": [start, end], "tail"}` of a text."""
    return [Named(t["relation"], trim(text, tuple(t["head"])), trim(text, tuple(t["tail"]))) for t in triples]


def unequal(triples: Sequence[Named]) -> list[int]:
    """The indices of the triples that no earlier one is equal to."""
    first = {triple[:3]: i for i, triple in reversed(list(enumerate(triples)))}
    return sorted(first.values())


def sizes(triples: Sequence[Named]) -> dict[str, int]:
    """How many of each of `PARTS` there are."""
    return {part: len({of(*triple[:3]) for triple in triples}) for part, of in PARTS.items()}


def right_counts(gold: Sequence[Named], found: Sequence[Named]) -> dict[str, int]:
    """How many are right by the names of `METRICS`."""
    by_tokens, by_characters = {}, {}
    for part, of in PARTS.items():
        of_gold, of_found = (
            # reversed, so that of equal ones the first stays
            {of(*t[:3]): _tokens(part, t, of) for t in reversed(triples)}
            for triples in (gold, found)
        )
        by_characters[part] = len(of_gold.keys() & of_found.keys())
        same = Counter(of_gold.values()) & Counter(of_found.values())
        by_tokens[part] = sum(n for tokens, n in same.items() if tokens is not None)
    relation = by_characters.pop("relation")
    return by_tokens | {"relation": relation} | {f"{part}_characters": n for part, n in by_characters.items()}


def _tokens(part: str, triple: Named, of: Callable[[str, Hashable, Hashable], Hashable]) -> Hashable | None:
    """What `of` makes of the triple's tokens; None where an entity that it needs has none."""
    needed = {"relation": (), "head": (triple.head_tokens,), "tail": (triple.tail_tokens,)}
    if None in needed.get(part, (triple.head_tokens, triple.tail_tokens)):
        return None
    return of(triple.relation, triple.head_tokens, triple.tail_tokens)
