"""Documents -> pieces of one or more sentences, never cut through a relation."""

from collections.abc import Iterator, Sequence

from mere_ds.corpus.example import Span, Triple
from mere_ds.corpus.graphemes import BLANK, trim
from mere_ds.corpus.sentences import Split, sentences_of


def bounds_of(text: str, language: str, split: Split) -> list[int]:
    """Where a text may be cut: where its sentences end, and its lines."""
    lines = [place + 1 for place, character in enumerate(text) if character == "\n"]
    return sorted({*lines, *(end for _, end in sentences_of(text, language, split))})


def pieces_of(text: str, triples: Sequence[Triple], bounds: Sequence[int]) -> Iterator[tuple[Span, list[Triple]]]:
    """Pieces of a text in order, without blanks at their ends, with their triples, whose spans are of the piece.

    `bounds` are ascending; a piece ends at one, unless a triple's head and tail lie on both sides of it. Pieces
    without a character other than `BLANK`s are left out. Every triple is in exactly one piece.
    """
    reach = [(min(head[0], tail[0]), max(head[1], tail[1]), triple) for triple in triples for head, _, tail in [triple]]
    reach.sort(key=lambda item: item[:2])
    begin = taken = 0
    held: list[Triple] = []
    furthest = 0
    for bound in [*(place for place in bounds if 0 < place < len(text)), len(text)]:
        while taken < len(reach) and reach[taken][0] < bound:
            furthest = max(furthest, reach[taken][1])
            held.append(reach[taken][2])
            taken += 1
        if furthest > bound:
            continue
        start, end = trim(text, (begin, bound))
        if text[start:end].strip(BLANK):
            yield (start, end), [_moved(triple, -start) for triple in held]
        begin, held = bound, []


def _moved(triple: Triple, by: int) -> Triple:
    (a, b), relation, (c, d) = triple
    return Triple((a + by, b + by), relation, (c + by, d + by))
