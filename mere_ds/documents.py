"""Documents of any length -> triples, with offsets of the document: sentences, and windows of those that are too long.

Sentences come from `sentencex`, which knows our languages and is linear in the text; blocks of a bounded size are split
one after the other. A sentence that is longer than the model's max_length is read in windows that overlap by half.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mere_ds.config import AUTO
from mere_ds.corpus.sentences import Split, sentences_of, with_sentencex
from mere_ds.errors import UserError
from mere_ds.inference import EMPTY, Extractor
from mere_ds.language_detection import detector_for
from mere_ds.shards.windows import Window, windows
from mere_ds.streams import LINES_AT_ONCE


class Cut(NamedTuple):
    """A document as the model reads it."""

    language: str | None
    """None if it was to be detected and is unclear."""
    windows: list[Window]
    note: str | None
    """Why there are no windows."""


def cut(extractor: Extractor, text: str, language: str, split: Split) -> Cut:
    """A document that is held in memory, for windows that are computed elsewhere; `AUTO` as in `language_of`. Raises
    UserError for an unknown language."""
    extractor.check_language(language)
    if language == AUTO:
        (found,) = detector_for(extractor.languages).detect([text])
        if found.language is None:
            return Cut(None, [], found.note)
        language = found.language
    windows = list(windows_of(extractor, text, language, split))
    return Cut(language, windows, None if windows else EMPTY)


def joined(windows: Sequence[Window], found: Sequence[list[dict]]) -> list[dict]:
    """The triples of a document from those of its windows, as `extract_document` gives them."""
    held: dict[tuple, dict] = {}
    return [*_moved(windows, found, held), *_by_score(held.values())]


def language_of(extractor: Extractor, text: str, language: str) -> str:
    """`language`, or for `AUTO` that which the beginning of the text is in. Raises UserError if that is unclear."""
    if language != AUTO:
        return language
    (found,) = detector_for(extractor.languages).detect([text])
    if found.language is None:
        raise UserError(f"{found.note}: name the language instead of auto")
    return found.language


def extract_document(extractor: Extractor, text: str, language: str, split: Split | None = None) -> Iterator[dict]:
    """The triples of a text of any length in the order of its sentences, within one the highest score first:
    `{"head": {"text", "start", "end"}, "relation", "tail", "score"}` with character offsets of the whole text.

    A triple that several windows give comes once, with its best score; the extractor's `max_triples` is of a sentence
    or window. Memory doesn't grow with the text, time grows linearly. `split` replaces sentencex. Raises UserError for
    an unknown language, and if sentencex is not installed.
    """
    extractor.check_language(language)
    held: dict[tuple, dict] = {}  # triples that a later window may give again
    chunk: list[Window] = []
    for window in windows_of(extractor, text, language, split or with_sentencex()):
        chunk.append(window)
        if len(chunk) == LINES_AT_ONCE:
            yield from _triples(extractor, chunk, language, held)
            chunk = []
    yield from _triples(extractor, chunk, language, held)
    yield from _by_score(held.values())


def windows_of(extractor: Extractor, text: str, language: str, split: Split) -> Iterator[Window]:
    """What the model reads of a document: sentences with words in them, and windows of those that are too long."""
    for span in sentences_of(text, language, split):
        yield from windows(extractor.encoder, text, language, span)


def has_words(extractor: Extractor, text: str, language: str) -> bool:
    """Whether the model reads anything of a document."""
    return any(True for _ in windows_of(extractor, text, language, with_sentencex()))


def _triples(extractor: Extractor, chunk: list[Window], language: str, held: dict[tuple, dict]) -> Iterator[dict]:
    """The windows' triples, those before them that are `held` too; the last ones stay held."""
    texts, encoded = [window.text for window in chunk], [window.encoded for window in chunk]
    return _moved(chunk, extractor.triples_of(texts, encoded, [language] * len(chunk)), held)


def _moved(windows: Sequence[Window], found: Sequence[list[dict]], held: dict[tuple, dict]) -> Iterator[dict]:
    """As `_triples`, from what was found in each window."""
    for window, triples in zip(windows, found, strict=True):
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
