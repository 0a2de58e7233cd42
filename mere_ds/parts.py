"""An output that several calls make in parts, and one call joins: whose a unit of it is, and what fits together."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.errors import UserError

_SHOWN = 8
"""Maximum number of parts listed in a message."""


class Part(NamedTuple):
    """A share of an output's units: those whose number has the remainder `number` - 1 by `of`."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """From `2/4`. Raises UserError."""
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise UserError(f"--part={text}: must be such as 2/4, the second of four parts")
        return cls(int(number), int(of))

    @classmethod
    def of_name(cls, name: str) -> "Part":
        """From `2-of-4`, as `str` gives it. Raises UserError."""
        return cls.parse(name.replace("-of-", "/"))

    @classmethod
    def all(cls, of: int) -> "Iterator[Part]":
        return (cls(number, of) for number in range(1, of + 1))

    def has(self, unit: int) -> bool:
        return unit % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"


WHOLE = Part(1, 1)


def asked_for(part: str | None, join: int | None) -> Part:
    """The part that --part names, or the last of those that --join joins; `WHOLE` without either. Raises UserError."""
    if part and join:
        raise UserError("--part and --join are both given: first make each part, then join them")
    if join is not None and join < 1:
        raise UserError(f"--join={join}: must be at least 1, the number of parts")
    return Part.parse(part) if part else Part(join or 1, join or 1)


def check_finished(out: Path, missing: Iterable[Part]) -> None:
    """Raises UserError that names the first parts that are missing, if any."""
    if lacking := list(islice(missing, _SHOWN + 1)):  # somebody may ask for a billion parts
        names = ", ".join(f"{part.number}/{part.of}" for part in lacking[:_SHOWN])
        names += " and others" * (len(lacking) > _SHOWN)
        verb = "is" if len(lacking) == 1 else "are"
        raise UserError(
            f"{out}: of its {lacking[0].of} parts, {names} {verb} not finished: run the command with --part for each "
            "of them first"
        )


def check_same(name: Path, begun: dict[str, Any], made_from: dict[str, Any], advice: str) -> None:
    """Raises UserError that names what is not as it was when `name` was begun."""
    names = sorted(begun.keys() | made_from.keys())
    if other := [key for key in names if begun.get(key) != made_from.get(key)]:
        told = ", ".join(f"{key} was {_short(begun.get(key))}, is {_short(made_from.get(key))}" for key in other)
        raise UserError(f"{name}: was begun from something else ({told}): {advice}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:20]}..."
