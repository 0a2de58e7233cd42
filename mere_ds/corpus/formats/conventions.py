"""What a file's offsets count and whether its ends are exclusive: found out from surfaces that the file states as well.

Every choice that explains fewer surfaces than another one is dropped, some hundreds of rows at a time. Where there are
no surfaces, code points, UTF-16 code units and graphemes stay possible; an error asks for one only if it matters.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.checking import agreement
from mere_ds.corpus.formats.stated import Mention
from mere_ds.corpus.formats.units import span_at, span_of_tokens, to_code_points, units_differ
from mere_ds.errors import UserError

_WITHOUT_SURFACES = ("char", "utf16", "grapheme")
_BY_SURFACES = (*_WITHOUT_SURFACES, "byte")
_FITS = {"equal": 2, "blanks": 1, "differs": 0}  # a span that is one blank too long is not as good


class Place(NamedTuple):
    """Of a mention, as a file states it."""

    start: int
    end: int
    surface: str | None


class Passage(NamedTuple):
    """A text, the spans of its tokens, and the places of its mentions."""

    text: str
    tokens: Sequence[Span]
    places: Sequence[Place]


class Conventions:
    """Of one file; `offsets` and `end` may be "auto"."""

    def __init__(self, name: str, offsets: str, end: str, has_surfaces: bool):
        """`name` is the file's, for messages. Raises UserError if `end` can't be found out."""
        self._name = name
        units = (_BY_SURFACES if has_surfaces else _WITHOUT_SURFACES) if offsets == "auto" else (offsets,)
        ends = ("exclusive", "inclusive") if end == "auto" else (end,)
        self._keep(list(product(units, ends)))
        if not has_surfaces and end == "auto":
            self._ask_end()

    @property
    def settled(self) -> bool:
        """Whether there is nothing more to `learn`."""
        return len(self._left) == 1

    @property
    def past_end(self) -> int | None:
        """What to add to an end to get the place after it, if offsets certainly count code points."""
        unit, ends = self._left[0]
        return int(ends == "inclusive") if self.settled and unit == "char" else None

    def learn(self, passages: Iterable[Passage]) -> None:
        """Takes note of the next passages, before `span` is asked for theirs. Raises UserError if they leave a choice
        that changes a span."""
        right = Counter(dict.fromkeys(self._left, 0))
        open_spans = False
        for passage in passages:
            for place in self._telling(passage):
                mentions = {choice: self._mention(choice, passage, place) for choice in self._left}
                open_spans = open_spans or place.surface is None and len(set(mentions.values())) > 1
                if place.surface is not None:
                    right.update({choice: _fit(passage, found) for choice, found in mentions.items()})
        most = max(right.values())
        self._keep([choice for choice in self._left if right[choice] == most])
        if open_spans and len({end for _, end in self._left}) > 1:
            self._ask_end()
        if open_spans and len(self._left) > 1:
            raise UserError(
                f"{self._name}: its texts have characters that count differently as code points, UTF-16 code units or "
                "graphemes: pass --offsets=char (Python), utf16 (JavaScript, Java) or grapheme"
            )

    def _keep(self, choices: list[tuple[str, str]]) -> None:
        self._left = choices
        self.span: Callable[[str, Sequence[Span], int, int], Span | None] = partial(_span, *choices[0])
        """(text, spans of its tokens, start, end) -> in code points of the text, end exclusive; None where there is no
        such place."""

    def _telling(self, passage: Passage) -> Sequence[Place]:
        """The places at which the choices that are left may differ."""
        if len({end for _, end in self._left}) > 1:
            return passage.places
        if passage.text.isascii() and "\r\n" not in passage.text:
            return ()
        return passage.places if self._left[-1][0] == "byte" or units_differ(passage.text) else ()

    @staticmethod
    def _mention(choice: tuple[str, str], passage: Passage, place: Place) -> Mention | None:
        span = _span(*choice, passage.text, passage.tokens, place.start, place.end)
        fits = span is not None and 0 <= span[0] < span[1] <= len(passage.text)
        return Mention((span,), place.surface) if fits and span else None

    def _ask_end(self) -> None:
        raise UserError(
            f"{self._name}: nothing in it says whether the end of a span is its last place or the one after it: "
            "pass --end=inclusive or --end=exclusive"
        )


def _fit(passage: Passage, mention: Mention | None) -> int:
    """How well a mention agrees with its surface."""
    return _FITS[agreement(passage.text, mention)] if mention else 0


def _span(unit: str, ends: str, text: str, tokens: Sequence[Span], start: int, end: int) -> Span | None:
    if ends == "inclusive":
        end += 1
    if unit == "char":
        return start, end
    if unit == "token":
        return span_of_tokens(tokens, start, end)
    return span_at(to_code_points(text, unit), start, end)
