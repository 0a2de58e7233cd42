"""SMiLER's quirks, added to synthetic rows at SMiLER's rates.

`MEASURED_RATES` are shares of SMiLER's rows. The rates of the other quirks are not published; they are chosen so that
some 10,000 rows contain each. A row gets at most one quirk. Two more come from the patterns and have no rate: `<e2>`
before `<e1>` (on purpose far more often than SMiLER's 2.75 %) and marks inside words.
"""

import re
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, product
from string import ascii_uppercase

from mere_ds.corpus.synthetic.roles import LABEL_KINDS, NUMBER_KINDS
from mere_ds.corpus.synthetic.sentences import MOST_WORDS, Sentence, Writer

MEASURED_RATES = {
    "cut_mark": 0.0072,
    "entity_column_differs": 0.0075,
    "empty_pair": 72 / 1_377_745,
    "repeated_mark": 2 / 1_377_745,
    "nbsp": 0.0043,
    "koordinaten": 0.0019,
    "coordinates": 0.0017,
}
CHOSEN_RATES = {
    "leading_bar": 0.001,
    "empty_brackets": 0.001,
    "tab_in_text": 0.0005,
    "literal_quotes": 0.003,
    "odd_id": 0.0005,
    "null_name": 0.0005,
    "same_surface": 0.0005,
    "surface_again": 0.01,
    "empty_text": 0.0005,
}
RATES = MEASURED_RATES | CHOSEN_RATES
"""Shares of rows; `empty_text` rows are additional, because they don't count as sentences."""

