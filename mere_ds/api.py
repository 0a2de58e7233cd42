"""The library's face: `mere_ds.load(...)` gives a `Model`, and that the triples of texts."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, overload

from mere_ds.config import AUTO, Precision, Which, spelt_as
from mere_ds.errors import UserError
from mere_ds.language_detection import detector_for
from mere_ds.runs.trained import model_folder
from mere_ds.streams import MOST_BYTES_AT_ONCE

if TYPE_CHECKING:
    from mere_ds.inference import Extractor

BATCH = 64
_BATCHES_AHEAD = 8
"""So many are read together, and those of like length computed together."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text: `text[start:end]`, in characters."""

    text: str
    start: int
    end: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Triple:
    """What a text says: `head` has this relation to `tail`, with a score from 0 to 1."""

    head: Span
    relation: str
    tail: Span
    score: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Triples(list[Triple]):
    """The triples of one text, a list, with what was read."""

    def __init__(
        self,
        triples: Iterable[Triple],
        text: str,
        lang: str | None,
        note: str | None = None,
        candidates: list[tuple[str, float]] | None = None,
    ) -> None:
        super().__init__(triples)
        self.text = text
        self.lang = lang
        """The language as the model spells it; None if it was to be detected and is unclear."""
        self.note = note
        """Why there are no triples, or what of the text wasn't read; None if there is nothing to say."""
        self.candidates = candidates
        """The languages that come into question with their certainty, if they were asked for and the text's language
        was to be detected."""

    def to_dict(self) -> dict[str, Any]:
        """As `mere-ds extract` prints it, ready for JSON."""
        triples = [triple.to_dict() for triple in self]
        answer: dict[str, Any] = {"text": self.text, "lang": self.lang, "triples": triples}
        if self.note is not None:
            answer["note"] = self.note
        if self.candidates is not None:
            answer["candidates"] = [list(candidate) for candidate in self.candidates]
        return answer

    def __repr__(self) -> str:
        note = "" if self.note is None else f", note={self.note!r}"
        return f"Triples({list.__repr__(self)}, lang={self.lang!r}{note})"


