"""The library's face: `mere_ds.load(...)` gives a `Model`, and that the triples of texts."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from mere_ds.config import Which
from mere_ds.errors import UserError
from mere_ds.runs.trained import model_folder
from mere_ds.streams import MOST_BYTES_AT_ONCE

if TYPE_CHECKING:
    from mere_ds.inference import Extractor

BATCH = 64

T = TypeVar("T")


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

    def __init__(self, triples: Iterable[Triple], text: str, lang: str | None, note: str | None = None) -> None:
        super().__init__(triples)
        self.text = text
        self.lang = lang
        """The language as the model spells it."""
        self.note = note
        """Why there are no triples, or what of the text wasn't read; None if there is nothing to say."""

    def to_dict(self) -> dict[str, Any]:
        """As `mere-ds extract` prints it, ready for JSON."""
        answer = {"text": self.text, "lang": self.lang, "triples": [triple.to_dict() for triple in self]}
        return answer if self.note is None else answer | {"note": self.note}

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
        self, texts: str, lang: str, *, batch_size: int = BATCH
    ) -> Triples: ...
    @overload
    def extract(
        self, texts: Iterable[str], lang: str | Iterable[str], *, batch_size: int = BATCH
    ) -> Iterator[Triples]: ...
    def extract(
        self, texts: str | Iterable[str], lang: str | Iterable[str], *, batch_size: int = BATCH
    ) -> Triples | Iterator[Triples]:
        """The triples of one text, or of each of many: an iterator of `Triples` in the order of the texts.

        `lang` is the language of all texts, or an iterable that gives one for each. Many texts are read as they are
        asked for, never more than `batch_size` ahead, and computed together. An exception that reading raises comes
        after the answers of the texts before it. A text that is too long for the model is read in part and its `note`
        says so; `extract_document` reads it whole.

        Raises TypeError for what isn't a text, and UserError for a language that the model doesn't know and if there
        aren't as many languages as texts.
        """
        if isinstance(texts, str):
            if not isinstance(lang, str):
                raise TypeError(f"lang must be a language code such as 'de' for one text, not {_kind(lang)}")
            return self._answers([texts], [self._language(lang)])[0]
        if type(batch_size) is not int or batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be a whole number, at least 1")
        items = _texts(texts)
        if isinstance(lang, str):
            pairs: Iterable[tuple[str, str]] = zip(items, repeat(self._language(lang)), strict=False)
        else:
            pairs = _pairs(items, map(self._language, _languages(lang)))
        return chain.from_iterable(self._answers(*zip(*chunk, strict=True)) for chunk in _chunks(pairs, batch_size))

    def extract_document(self, text: str, lang: str) -> Triples:
        """The triples of a text of any length, in the order of its sentences; nothing is cut off.

        Raises TypeError for what isn't a text, and UserError for a language that the model doesn't know and if
        sentencex isn't installed.
        """
        from mere_ds.documents import extract_document

        if not isinstance(text, str):
            raise TypeError(f"the document must be a str, not {_kind(text)}")
        language = self._language(lang)
        return Triples(map(_triple, extract_document(self._extractor, text, language)), text, language)

    def _answers(self, texts: Iterable[str], languages: Iterable[str]) -> list[Triples]:
        answers = self._extractor.answers(list(texts), list(languages))
        return [Triples(map(_triple, a["triples"]), a["text"], a["lang"], a.get("note")) for a in answers]

    def _language(self, code: str) -> str:
        """As the model spells it. Raises UserError if it doesn't know it."""
        if not isinstance(code, str):
            raise TypeError(f"lang must be a language code such as 'de', not {_kind(code)}")
        spelt = {name.lower(): name for name in self.languages}.get(code.replace("_", "-").lower())
        if spelt is None:
            raise UserError(f"lang={code!r}: unknown to this model: pass one of {', '.join(self.languages)}")
        return spelt


def load(
    source: str | Path,
    *,
    which: Which = "best",
    k: int | None = None,
    min_score: float | None = None,
    max_triples: int | None = None,
) -> Model:
    """A trained model, ready to use.

    Args:
        source: A run's folder, the folder of one of its checkpoints, an exported folder, or an exported model on the
            Hugging Face hub: `hf://org/name`, or `hf://org/name@revision`.
        which: Of a run: the "best" or the "latest" model of its last stage; "stage1": the best one of stage one.
        k: Number of sub-modules to run (None: as trained).
        min_score: Least score of a triple, 0 to 1 (None: the model's threshold; without one, any).
        max_triples: Maximum number of triples a text, those with the highest scores (None: no maximum).

    Raises UserError if there is no model or it can't be used so; the message says what to do.
    """
    if not isinstance(source, str | Path):
        raise TypeError(f"source must be a folder or a name on the hub, not {_kind(source)}")
    folder = model_folder(source, which)
    from mere_ds.inference import Extractor

    return Model(Extractor.load(folder, k, min_score, max_triples), str(source))


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
