"""Text as a reader sees it: composed for the tokenizer, spans of whole graphemes, nothing invisible at their edges.

A grapheme is an extended grapheme cluster of Unicode's annex 29: what is seen, and marked with the mouse, as one.
"""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import regex

from mere_ds.corpus.example import Span

BLANK = "".join(c for c in map(chr, range(0x3001)) if c.isspace()) + (
    "\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
"""What no span begins or ends with: white space, direction marks, zero-width characters, the soft hyphen."""

_GRAPHEME = regex.compile(r"\X")
_APART = r"[\p{GCB=Other}\p{GCB=LV}\p{GCB=LVT}\p{GCB=Control}]{2}"  # neighbours that never join, which nearly all are
_ARE_APART, _APART_BEFORE = regex.compile(_APART), regex.compile(f"(?r){_APART}")


def trim(text: str, span: Span) -> Span:
    """The span without the `BLANK` at its ends; a span of nothing else stays as it is."""
    start, end = span
    if start < end and text[start] not in BLANK and text[end - 1] not in BLANK:
        return span
    inner = text[start:end]
    bare = inner.strip(BLANK)
    if inner and not bare:
        return span
    start += len(inner) - len(inner.lstrip(BLANK))
    return start, start + len(bare)


def graphemes(text: str, span: Span) -> list[Span]:
    """The graphemes of a span, which begins with one; of the last one what the span has of it."""
    return [grapheme.span() for grapheme in _GRAPHEME.finditer(text, *span)]


def whole_graphemes(text: str, span: Span) -> Span:
    """The span with the rest of the graphemes that it begins and ends in."""
    start, end = span
    if not _are_apart(text[start - 1 : start + 1]):
        start = _grapheme_at(text, start)[0]
    if not _are_apart(text[end - 1 : end + 1]):
        end = _grapheme_at(text, end)[1]
    return start, end


def surely_whole(text: str, span: Span) -> bool:
    """Whether `whole_graphemes` is known to leave a span as it is by the neighbours of its ends alone."""
    start, end = span
    return _are_apart(text[start - 1 : start + 1]) and _are_apart(text[end - 1 : end + 1])


@lru_cache(maxsize=1 << 16)
def _are_apart(neighbours: str) -> bool:
    """Whether two characters are known to be of two graphemes; at the ends of a text there is but one, or none."""
    return len(neighbours) < 2 or bool(_ARE_APART.match(neighbours))


def _grapheme_at(text: str, place: int) -> Span:
    """The grapheme that a place is inside of; `(place, place)` between two."""
    before = _APART_BEFORE.search(text, 0, place)
    for grapheme in _GRAPHEME.finditer(text, before.start() + 1 if before else 0):
        if grapheme.end() > place:
            return grapheme.span() if grapheme.start() < place else (place, place)
    raise AssertionError("graphemes cover the text")


@dataclass(frozen=True, slots=True)
class Alignment:
    """Between a given text and its composed form."""

    _origins: list[Span] | None = None  # for each composed character, what it was made from; None: the texts are equal
    _places: list[Span] | None = None  # for each given character, what it became

    @property
    def is_equal(self) -> bool:
        """Whether the text was composed as it was given."""
        return self._origins is None

    def to_given(self, span: Span) -> Span:
        """What a span of the composed text was made from. Composed graphemes count as a whole."""
        return span if self._origins is None else _translate(span, self._origins)

    def to_composed(self, span: Span) -> Span:
        """What a span of the given text became. Composed graphemes count as a whole."""
        return span if self._places is None else _translate(span, self._places)


_EQUAL = Alignment()


def compose(given: str) -> tuple[str, Alignment]:
    """A text in Unicode's composed form (NFC), which encoders are trained on. It never joins two graphemes."""
    text = unicodedata.normalize("NFC", given)
    if text == given:
        return text, _EQUAL
    origins: list[Span] = []
    places: list[Span] = []
    for grapheme in _GRAPHEME.finditer(given):
        was, now = grapheme.span(), unicodedata.normalize("NFC", grapheme[0])
        at = len(origins), len(origins) + len(now)
        if now == grapheme[0]:
            origins += ((i, i + 1) for i in range(*was))
            places += ((i, i + 1) for i in range(*at))
        else:
            origins += [was] * len(now)
            places += [at] * (was[1] - was[0])
    return text, Alignment(origins, places)


def _translate(span: Span, table: list[Span]) -> Span:
    start, end = span
    if start < end:
        return table[start][0], table[end - 1][1]
    place = table[start][0] if start < len(table) else table[-1][1]
    return place, place
