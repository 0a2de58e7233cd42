"""Documents of any length -> triples, with offsets of the document: sentences, and windows of those that are too long.

Sentences come from `sentencex`, which knows our languages and is linear in the text; blocks of a bounded size are split
one after the other. A sentence that is longer than the model's max_length is read in windows that overlap by half, so
that nothing is cut off: entities up to half a window apart are in one of them together.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mere_ds.corpus.sentences import Split, sentences_of, with_sentencex
from mere_ds.inference import CHARACTERS_A_TOKEN, Extractor
from mere_ds.shards.encoding import FRAME, Encoded
from mere_ds.streams import LINES_AT_ONCE

_FEW = 8  # characters a token that are tried first, for most words are shorter


class Window(NamedTuple):
    """A piece of a document that the model reads at once."""

    start: int
    """Where it begins in the document."""
    text: str
    encoded: Encoded


def extract_document(extractor: Extractor, text: str, language: str, split: Split | None = None) -> Iterator[dict]:
    """The triples of a text of any length in the order of its sentences, within one the highest score first:
    `{"head": {"text", "start", "end"}, "relation", "tail", "score"}` with character offsets of the whole text.

    A triple that several windows give comes once, with its best score; the extractor's `max_triples` is of a sentence
    or window. Memory doesn't grow with the text, time grows linearly. `split` replaces sentencex. Raises UserError for
    an unknown language, and if sentencex is not installed.
    """
    extractor.check_language(language)
    windows = windows_of(extractor, text, language, split or with_sentencex())
    held: dict[tuple, dict] = {}  # triples that a later window may give again
    chunk: list[Window] = []
    for window in windows:
        chunk.append(window)
        if len(chunk) == LINES_AT_ONCE:
            yield from _triples(extractor, chunk, language, held)
            chunk = []
    yield from _triples(extractor, chunk, language, held)
    yield from _by_score(held.values())


def windows_of(extractor: Extractor, text: str, language: str, split: Split) -> Iterator[Window]:
    """What the model reads of a document: sentences with words in them, and windows of those that are too long."""
    encoder, room = extractor.encoder, extractor.encoder.max_length - FRAME
    sizes = [characters * encoder.max_length for characters in (_FEW, CHARACTERS_A_TOKEN)]
    for start, end in sentences_of(text, language, split):
        while start < end:
            for size in sizes:
                piece = text[start : min(end, start + size)]
                [encoded] = encoder.encode_texts([piece], [language])
                if encoded.truncated or start + len(piece) == end:
                    break
            if encoded.offsets:
                yield Window(start, piece, encoded)
            if not encoded.truncated:
                start += len(piece)  # also where so many characters were fewer tokens than the model takes
                continue
            start += max(1, encoded.offsets[room // 2][0])  # the next window begins in this one's middle


def _triples(extractor: Extractor, windows: list[Window], language: str, held: dict[tuple, dict]) -> Iterator[dict]:
    """The windows' triples, those before them that are `held` too; the last ones stay held."""
    texts, encoded = [window.text for window in windows], [window.encoded for window in windows]
    for window, triples in zip(windows, extractor.triples_of(texts, encoded, language), strict=True):
        done = [key for key, triple in held.items() if _begin(triple) < window.start]
        yield from _by_score([held.pop(key) for key in done])
        for triple in triples:
            for side in ("head", "tail"):
                triple[side] |= {name: triple[side][name] + window.start for name in ("start", "end")}
            key = (triple["relation"], *triple["head"].values(), *triple["tail"].values())
            if key not in held or held[key]["score"] < triple["score"]:
                held[key] = triple


def _begin(triple: dict) -> int:
    return min(triple["head"]["start"], triple["tail"]["start"])


def _by_score(triples: Iterable[dict]) -> list[dict]:
    return sorted(triples, key=lambda triple: -triple["score"])
