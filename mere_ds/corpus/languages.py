"""Which languages a run uses: SMiLER's fourteen, the paper's two groups, or any list of codes."""

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
    """What the ids of a sentence and its translations have in common: all but a language code in front (de-7, fr-7)."""
    return id.removeprefix(f"{language}-")


def sort_languages(codes: Iterable[str]) -> list[str]:
    """The codes in SMiLER's order, codes that SMiLER does not have after them in alphabetical order."""
    rank = {code: place for place, code in enumerate(SMILER_LANGUAGES)}
    return sorted(codes, key=lambda code: (rank.get(code, len(rank)), code))


def parse_languages(languages: str | Sequence[str]) -> Literal["all"] | list[str]:
    """Reads a choice of languages: `all`, a group of `GROUPS`, codes, or a mix of groups and codes.

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
        raise UserError(f"--languages names no language: {_ADVICE}")
    twice = sort_languages({code for code in codes if codes.count(code) > 1})
    if twice:
        raise UserError(f"--languages names {', '.join(twice)} more than once: name each language once")
    return sort_languages(codes)


def choose_languages(languages: str | Sequence[str], there: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of the languages `there` that a choice takes, in their order, and what its groups lack.

    `languages` is what `parse_languages` takes. A group takes what is there of it; a code must be there. Raises
    UserError for a code that isn't, and where nothing is left.
    """
    wanted = parse_languages(languages)
    if wanted == "all":
        return list(there), []
    lacking = [code for code in wanted if code not in there]
    named = {part.lower() for part in _parts(languages)}
    if named & set(lacking) or lacking == wanted:
        absent = [code for code in lacking if code in named] or lacking
        raise UserError(f"--languages: the shards contain no {', '.join(absent)}, but {', '.join(there)}")
    return [code for code in there if code in wanted], lacking


def _parts(languages: str | Sequence[str]) -> list[str]:
    parts = languages.split(",") if isinstance(languages, str) else languages
    return [str(part).strip() for part in parts]


def _code(part: str) -> str:
    if part.lower() == "all" or not re.fullmatch(LANGUAGE, part.lower()):
        raise UserError(f"--languages has {part!r}, which is neither a group nor a language code: {_ADVICE}")
    return part.lower()
