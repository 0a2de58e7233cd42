"""The body of a request to /extract -> texts, their languages and limits, or the status and line that refuse it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from mere_ds.config import spelt_as
from mere_ds.files import distinct_keys, parser
from mere_ds.serving.batching import Limits

ONE, MANY, WHOLE = "text", "texts", "document"
_FIELDS = {ONE, MANY, WHOLE, "lang", "min_score", "max_triples"}
_OF_A_TEXT = {"text", "lang"}


class Refused(Exception):
    """A request that is answered by a status other than 200."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


@dataclass(frozen=True)
class Question:
    """What a request asks for."""

    texts: list[str]
    languages: list[str]
    limits: Limits
    is_one: bool
    """Whether it is answered by one object rather than a list."""
    is_document: bool
    """Whether its one text is a document: read whole, sentence by sentence."""


@dataclass(frozen=True)
class Reader:
    """Reads requests for a model of these languages."""

    languages: tuple[str, ...]
    """As requests may name them; `config.AUTO` among them if languages can be detected."""
    max_text: int
    max_texts: int
    documents: bool
    """Whether documents can be cut into sentences."""

    def question(self, content: bytes) -> Question:
        """Raises Refused: 400 for what is not JSON, 413 for too much, 422 for anything else that is wrong."""
        asked = _fields(_parsed(content), "the request", _FIELDS)
        named = [name for name in (ONE, MANY, WHOLE) if name in asked]
        if len(named) != 1:
            _wrong(f'pass one of "{ONE}" (a text), "{MANY}" (a list) and "{WHOLE}" (a text of many sentences)')
        (kind,) = named
        if kind == WHOLE and not self.documents:
            _wrong(f"\"{WHOLE}\": the server lacks sentencex for these: pip install 'mere-ds[documents]' there")
        language = self._language(asked["lang"], '"lang"') if "lang" in asked else None
        if kind != MANY:
            pairs = [self._pair(asked[kind], f'"{kind}"', language)]
        else:
            given = asked[MANY]
            if not isinstance(given, list):
                _wrong(f'"{MANY}" must be a list')
            if len(given) > self.max_texts:
                raise Refused(413, f'"{MANY}" has {len(given)} texts: send at most {self.max_texts} at once')
            pairs = [self._member(member, f"text {n}", language) for n, member in enumerate(given, start=1)]
        limits = Limits(_score(asked.get("min_score")), _count(asked.get("max_triples")))
        return Question([text for text, _ in pairs], [its for _, its in pairs], limits, kind != MANY, kind == WHOLE)

    def _member(self, member: Any, name: str, language: str | None) -> tuple[str, str]:
        """A text of a list: a string, or an object with a language of its own."""
        if not isinstance(member, dict):
            return self._pair(member, name, language)
        fields = _fields(member, name, _OF_A_TEXT)
        if "text" not in fields:
            _wrong(f'{name} has no "text"')
        own = self._language(fields["lang"], f'"lang" of {name}') if "lang" in fields else language
        return self._pair(fields["text"], name, own)

    def _pair(self, text: Any, name: str, language: str | None) -> tuple[str, str]:
        if not isinstance(text, str):
            _wrong(f"{name} must be a string")
        if language is None:
            _wrong(f'{name} has no language: pass "lang", one of {self._known}')
        if len(text) > self.max_text:
            raise Refused(413, f"{name} has {len(text)} characters: send at most {self.max_text}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            _wrong(f"{name} is not Unicode: character {error.start + 1} is half of a surrogate pair")
        return text, language

    def _language(self, given: Any, name: str) -> str:
        if not isinstance(given, str):
            _wrong(f"{name} must be a string")
        spelt = spelt_as(given, self.languages)
        if spelt not in self.languages:  # not `AUTO`, where it can't be detected
            _wrong(f"{name} is {json.dumps(given[:40])}, which this model doesn't know: pass one of {self._known}")
        return spelt

    @property
    def _known(self) -> str:
        return ", ".join(self.languages)


def _parsed(content: bytes) -> Any:
    try:
        return parser(distinct_keys)(content.decode("utf-8-sig"))
    except RecursionError:
        raise Refused(400, "the request is not JSON: nested too deeply") from None
    except ValueError as error:
        raise Refused(400, f"the request is not JSON: {error}") from None


def _fields(given: Any, name: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        _wrong(f"{name} must be a JSON object")
    if unknown := sorted(set(given) - known):
        _wrong(f"{name} has the unknown field {json.dumps(unknown[0][:40])}: known are {', '.join(sorted(known))}")
    return given


def _score(given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        _wrong('"min_score" must be a number from 0 to 1')
    return float(given)


def _count(given: Any) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        _wrong('"max_triples" must be a whole number, at least 1')
    return given


def _wrong(message: str) -> NoReturn:
    raise Refused(422, message)
