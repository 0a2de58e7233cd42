"""Unicode handling: composed text for the tokenizer, and spans of whole graphemes without invisible edges.

A grapheme is an extended grapheme cluster of Unicode's annex 29: what a reader sees and selects as one character.
"""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import regex

from mere_ds.corpus.example import Span

BLANK = "".join(c for c in map(chr, range(0x3001)) if c.isspace()) + (
    "\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
"""Characters that no span begins or ends with: white space, direction marks, zero-width characters, soft hyphen."""

_GRAPHEME = regex.compile(r"\X")
_APART = r"[\p{GCB=Other}\p{GCB=LV}\p{GCB=LVT}\p{GCB=Control}]{2}"  # neighbours that never join, as most don't
_ARE_APART, _APART_BEFORE = regex.compile(_APART), regex.compile(f"(?r){_APART}")


def trim(text: str, span: Span) -> Span:
    """The span without `BLANK` characters at its ends; a span of nothing else is not changed."""
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
    """The graphemes of a span that begins at one; the last one is cut off at the end of the span."""
    return [grapheme.span() for grapheme in _GRAPHEME.finditer(text, *span)]


def whole_graphemes(text: str, span: Span) -> Span:
    """The span, extended to whole graphemes at both ends."""
    start, end = span
    if not _are_apart(text[start - 1 : start + 1]):
        start = _grapheme_at(text, start)[0]
    if not _are_apart(text[end - 1 : end + 1]):
        end = _grapheme_at(text, end)[1]
    return start, end


def surely_whole(text: str, span: Span) -> bool:
    """Whether the characters around a span's ends already show that `whole_graphemes` doesn't change it."""
    start, end = span
    return _are_apart(text[start - 1 : start + 1]) and _are_apart(text[end - 1 : end + 1])


@lru_cache(maxsize=1 << 16)
def _are_apart(neighbours: str) -> bool:
    """Whether two characters certainly belong to two graphemes; at the ends of a text there are fewer than two."""
    return len(neighbours) < 2 or bool(_ARE_APART.match(neighbours))


def _grapheme_at(text: str, place: int) -> Span:
    """The grapheme that contains a place; `(place, place)` between two graphemes."""
    before = _APART_BEFORE.search(text, 0, place)
    for grapheme in _GRAPHEME.finditer(text, before.start() + 1 if before else 0):
        if grapheme.end() > place:
            return grapheme.span() if grapheme.start() < place else (place, place)
    raise AssertionError("graphemes cover the text")


@dataclass(frozen=True, slots=True)
class Alignment:
    """Maps spans between a text and its composed form."""

    _origins: list[Span] | None = None  # span in the given text per composed character; None: the texts are equal
    _places: list[Span] | None = None  # span in the composed text per given character

    @property
    def is_equal(self) -> bool:
        """Whether the given text is already composed."""
        return self._origins is None

    def to_given(self, span: Span) -> Span:
        """The span of the given text for a span of the composed text. Changed graphemes count as a whole."""
        return span if self._origins is None else _translate(span, self._origins)

    def to_composed(self, span: Span) -> Span:
        """The span of the composed text for a span of the given text. Changed graphemes count as a whole."""
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
