"""Selection of languages: SMiLER's fourteen, the paper's two groups, or any list of codes."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from mere_ds.errors import UserError

SMILER_LANGUAGES = ("it", "fr", "de", "pt", "nl", "en", "ko", "pl", "es", "ar", "ru", "sv", "fa", "uk")
"""The order of the paper's Table 2: from the language with the most sentences to the one with the fewest."""

_EURO = ("it", "fr", "pt", "de", "es", "en")
GROUPS = {"EURO": _EURO, "SVO": (*_EURO, "ru", "sv", "nl", "pl", "uk")}
"""The paper's language groups (section 4.4): Western European, and subject-verb-object."""

LANGUAGE = "[a-z]{2,3}"
"""Regular expression of a language code."""

_ADVICE = f"pass all, {', '.join(GROUPS)}, or codes such as de,fr"


def shared_id(id: str, language: str) -> str:
    """The id shared by a sentence and its translations: without a leading language code (de-7, fr-7)."""
    return id.removeprefix(f"{language}-")


def sort_languages(codes: Iterable[str]) -> list[str]:
    """The codes in SMiLER's order, followed by all other codes in alphabetical order."""
    rank = {code: place for place, code in enumerate(SMILER_LANGUAGES)}
    return sorted(codes, key=lambda code: (rank.get(code, len(rank)), code))


def parse_languages(languages: str | Sequence[str]) -> Literal["all"] | list[str]:
    """Parses a choice of languages: `all`, a group of `GROUPS`, codes, or a mix of groups and codes.

    Takes `"de,fr"` as well as `["de", "fr"]`; case does not matter. Returns `"all"` or the codes in the order of
    `sort_languages`. Raises UserError for an empty choice, a malformed code or a language that is named twice.
    """
    parts = _parts(languages)
    if [part.lower() for part in parts] == ["all"]:
        return "all"
    codes: list[str] = []
    for part in parts:
        codes += GROUPS.get(part.upper()) or [_code(part)]
    if not codes:
        raise UserError(f"--languages is empty: {_ADVICE}")
    twice = sort_languages({code for code in codes if codes.count(code) > 1})
    if twice:
        raise UserError(f"--languages names {', '.join(twice)} more than once: name each language once")
    return sort_languages(codes)


def choose_languages(languages: str | Sequence[str], there: Sequence[str]) -> tuple[list[str], list[str]]:
    """(chosen languages in the order of `there`, languages of chosen groups that are not in `there`).

    `languages` as in `parse_languages`. Languages of a group may be missing from `there`. Raises UserError for a
    language code that is missing, and if none is left.
    """
    wanted = parse_languages(languages)
    if wanted == "all":
        return list(there), []
    lacking = [code for code in wanted if code not in there]
    named = {part.lower() for part in _parts(languages)}
    if named & set(lacking) or lacking == wanted:
        absent = [code for code in lacking if code in named] or lacking
        raise UserError(f"--languages: the shards contain no {', '.join(absent)}, only {', '.join(there)}")
    return [code for code in there if code in wanted], lacking


def _parts(languages: str | Sequence[str]) -> list[str]:
    parts = languages.split(",") if isinstance(languages, str) else languages
    return [str(part).strip() for part in parts]


def _code(part: str) -> str:
    if part.lower() == "all" or not re.fullmatch(LANGUAGE, part.lower()):
        raise UserError(f"--languages: {part!r} is neither a group nor a language code: {_ADVICE}")
    return part.lower()