_CUT_AT_TAIL = 0.95
_MOST_ADDED_WORDS = 15
_NULL_NAMES = ("NA", "nan", "null", "None", "N/A", "NaN", "NULL")
_SPAN = re.compile(r"<(e[12])>.*?</\1>")


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of one row of a SMiLER file."""

    id: str
    head: str
    tail: str
    label: str
    text: str
    language: str

    def line(self) -> str:
        return "\t".join((self.id, self.head, self.tail, self.label, self.text, self.language)) + "\n"


class Quirks:
    """Chooses a quirk for each row and writes rows with quirks, for one language."""

    def __init__(self, writer: Writer, label_weights: dict[str, float]):
        self.writer, self.names = writer, writer.names
        cuttable = sum(weight for label, weight in label_weights.items() if _can_be_cut(label))
        rates = dict(RATES, cut_mark=RATES["cut_mark"] * sum(label_weights.values()) / max(cuttable, 1))
        self._quirks, self._bounds = tuple(rates), list(accumulate(rates.values()))

    def draw(self, label: str) -> str:
        """The quirk of the next row, "" for none."""
        index = bisect(self._bounds, self.names.random())
        quirk = self._quirks[index] if index < len(self._quirks) else ""
        return "" if quirk == "cut_mark" and not _can_be_cut(label) else quirk

    def rows(self, quirk: str, label: str, plain: Callable[[Sentence], Row]) -> list[Row]:
        """One sentence of this label as a row with this quirk; for `empty_text` a row without text and a good one."""
        if quirk == "cut_mark":
            return [self._cut(label, plain)]
        if quirk in ("null_name", "same_surface"):
            return [plain(self.writer.sentence(label, rename=getattr(self, f"_{quirk}")))]
        row = plain(self.writer.sentence(label, MOST_WORDS - _MOST_ADDED_WORDS))
        changed = getattr(self, f"_{quirk}")(row)
        return [changed, row] if quirk == "empty_text" else [changed]

    # The names of a sentence.

    def _null_name(self, head: str, tail: str) -> tuple[str, str]:
        return self.names.pick([name for name in _NULL_NAMES if self.names.allows(name)]), tail

    @staticmethod
    def _same_surface(head: str, tail: str) -> tuple[str, str]:
        return tail, tail

    # A sentence cut at the dot of an abbreviation: `... of <e2>D.` with `D. W. Griffith` in the column.

    def _cut(self, label: str, plain: Callable[[Sentence], Row]) -> Row:
        cut_tail = self.names.random() < _CUT_AT_TAIL

        def abbreviated(head: str, tail: str) -> tuple[str, str]:
            return (head, self._abbreviation(tail)) if cut_tail else (self._abbreviation(head), tail)

        row = plain(self.writer.bare_sentence(label, "tail" if cut_tail else "head", abbreviated))
        before, mark, after = row.text.partition("<e2>" if cut_tail else "<e1>")
        return replace(row, text=before + mark + after[: after.index(".") + 1])

    def _abbreviation(self, surface: str) -> str:
        """A name of the same side: this one with its first word (if it has several) abbreviated to initials."""
        first, _, rest = surface.partition(" ")
        letters = dict.fromkeys([letter.upper() for letter in surface if letter.isalpha()] + list(ascii_uppercase))
        for count in (1, 2):
            for initials in product(letters, repeat=count):
                short = " ".join([f"{letter}." for letter in initials] + [rest or first])
                if self.names.allows(short):
                    return short
        raise AssertionError(f"no abbreviation of {surface!r} is a name of this side")

    # Rows whose columns or marks are wrong.

    def _entity_column_differs(self, row: Row) -> Row:
        return replace(row, head=_other_case(row.head)) if self._coin() else replace(row, tail=_other_case(row.tail))

    def _empty_pair(self, row: Row) -> Row:
        mark = "e1" if self._coin() else "e2"
        return replace(row, text=re.sub(f"<{mark}>.*?</{mark}>", f"<{mark}></{mark}>", row.text))

    def _repeated_mark(self, row: Row) -> Row:
        return replace(row, text=row.text.replace("<e2>", "<e2><e2>"))

    def _odd_id(self, row: Row) -> Row:
        return replace(row, id=self.names.pick(("Q{}", "{}_2", "{}a", "-{}", "{}.0")).format(row.id))

    def _empty_text(self, row: Row) -> Row:
        return replace(row, text="")

    # Texts with markup debris; the marked names don't change.

    def _nbsp(self, row: Row) -> Row:
        return self._at_a_space(row, self.names.pick((" &nbsp ", " & nbsp; ", " &nbsp; ", "&nbsp ")))

    def _empty_brackets(self, row: Row) -> Row:
        return self._at_a_space(row, " () ")

    def _tab_in_text(self, row: Row) -> Row:
        return self._at_a_space(row, "\t")

    def _koordinaten(self, row: Row) -> Row:
        return replace(row, text=f"Koordinaten: {self._degrees('′ N')}, {self._degrees('′ O')} {row.text}")

    def _coordinates(self, row: Row) -> Row:
        return replace(row, text=f"Coordinates: {self._degrees('′N')} {self._degrees('′E')} {row.text}")

    def _leading_bar(self, row: Row) -> Row:
        return replace(row, text=self.names.pick(("| ", "|")) + row.text)

    def _literal_quotes(self, row: Row) -> Row:
        spans = [match[0] for match in _SPAN.finditer(row.text)]
        quoted = self.names.pick(spans)
        return replace(row, text=row.text.replace(quoted, self.names.pick((f'"{quoted}"', f'"{quoted}', f'{quoted}"'))))

    def _surface_again(self, row: Row) -> Row:
        surface = row.head if self._coin() else row.tail
        return replace(row, text=f"{surface}: {row.text}" if self._coin() else f"{row.text} ({surface})")

    def _at_a_space(self, row: Row, text: str) -> Row:
        """The row with a space outside the marks replaced by `text`."""
        names = [match.span() for match in _SPAN.finditer(row.text)]
        free = [at for at, char in enumerate(row.text) if char == " " and not any(s <= at < e for s, e in names)]
        at = self.names.pick(free)
        return replace(row, text=row.text[:at] + text + row.text[at + 1 :])

    def _degrees(self, end: str) -> str:
        return f"{int(self.names.random() * 70)}° {int(self.names.random() * 60)}{end}"

    def _coin(self) -> bool:
        return self.names.random() < 0.5


def _can_be_cut(label: str) -> bool:
    """Whether the label's tails are always names: a number, which no_relation can have too, is never abbreviated."""
    return label != "no_relation" and LABEL_KINDS[label][1] not in NUMBER_KINDS


def _other_case(surface: str) -> str:
    """The same letters in another case; where the script has no case, in quotation marks."""
    others = [other for other in (surface.lower(), surface.upper()) if other != surface]
    return others[0] if others else f'"{surface}"'
