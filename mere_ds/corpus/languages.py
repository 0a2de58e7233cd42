"""Codes of languages, of any length, and the selection of languages: the paper's two groups, or any list of codes."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

from mere_ds.errors import UserError

SMILER_LANGUAGES = ("it", "fr", "de", "pt", "nl", "en", "ko", "pl", "es", "ar", "ru", "sv", "fa", "uk")
"""The order of the paper's Table 2: from the language with the most sentences to the one with the fewest."""

_EURO = ("it", "fr", "pt", "de", "es", "en")
GROUPS = {"EURO": _EURO, "SVO": (*_EURO, "ru", "sv", "nl", "pl", "uk")}
"""The paper's language groups (section 4.4): Western European, and subject-verb-object."""

LANGUAGE = "[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8}){0,5}"
"""Regular expression of a language code as people write it, see `language_code`."""

_ADVICE = f"pass all, {', '.join(GROUPS)}, or codes such as de,fr,pt-BR"


@lru_cache(1024)
def language_code(text: str) -> str | None:
    """The one spelling of a language code that is used inside; None if it isn't one.

    A code is a language of two or three letters, which others may follow after hyphens or underscores (a script, a
    region, ...), in upper or lower case. The spelling is that of RFC 5646: `pt-BR`, `zh-Hant`, `de`.
    """
    if not re.fullmatch(LANGUAGE, text):
        return None
    language, *others = text.lower().replace("_", "-").split("-")
    spelt = [language]
    for part in others:
        after_singleton = any(len(before) == 1 for before in spelt)
        as_usual = {2: part.upper(), 4: part.capitalize()}.get(len(part), part)  # a region, a script
        spelt.append(part if after_singleton else as_usual)
    return "-".join(spelt)


def main_language(code: str) -> str:
    """The language itself, without script and region: `pt-BR` -> `pt`."""
    return code.partition("-")[0]


def shared_id(id: str, language: str) -> str:
    """The id shared by a sentence and its translations: without a leading language code (de-7, fr-7, pt-BR-7)."""
    before, rest = id[: len(language)], id[len(language) :]
    return rest[1:] if rest[:1] == "-" and language_code(before) == language else id


def sort_languages(codes: Iterable[str]) -> list[str]:
    """The codes in SMiLER's order, followed by all other codes in alphabetical order."""
    rank = {code: place for place, code in enumerate(SMILER_LANGUAGES)}
    return sorted(codes, key=lambda code: (rank.get(code, len(rank)), code))


def parse_languages(languages: str | Sequence[str]) -> Literal["all"] | list[str]:
    """Parses a choice of languages: `all`, a group of `GROUPS`, codes, or a mix of groups and codes.

    Takes `"de,fr"` as well as `["de", "fr"]`; case does not matter. Returns `"all"` or the codes, spelt as by
    `language_code`, in the order of `sort_languages`. Raises UserError for an empty choice, a malformed code or a
    language that is named twice.
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
    named = {language_code(part) for part in _parts(languages)}
    if named & set(lacking) or lacking == wanted:
        absent = [code for code in lacking if code in named] or lacking
        raise UserError(f"--languages: the shards contain no {', '.join(absent)}, only {', '.join(there)}")
    return [code for code in there if code in wanted], lacking


def _parts(languages: str | Sequence[str]) -> list[str]:
    parts = languages.split(",") if isinstance(languages, str) else languages
    return [str(part).strip() for part in parts]


def _code(part: str) -> str:
    code = language_code(part)
    if not code or code == "all":
        raise UserError(f"--languages: {part!r} is neither a group nor a language code: {_ADVICE}")
    return code
