"""Texts of more tokens than a model takes -> windows that overlap by half, so that nothing is cut off.

A window begins and ends between words as the tokenizer sees them; only a word of more than half a window is cut, and
then between graphemes. A window has the same tokens in training as in extraction.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from mere_ds.corpus.example import Example, Span, Triple
from mere_ds.corpus.graphemes import whole_graphemes
from mere_ds.shards.encoding import Encoded, EncodedExample, SentenceEncoder, Words

CHARACTERS_A_TOKEN = 64
"""Only max_length times this many characters of a text are tokenised; real words have fewer characters per token."""

_FEW = 8  # characters a token that are tried first, for most words are shorter


class Window(NamedTuple):
    """A piece of a text that the model reads at once."""

    start: int
    """Where it begins in the text."""
    text: str
    encoded: Encoded


class TrainingWindow(NamedTuple):
    """A piece of a sentence as a sentence of its own."""

    example: Example
    """Its text and the triples whose spans lie inside it."""
    encoded: EncodedExample
    numbers: list[int]
    """Which of the whole sentence's triples these are."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of a text that is tokenised at once; it may have more tokens than fit in a window."""

    text: str
    """The whole text."""
    span: Span
    words: Words
    offsets: list[Span]
    """Of each token, in the composed form of the piece."""

    def place(self, token: int) -> int:
        """Where a token begins in the piece; for the number of tokens, where the piece ends."""
        if token == len(self.offsets):
            return self.span[1] - self.span[0]
        return self.words.alignment.to_given(self.offsets[token])[0]

    def end(self, token: int) -> int:
        """Where a token ends in the piece."""
        return self.words.alignment.to_given(self.offsets[token])[1]

    def last_cut(self, least: int, most: int) -> int:
        """The last token after `least` and up to `most` that begins a word; if none does, one that begins a grapheme;
        else 0."""
        word_of, cut = self.words.encoding.word_ids, 0
        for token in range(most, least, -1):
            begins_word = token < len(word_of) and word_of[token] != word_of[token - 1]
            if (begins_word or not cut) and self._begins_grapheme(token):
                if begins_word:
                    return token
                cut = token
        return cut

    def _begins_grapheme(self, token: int) -> bool:
        place = self.span[0] + self.place(token)
        apart = self.end(token - 1) <= self.place(token)  # else both are of one character
        return apart and whole_graphemes(self.text, (place, place)) == (place, place)


def windows(encoder: SentenceEncoder, text: str, language: str, span: Span | None = None) -> Iterator[Window]:
    """The windows of a text, or of a span of it: one if it fits, none if it has no tokens.

    Their texts cover all that has tokens. Time grows linearly, memory doesn't grow.
    """
    for piece, kept, (start, end) in _cut(encoder, text, span or (0, len(text))):
        yield Window(start, text[start:end], encoder.text(piece.words, language, kept))


def training_windows(encoder: SentenceEncoder, example: Example) -> list[TrainingWindow]:
    """The windows of a sentence. Each has every triple that is inside it, for without it a window that shows both
    entities would teach that they have no relation; a triple may be in several windows, and in none."""
    found = []
    for piece, kept, (start, end) in _cut(encoder, example.text, (0, len(example.text))):
        numbers = [i for i, triple in enumerate(example.triples) if _is_inside(triple, start, end)]
        triples = tuple(_moved(example.triples[i], -start) for i in numbers)
        part = replace(example, text=example.text[start:end], triples=triples)
        found.append(TrainingWindow(part, encoder.example(part, piece.words, kept), numbers))
    return found


def _cut(encoder: SentenceEncoder, text: str, span: Span) -> Iterator[tuple[_Piece, int, Span]]:
    """Of each window the tokens, of which it has the first ones, how many, and its place in the text."""
    start, end = span
    while start < end:
        piece = _piece(encoder, text, start, end)
        tokens = len(piece.offsets)
        kept = min(tokens, encoder.room)
        if tokens == kept and piece.span[1] == end:
            if kept:
                yield piece, kept, piece.span
            return
        if not kept:
            start = piece.span[1]
            continue
        middle = piece.last_cut(0, kept // 2)
        last = piece.last_cut(kept // 2, kept) or middle or kept  # a grapheme of more tokens is cut anywhere
        yield piece, last, (start, start + max(piece.place(last), piece.end(last - 1), 1))
        middle = middle or last  # where the next window begins
        start += piece.place(middle) or max(piece.end(middle - 1), 1)


def _piece(encoder: SentenceEncoder, text: str, start: int, end: int) -> _Piece:
    """The beginning of a text from `start` to `end`, with more tokens than there is room for, if it has so many."""
    for characters in (_FEW, CHARACTERS_A_TOKEN):
        stop = min(end, start + characters * encoder.max_length)
        [words] = encoder.words([text[start:stop]])
        if stop == end or len(words.encoding) > encoder.room:
            break
    return _Piece(text, (start, stop), words, words.encoding.offsets)


def _is_inside(triple: Triple, start: int, end: int) -> bool:
    return all(start <= a and b <= end for a, b in (triple.head, triple.tail))


def _moved(triple: Triple, by: int) -> Triple:
    (a, b), relation, (c, d) = triple
    return Triple((a + by, b + by), relation, (c + by, d + by))
