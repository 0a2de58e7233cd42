"""Relations whose head and tail are given as strings alone -> their places in the text."""

from collections.abc import Iterator
from itertools import islice, product

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.stated import Link, Lost, Mention, Raw
from mere_ds.corpus.formats.units import occurrences, plain_occurrences
from mere_ds.corpus.jsonl import MOST_TRIPLES

LOSSES = {
    "not_in_text": "a head or tail, given as a string alone, is not in the text",
    "inside_word": "a head or tail, given as a string alone, is in the text only as a part of longer words",
    "ambiguous": "a head or tail, given as a string alone, occurs several times; --ambiguous=first or all keeps it",
    "too_many_places": f"a head and tail, given as strings alone, can be combined in more than {MOST_TRIPLES:,} ways",
}
NOTES = {
    "several_places": "the head or tail, given as a string alone, occurs several times; see --ambiguous",
}
CASE = {"case_differs": "the head or tail is in the text in upper or lower case other than the file has it"}
"""The note of `any_case`."""


def located(
    text: str, head: str, relation: str, tail: str, raw: Raw, options: SourceOptions, any_case: bool = False
) -> Iterator[Link | Lost]:
    """The relation at its places in the text, or why it has none; with `--ambiguous=all`, a link a combination.

    Where head and tail are the same string that occurs several times, the combinations hold both each place with
    itself and each with each other one. `any_case`: a string that isn't in the text as it stands may be in other case.
    """
    sides = [_places(text, surface.strip(), any_case) for surface in (head, tail)]
    if reason := next((side for side in sides if isinstance(side, str)), ""):
        yield Lost(reason, raw)
        return
    heads, tails = (side for side in sides if not isinstance(side, str))
    several = len(heads) > 1 or len(tails) > 1
    if several and options.ambiguous == "reject":
        yield Lost("ambiguous", raw)
        return
    if options.ambiguous == "first":
        heads, tails = heads[:1], tails[:1]
    if len(heads) * len(tails) > MOST_TRIPLES:
        yield Lost("too_many_places", raw)
        return
    notes = ["several_places"] * several
    for a, b in product(heads, tails):
        cased = (head.strip(), tail.strip()) != (text[slice(*a)], text[slice(*b)])
        yield Link(Mention((a,)), relation, Mention((b,)), raw, notes=(*notes, *["case_differs"] * cased))


def _places(text: str, surface: str, any_case: bool) -> list[Span] | str:
    """Where a string stands in the text, or the reason why it is lost."""
    if not surface:
        return "empty_span"
    for case in (False, True)[: 1 + any_case]:
        if found := list(islice(occurrences(text, surface, case), MOST_TRIPLES + 1)):
            return found
    return "inside_word" if next(plain_occurrences(text, surface, any_case), None) else "not_in_text"
