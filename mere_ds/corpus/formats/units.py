"""Offsets of other units than code points, and tokens, as code points of a text."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import regex

from mere_ds.corpus.example import Span
from mere_ds.corpus.graphemes import graphemes

ToCodePoint = Callable[[int], int | None]
"""Maps an offset; None where it lies outside of the text or inside of one of its characters."""


REPAIRS = {"utf16_offsets": "the offsets count UTF-16 code units: in code points the surface isn't there"}


def to_code_points(text: str, unit: str) -> ToCodePoint:
    """For offsets that count `unit`: char (code points), utf16 (code units), byte (of UTF-8) or grapheme."""
    if unit == "char" or (unit in ("utf16", "byte") and text.isascii()):
        return lambda offset: offset if 0 <= offset <= len(text) else None
    if unit == "grapheme":
        places = [0, *(end for _, end in graphemes(text, (0, len(text))))]
        return lambda offset: places[offset] if 0 <= offset < len(places) else None
    sizes = (_SIZES[unit](character) for character in text)
    found = {offset: place for place, offset in enumerate(accumulate(sizes, initial=0))}
    return found.get


_SIZES: dict[str, Callable[[str], int]] = {
    "utf16": lambda character: 1 + (character > "\uffff"),
    "byte": lambda character: len(character.encode("utf-8", "surrogatepass")),
}


def span_at(place: ToCodePoint, start: int, end: int) -> Span | None:
    """The span between two offsets; None where one of them is of no place in the text."""
    first, last = place(start), place(end)
    return None if first is None or last is None else (first, last)


def units_differ(text: str) -> bool:
    """Whether a text's offsets depend on whether they count code points, UTF-16 code units or graphemes."""
    if text.isascii() and "\r\n" not in text:
        return False
    return any(c > "\uffff" for c in text) or sum(1 for _ in graphemes(text, (0, len(text)))) != len(text)


def join_tokens(tokens: Sequence[str], blank: str = " ") -> tuple[str, list[Span]]:
    """The tokens joined by `blank`, and the span of each. Tokens that are empty or blank keep their places."""
    spans: list[Span] = []
    at = 0
    for token in tokens:
        spans.append((at, at + len(token)))
        at += len(token) + len(blank)
    return blank.join(tokens), spans


def span_of_tokens(spans: Sequence[Span], first: int, end: int) -> Span | None:
    """The span of tokens `first` to `end`, exclusive; None where there are no such tokens."""
    return (spans[first][0], spans[end - 1][1]) if 0 <= first < end <= len(spans) else None


_UNSPACED = "".join(
    rf"\p{{scx={script}}}" for script in ("Han", "Hira", "Kana", "Bopo", "Thai", "Laoo", "Khmr", "Mymr", "Tibt")
)
_WORD = rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}\u2460-\u24ff]]"  # nor numbers of a list in circles
_INSIDE_WORD = regex.compile(f"{_WORD}{{2}}", regex.V1)
_BEFORE_PARTICLE = regex.compile(rf"{_WORD}\p{{Hang}}", regex.V1)


def occurrences(text: str, surface: str, any_case: bool = False) -> Iterator[Span]:
    """Where a string occurs in a text without cutting a word at its ends.

    Words are of letters, marks and digits. Scripts that put no blanks between words, such as Chinese, Japanese or Thai,
    have no bounds of words to keep to, and Korean glues particles to the end of a word.
    """
    for start, end in plain_occurrences(text, surface, any_case):
        cuts_before = _INSIDE_WORD.match(text, start - 1) if start else None
        cuts_after = _INSIDE_WORD.match(text, end - 1) and not _BEFORE_PARTICLE.match(text, end - 1)
        if not (cuts_before or cuts_after):
            yield start, end


def plain_occurrences(text: str, surface: str, any_case: bool = False) -> Iterator[Span]:
    """Where a string occurs in a text, also inside of words; occurrences may overlap, and "" has none."""
    if any_case and surface:
        for found in regex.finditer(regex.escape(surface), text, regex.IGNORECASE, overlapped=True):
            yield found.span()
        return
    at = text.find(surface) if surface else -1
    while at >= 0:
        yield at, at + len(surface)
        at = text.find(surface, at + 1)
