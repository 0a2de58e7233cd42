"""Which of a model's languages a text is in.

eldc gives each of its 60 languages a score s from 0 to 1 by the character sequences of the first 1,000 bytes. Their
certainties are here proportional to (1 - s)^-8, those of languages that the model doesn't know divided by 10 before;
`benchmarks/language_detection.py` shows what this gives. The library's memory and time are small: the languages are
tables in its binary.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from mere_ds.errors import UserError
from mere_ds.optional_libraries import needed

CERTAIN = 0.5
"""Least certainty of an answer."""

_SHARPNESS = 8
_PRIOR_OF_OTHERS = 0.1
_LEAST = 0.01
"""Candidates that are less certain aren't named."""
_READ = 1000
"""Characters that are looked at: eldc reads no more bytes."""
_MOST_SCORES = 20
_SAME = {"nb": "no", "nn": "no", "fil": "tl", "iw": "he", "cmn": "zh", "arb": "ar", "pes": "fa"}
"""Codes of languages that eldc has under another code."""

_making = Lock()
_made: dict[tuple[str, ...], "Detector"] = {}

log = logging.getLogger("mere_ds")


@dataclass(frozen=True, slots=True)
class Detected:
    """What is known of a text's language."""

    language: str | None
    """The most certain of the model's languages; None if its certainty is below `CERTAIN`."""
    certainty: float
    """That of the most certain of the model's languages, 0 to 1."""
    candidates: list[tuple[str, float]]
    """All languages that come into question with their certainty, the most certain one first; also such that the model
    doesn't know."""
    note: str | None
    """Why there is no language; None if there is one."""


class Detector:
    """Detects the languages of a model; several threads may use one.

    Make them by `detector_for`, for the library must not be loaded by two threads at the same time.
    Languages are told apart by what stands before a script or region: of `pt` and `pt-BR`, or of `pt-BR` and `pt-PT`,
    only the first one of the model is answered. Such a language, and one that eldc doesn't know, is never answered and
    named in a warning. Raises UserError if none can be, and if eldc isn't installed.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        with needed("detecting languages needs"):
            import eldc
        eldc.init()
        self._eldc = eldc.instance()
        self._eldc.set_scores(_MOST_SCORES)
        self._names: dict[str, str] = {}
        """The model's language by eldc's code."""
        for language in sorted(languages, key=lambda code: ("-" in code, languages.index(code))):
            code = language.partition("-")[0]
            code = _SAME.get(code, code)
            if code in eldc.LANGUAGES:
                self._names.setdefault(code, language)
        if not self._names:
            raise UserError(
                f"none of the model's languages ({', '.join(languages)}) can be detected: name the language"
            )
        if missing := [language for language in languages if language not in self._names.values()]:
            log.warning("detection never answers %s: name the language of such texts", ", ".join(missing))

    @property
    def languages(self) -> tuple[str, ...]:
        """Those of the model that can be answered."""
        return tuple(self._names.values())

    def detect(self, texts: Sequence[str]) -> list[Detected]:
        """The language of each text, as the model spells it."""
        return [self._detect(text) for text in texts]

    def _detect(self, text: str) -> Detected:
        scores = self._eldc.detect_details(_readable(text)).scores
        weights = {
            code: (1 if code in self._names else _PRIOR_OF_OTHERS) * (1 - min(score, 0.999)) ** -_SHARPNESS
            for code, score in scores.items()
        }
        total = sum(weights.values())
        ranked = sorted(((code, weight / total) for code, weight in weights.items()), key=lambda its: -its[1])
        language, certainty = next(
            ((self._names[code], value) for code, value in ranked if code in self._names), (None, 0.0)
        )
        candidates = [(self._names.get(code, code), round(value, 4)) for code, value in ranked if value >= _LEAST]
        if certainty >= CERTAIN:
            return Detected(language, round(certainty, 4), candidates, None)
        return Detected(None, round(certainty, 4), candidates, self._note(candidates))

    def _note(self, candidates: list[tuple[str, float]]) -> str:
        if not candidates:
            return "language unknown: no words to tell it by"
        likeliest, certainty = candidates[0]
        if likeliest not in self._names.values() and certainty >= CERTAIN:
            return f"language not of this model: {likeliest} (certainty {certainty:.2f})"
        named = ", ".join(f"{code} {value:.2f}" for code, value in candidates[:3])
        return f"language unclear: {named}"


def detector_for(languages: Sequence[str]) -> Detector:
    """The one detector of this process for these languages. Raises UserError as `Detector`."""
    with _making:
        key = tuple(languages)
        if key not in _made:
            _made[key] = Detector(key)
        return _made[key]


def _readable(text: str) -> str:
    """The part of a text that is looked at, without what eldc can't take or would stop at."""
    return text[:_READ].replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
