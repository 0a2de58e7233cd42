"""Where the entities of a brat document stand: offsets in whichever unit a tool wrote them, proven by the surface."""

from collections import Counter
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import NamedTuple

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats import units
from mere_ds.corpus.formats.checking import agreement
from mere_ds.corpus.formats.stated import Mention
from mere_ds.corpus.formats.units import ToCodePoint, to_code_points

REPAIRS = units.REPAIRS | {
    "line_ends_once": "the surface stands where the offsets say if they count CR LF as one character",
    "mark_not_counted": "the surface stands where the offsets say if they don't count the file's byte order mark",
    "shifted": "the surface stands up to 8 characters away, as those of other entities of the document do",
    "other_characters": "the surface is as long as the text at its place, and at least half of its characters agree",
}
NOTES = {
    "no_surface": "the line of the head or tail doesn't say what stands there, so its offsets aren't checked",
    "pieces_out_of_order": "the pieces of the head or tail are not in the order of the text",
}

_MARK = "\ufeff"  # brat's server counts it
_SHIFTS = [by for by in range(-8, 9) if by]
_WITNESSES = 3  # entities that must be shifted alike, for a short surface is soon found somewhere near


class Entity(NamedTuple):
    """A T line."""

    pieces: tuple[Span, ...]
    """As the file has them."""
    surface: str | None


class Placed(NamedTuple):
    """An entity's place in the text."""

    mention: Mention
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Places:
    """The places of a document's entities."""

    def __init__(self, stored: str, unit: str, entities: Collection[Entity], keep_mark: bool = False):
        """`stored` is the file's text with its byte order mark, which isn't part of `text` unless it is to be kept;
        `unit` as in `SourceOptions.offsets`: auto tries several."""
        self._stored, self._entities = stored, entities
        self._stated = to_code_points(stored, "char" if unit == "auto" else unit)
        self._units = [("", self._stated)]
        if unit == "auto":
            self._units += _other_units(stored)
        if len(self._units) > 1:  # a short surface may stand where two of them say: what most others say comes first
            self._units.sort(key=lambda named: -sum(self._stands_in(entity, named[1]) for entity in entities))
        self.text = stored if keep_mark else stored.removeprefix(_MARK)

    def of(self, entity: Entity) -> Placed:
        """Where it is; without pieces where the offsets are of no place in the text."""
        notes = ("pieces_out_of_order",) if list(entity.pieces) != sorted(entity.pieces) else ()
        if entity.surface is None:
            return self._placed(self._pieces(entity), None, (), (*notes, "no_surface"))
        if proven := self._proven(entity):
            name, pieces = proven
            return self._placed(pieces, self._there(pieces), (name,) if name else (), notes)
        pieces = self._pieces(entity)
        if agreement(self._stored, Mention(pieces, entity.surface)) == "differs":
            for by in self._shifts:
                if self._stands(moved := _moved(pieces, by), entity.surface):
                    return self._placed(moved, entity.surface, ("shifted",), notes)
            if self._mostly_agrees(pieces, entity.surface):
                return self._placed(pieces, None, ("other_characters",), notes)
        return self._placed(pieces, entity.surface, (), notes)

    def _placed(
        self, pieces: tuple[Span, ...], surface: str | None, repairs: tuple[str, ...], notes: tuple[str, ...]
    ) -> Placed:
        mark = len(self._stored) - len(self.text)
        return Placed(Mention(tuple((max(0, a - mark), b - mark) for a, b in pieces), surface), repairs, notes)

    def _pieces(self, entity: Entity, convert: ToCodePoint | None = None) -> tuple[Span, ...]:
        """In code points of the stored text; none if one of them is of no place in it."""
        convert = convert or self._stated
        ends = [(convert(start), convert(end)) for start, end in entity.pieces]
        found = tuple((start, end) for start, end in ends if start is not None and end is not None)
        return found if len(found) == len(ends) else ()

    def _proven(self, entity: Entity) -> tuple[str, tuple[Span, ...]] | None:
        """The first unit in which the surface stands where the offsets say."""
        for name, convert in self._units:
            if self._stands_in(entity, convert):
                return name, self._pieces(entity, convert)
        return None

    def _stands_in(self, entity: Entity, convert: ToCodePoint) -> bool:
        return entity.surface is not None and self._stands(self._pieces(entity, convert), entity.surface)

    def _stands(self, pieces: tuple[Span, ...], surface: str) -> bool:
        """Whether the text reads so; after a tab a line may hold more than the surface, as brat's own may."""
        length = _length(pieces)
        if not pieces or pieces[0][0] < 0 or length > len(surface) or surface[length : length + 1] not in ("", "\t"):
            return False
        return self._there(pieces) == surface[:length]

    def _there(self, pieces: tuple[Span, ...]) -> str:
        return " ".join(self._stored[start:end] for start, end in pieces)

    @cached_property
    def _shifts(self) -> list[int]:
        """By how many characters several of the entities are shifted, the commonest first."""
        fits = Counter(
            by
            for entity in self._entities
            if entity.surface and not self._proven(entity)
            for by in _SHIFTS
            if self._stands(_moved(self._pieces(entity), by), entity.surface)
        )
        return [by for by, count in fits.most_common() if count >= _WITNESSES]

    def _mostly_agrees(self, pieces: tuple[Span, ...], surface: str) -> bool:
        if not pieces or _length(pieces) != len(surface):
            return False
        equal = sum(a == b for a, b in zip(self._there(pieces), surface, strict=False))
        return 2 * equal >= len(surface)


def _length(pieces: tuple[Span, ...]) -> int:
    """Of the surface, whose pieces a blank joins."""
    return sum(end - start for start, end in pieces) + len(pieces) - 1


def _moved(pieces: tuple[Span, ...], by: int) -> tuple[Span, ...]:
    return tuple((start + by, end + by) for start, end in pieces)


def _other_units(stored: str) -> Iterator[tuple[str, ToCodePoint]]:
    """What offsets may count beside code points, where it makes a difference."""
    if not stored.isascii() and max(stored) > "\uffff":
        yield "utf16_offsets", to_code_points(stored, "utf16")
    if "\r\n" in stored:
        found = [at for at in range(len(stored)) if stored[at - 1 : at + 1] != "\r\n"] + [len(stored)]
        yield "line_ends_once", lambda offset: found[offset] if 0 <= offset < len(found) else None
    if stored.startswith(_MARK):
        yield "mark_not_counted", lambda offset: offset + 1 if 0 <= offset < len(stored) else None