class Model:
    """A trained model in use; made by `mere_ds.load`. Several threads may use one at the same time."""

    def __init__(self, extractor: "Extractor", source: str) -> None:
        self._extractor = extractor
        self._source = source

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that the model was trained on."""
        return self._extractor.languages

    @property
    def labels(self) -> tuple[str, ...]:
        """The relations that the model tells apart."""
        return self._extractor.labels

    def __repr__(self) -> str:
        return f"<mere_ds.Model {self._source!r}: {len(self.languages)} languages, {len(self.labels)} relations>"

    @overload  # a str is an iterable of str too
    def extract(  # type: ignore[overload-overlap]
        self, texts: str, lang: str, *, batch_size: int = BATCH, candidates: bool = False
    ) -> Triples: ...
    @overload
    def extract(
        self, texts: Iterable[str], lang: str | Iterable[str], *, batch_size: int = BATCH, candidates: bool = False
    ) -> Iterator[Triples]: ...
    def extract(
        self,
        texts: str | Iterable[str],
        lang: str | Iterable[str],
        *,
        batch_size: int = BATCH,
        candidates: bool = False,
    ) -> Triples | Iterator[Triples]:
        """The triples of one text, or of each of many: an iterator of `Triples` in the order of the texts.

        `lang` is the language of all texts, or an iterable that gives one for each. "auto" has it detected
        (`mere_ds.language_detection`): a text whose language is unclear, or none of the model's, gets no triples and a
        `note`; with `candidates` each such text has the languages that come into question. At most `batch_size`
        texts are computed at a time; many texts are read as they are asked for, at most 8 batches and a few megabytes
        ahead. An exception that reading raises comes after the answers of the texts before it. Of a text that is too
        long for the model the beginning is read, and its `note` says so; `extract_document` reads all of it.

        Raises TypeError for what isn't a text, and UserError for a language that the model doesn't know, if there
        aren't as many languages as texts, and if languages can't be detected.
        """
        if type(batch_size) is not int or batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be a whole number, at least 1")
        extractor = replace(self._extractor, batch_size=batch_size, candidates=candidates)
        if isinstance(texts, str):
            if not isinstance(lang, str):
                raise TypeError(f"lang must be a language code such as 'de' for one text, not {_kind(lang)}")
            return _triples(extractor.answers([texts], [self._language(lang)])[0])
        items = _texts(texts)
        if isinstance(lang, str):
            pairs: Iterable[tuple[str, str]] = zip(items, repeat(self._language(lang)), strict=False)
        else:
            pairs = _pairs(items, map(self._language, _languages(lang)))
        chunks = _chunks(pairs, _BATCHES_AHEAD * batch_size)
        return (_triples(answer) for chunk in chunks for answer in extractor.answers(*zip(*chunk, strict=True)))

    def extract_document(self, text: str, lang: str, *, candidates: bool = False) -> Triples:
        """The triples of a text of any length, in the order of its sentences; nothing is cut off.

        `lang` and `candidates` as in `extract`; the beginning says which language it is. Raises TypeError for what
        isn't a text, and UserError for a language that the model doesn't know and if sentencex isn't installed.
        """
        from mere_ds.documents import extract_document, has_words
        from mere_ds.inference import EMPTY, problem_of

        if not isinstance(text, str):
            raise TypeError(f"the document must be a str, not {_kind(text)}")
        language, named, note = self._language(lang), None, problem_of(text)
        if language == AUTO:
            (found,) = detector_for(self.languages).detect([text])
            named = found.candidates if candidates else None
            if found.language is None:
                return Triples([], text, None, note or found.note, named)
            language = found.language
        triples = [] if note else list(map(_triple, extract_document(self._extractor, text, language)))
        if not (note or triples or has_words(self._extractor, text, language)):
            note = EMPTY
        return Triples(triples, text, language, note, named)

    def _language(self, code: str) -> str:
        """As the model spells it, or `AUTO`. Raises UserError if the model doesn't know it, or can't detect any."""
        if not isinstance(code, str):
            raise TypeError(f"lang must be a language code such as 'de', not {_kind(code)}")
        spelt = spelt_as(code, self.languages)
        if spelt is None:
            raise UserError(f"lang={code!r}: unknown to this model: pass one of {', '.join(self.languages)}, or auto")
        if spelt == AUTO:
            detector_for(self.languages)
        return spelt


def load(
    source: str | Path,
    *,
    which: Which = "best",
    k: int | None = None,
    min_score: float | None = None,
    max_triples: int | None = None,
    precision: Precision = "auto",
    threads: int | None = None,
) -> Model:
    """A trained model, ready to use.

    Args:
        source: A run's folder, the folder of one of its checkpoints, an exported folder, or an exported model on the
            Hugging Face hub: `hf://org/name`, or `hf://org/name@revision`.
        which: Of a run: the "best" or the "latest" model of its last stage; "stage1": the best one of stage one.
        k: Number of sub-modules to run (None: as trained).
        min_score: Least score of a triple, 0 to 1 (None: the model's threshold; without one, any).
        max_triples: Maximum number of triples a text, those with the highest scores (None: no maximum).
        precision: Number format of the computation: "fp32", "bf16", "fp16", or "auto", the fastest of the hardware.
        threads: How many threads compute on a CPU (None: one for each core).

    Raises UserError if there is no model or it can't be used so, and TypeError for what is no number; the message says
    what to do.
    """
    if not isinstance(source, str | Path):
        raise TypeError(f"source must be a folder or a name on the hub, not {_kind(source)}")
    _check_words(which=(which, Which), precision=(precision, Precision))
    _check_numbers(Integral, "a whole number", k=k, max_triples=max_triples, threads=threads)
    _check_numbers(Real, "a number", min_score=min_score)
    if threads is not None and threads < 1:
        raise UserError(f"threads={threads}: must be at least 1")
    folder = model_folder(source, which)
    from mere_ds.inference import Extractor

    return Model(Extractor.load(folder, k, min_score, max_triples, threads=threads, precision=precision), str(source))


def _check_words(**given: tuple[object, Any]) -> None:
    """Raises UserError for a value that is none of those of its type."""
    for name, (value, kind) in given.items():
        if value not in get_args(kind):
            raise UserError(f"{name}={value!r}: must be one of {', '.join(get_args(kind))}")


def _check_numbers(kind: type, called: str, **given: object) -> None:
    """Raises TypeError for what is neither None nor of this kind."""
    for name, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise TypeError(f"{name} must be {called}, not {_kind(value)}")


def _triples(answer: dict) -> Triples:
    """Of an answer of an `Extractor`."""
    named = answer.get("candidates")
    candidates = None if named is None else [(code, certainty) for code, certainty in named]
    return Triples(map(_triple, answer["triples"]), answer["text"], answer["lang"], answer.get("note"), candidates)


def _triple(triple: dict) -> Triple:
    return Triple(Span(**triple["head"]), triple["relation"], Span(**triple["tail"]), triple["score"])


def _kind(value: object) -> str:
    """The type of a wrong value in the words of a message."""
    return "None" if value is None else type(value).__name__


def _texts(texts: Iterable[str]) -> Iterator[str]:
    """Checked: at once what an iterable, a list or a tuple shows, else as they come."""
    if isinstance(texts, bytes | bytearray | memoryview):
        raise TypeError(f"a text must be a str, not {_kind(texts)}: decode it first, as by .decode('utf-8')")
    if isinstance(texts, dict) or hasattr(texts, "columns"):
        raise TypeError(f"{_kind(texts)} isn't an iterable of texts: pass the values or one of its columns")
    try:
        items = iter(texts)
    except TypeError:
        raise TypeError(f"extract takes a text (str) or an iterable of texts, not {_kind(texts)}") from None
    if isinstance(texts, list | tuple):
        for _ in _strings(texts, "text"):
            pass
    return _strings(items, "text")


def _languages(languages: Iterable[str]) -> Iterator[str]:
    if isinstance(languages, bytes):
        raise TypeError("lang must be a str, not bytes")
    try:
        return _strings(iter(languages), "lang")
    except TypeError:
        raise TypeError(f"lang must be a language code or an iterable of codes, not {_kind(languages)}") from None


def _strings(items: Iterable[str], what: str) -> Iterator[str]:
    for number, item in enumerate(items):
        if not isinstance(item, str):
            raise TypeError(f"{what} {number} (counted from 0) must be a str, not {_kind(item)}")
        yield item


def _pairs(texts: Iterator[str], languages: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Each text with its language. Raises UserError where one lacks the other."""
    end = object()
    for number, text in enumerate(texts):
        language = next(languages, end)
        if language is end:
            raise UserError(f"lang has only {number} languages, fewer than there are texts: give one for each text")
        yield text, language  # type: ignore[misc]
    if next(languages, end) is not end:
        raise UserError("lang has more languages than there are texts: give one for each text")


def _chunks(pairs: Iterable[tuple[str, str]], most: int) -> Iterator[list[tuple[str, str]]]:
    """Lists of at most `most`, fewer if they are long. What raises while reading is raised after all that was read."""
    held: list[tuple[str, str]] = []
    characters, failure = 0, None
    pairs = iter(pairs)
    while failure is None:
        try:
            held.append(next(pairs))
        except StopIteration:
            break
        except Exception as error:
            failure = error
            break
        characters += len(held[-1][0])
        if len(held) == most or characters > MOST_BYTES_AT_ONCE:
            yield held
            held, characters = [], 0
    if held:
        yield held
    if failure:
        raise failure
