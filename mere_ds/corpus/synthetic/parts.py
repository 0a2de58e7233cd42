"""The parts of a line, and the random stream of names that fills them in."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")

TEST_SHARE = 5
"""One name in so many is a test name."""
_TRIES = 5000
_FOREIGN_DIGITS = {
    "ar": str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"),
    "fa": str.maketrans("0123456789,", "۰۱۲۳۴۵۶۷۸۹٬"),
}
_PLAIN = ("", *_FOREIGN_DIGITS)


def is_test_name(surface: str) -> bool:
    """Whether only test sentences may use this name: one rule for all kinds, slots and languages, ignoring case."""
    return zlib.crc32(surface.casefold().encode()) % TEST_SHARE == 0


class NoNameLeft(AssertionError):
    """All names of a kind were refused: there are too few of this side that are not to be avoided."""


class Names:
    """A random stream of names for one side (training or test) of one language.

    `avoid` holds case-folded names that must not be drawn: the entities of the sentence that is being written.
    """

    def __init__(self, kinds: "dict[str, list[DrawnParts]]", entity_kinds: set[str], rng: Random, test: bool):
        self.kinds, self.entity_kinds, self.rng, self.test = kinds, entity_kinds, rng, test
        self.random = rng.random
        self.avoid: tuple[str, ...] = ()

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.random() * len(items))]

    def join(self, parts: "DrawnParts") -> str:
        return "".join([part if isinstance(part, str) else part.draw(self) for part in parts])

    def surface(self, kind: str) -> str:
        """A name of this kind; if the kind can be a head or tail, a name of this stream's side (training or test)."""
        alternatives = self.kinds[kind]
        if kind not in self.entity_kinds:
            return self.join(self.pick(alternatives))
        return self.allowed(lambda: self.join(self.pick(alternatives)))

    def allowed(self, draw: Callable[[], str]) -> str:
        """The first drawn name that this stream allows; the checker makes sure that one exists."""
        for _ in range(_TRIES):
            surface = draw()
            if self.allows(surface):
                return surface
        raise NoNameLeft(f"no {'test' if self.test else 'training'} name, the last one tried is {surface}")

    def allows(self, surface: str) -> bool:
        return is_test_name(surface) == self.test and surface.casefold() not in self.avoid


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several texts."""

    texts: tuple[str, ...]

    def draw(self, names: Names) -> str:
        return names.pick(self.texts)


@dataclass(frozen=True, slots=True)
class Number:
    """An integer from `low` to `high`; plain ones of four digits are years and obey the rule of test names."""

    low: int
    high: int
    form: str

    def draw(self, names: Names) -> str:
        def any_number() -> str:
            return self.written(self.low + int(names.random() * (self.high - self.low + 1)))

        return names.allowed(any_number) if self.is_year else any_number()

    @property
    def is_year(self) -> bool:
        return self.form in _PLAIN and self.low >= 1000 and 25 <= self.high - self.low < 1200

    def written(self, value: int) -> str:
        if self.form[:2] in _FOREIGN_DIGITS:
            return f"{value:{self.form[2:]}}".translate(_FOREIGN_DIGITS[self.form[:2]])
        return f"{value:,}".replace(",", " " if self.form == "_" else self.form) if self.form else str(value)


@dataclass(frozen=True, slots=True)
class Digits:
    """A number of `count` digits, the first not 0."""

    count: int
    form: str

    def draw(self, names: Names) -> str:
        low = 10 ** (self.count - 1)
        return str(low + int(names.random() * 9 * low)).translate(_FOREIGN_DIGITS.get(self.form, {}))


@dataclass(frozen=True, slots=True)
class Name:
    """A name of a kind: a distractor in a sentence, a part in a name list."""

    kind: str
    capital: bool

    def draw(self, names: Names) -> str:
        surface = names.surface(self.kind)
        return capitalise(surface) if self.capital else surface


@dataclass(frozen=True, slots=True)
class Entity:
    """The place of an entity in a pattern: of the head, the tail, or one of those of `[facts]`."""

    slot: str
    kind: str
    capital: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """Where an entity begins or ends whose name has other names in it."""

    slot: str
    closes: bool


@dataclass(frozen=True, slots=True)
class Aside:
    """The place of an aside in a pattern."""


Drawn = str | Choice | Number | Digits | Name
DrawnParts = tuple[Drawn, ...]
Part = Drawn | Entity | Edge | Aside
Parts = tuple[Part, ...]


def capitalise(surface: str) -> str:
    """The text with its first letter as a capital."""
    return surface[:1].upper() + surface[1:]
