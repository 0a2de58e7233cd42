"""Which sentences are compared: two of one entity pair, as often as can be in different languages, among others.

A batch is either of pairs, for both objectives, or of sentences without a partner, for masked words only: pairs that
were strewn over all batches would meet few others to be distinguished from.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mere_ds.errors import UserError
from mere_ds.pretraining.statements import NOTES, Statements


@dataclass(frozen=True)
class BatchRows:
    """The sentences of one step."""

    rows: np.ndarray
    """int64; of pairs: partners stand side by side."""
    matched: bool
    """Whether these are pairs."""


class Pairing:
    """The pairs that a corpus offers. UserError unless two entity pairs occur in two sentences each."""

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        marked = np.flatnonzero(statements.marked)
        order = marked[np.argsort(statements.groups[marked], kind="stable")]
        borders = np.flatnonzero(np.diff(statements.groups[order])) + 1
        parts = np.split(order, borders)
        self.groups = [part for part in parts if len(part) > 1]
        """Rows by entity pair, of the pairs that occur more than once."""
        if len(self.groups) < 2:
            raise UserError(
                f"{len(self.groups)} entity pairs of the training files occur in more than one sentence, and two at "
                "least are needed to match: give a corpus, or more languages of it, that tells of the same entities "
                "again; --parallel_ids where rows of the same id are translations"
            )
        singles = [part for part in parts if len(part) == 1]
        self.singles = np.sort(np.concatenate([*singles, np.flatnonzero(~statements.marked)]))
        """Rows that never have a partner."""

    def epoch(self, batch_size: int, seed: int, epoch: int) -> list[BatchRows]:
        """An epoch's batches, always as many: every sentence once, in an order that `seed` and `epoch` decide."""
        random = np.random.default_rng([seed, epoch])
        pairs, left = [], []
        for rows in self.groups:
            partners, odd = pair_up(rows, self.statements.languages, random)
            pairs += partners
            left += odd
        ordered = with_hard_negatives(pairs, self.statements.entities, self.statements.groups, random)
        singles = random.permutation(np.concatenate([self.singles, np.array(left, np.int64)]))
        batches = [BatchRows(part.reshape(-1), True) for part in _split(ordered, batch_size // 2)]
        batches += [BatchRows(part, False) for part in _split(singles, batch_size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def summary(self) -> str:
        """What takes part, for the user to read before anything is trained."""
        statements = self.statements
        by_language = Counter(statements.languages.tolist())
        languages = ", ".join(f"{code} {by_language[i]:,}" for i, code in enumerate(statements.codes))
        partnered = sum(len(rows) for rows in self.groups)
        across = sum(len(set(statements.languages[rows].tolist())) > 1 for rows in self.groups)
        notes = "".join(f"{count:,} {NOTES[reason]}\n" for reason, count in statements.notes.items() if count)
        return (
            f"sentences: {len(statements):,} ({languages})\n"
            f"{notes}"
            f"entity pairs in more than one sentence: {len(self.groups):,}, of these in more than one language: "
            f"{across:,}\n"
            f"sentences for both objectives: {partnered:,}; for masked words only: {len(self.singles):,}"
        )


def pair_up(
    rows: np.ndarray, languages: np.ndarray, random: np.random.Generator
) -> tuple[list[tuple[int, int]], list[int]]:
    """Partners among the rows of one entity pair, and the row that is left over where their number is odd.

    As many partners as can be speak different languages: with the rows sorted by language, the language with the most
    first, those half the list apart differ unless one language has more than half. The odd one out is of that language.
    """
    drawn: list[int] = random.permutation(rows).tolist()
    counts = Counter(languages[drawn].tolist())
    drawn.sort(key=lambda row: (-counts[languages[row]], languages[row]))
    odd = len(drawn) % 2
    left, rest = drawn[:odd], drawn[odd:]
    half = len(rest) // 2
    return list(zip(rest[:half], rest[half:], strict=True)), left


def with_hard_negatives(
    pairs: list[tuple[int, int]], entities: np.ndarray, groups: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """int64 [pairs, 2]: in random order, but where it can be, a pair is followed by another that shares an entity.

    Such neighbours fall into one batch, as negatives that the entities' names alone don't tell apart.
    """
    pairs_P2 = random.permutation(np.array(pairs, np.int64))
    sharing: dict[int, list[int]] = {}
    for place, row in enumerate(pairs_P2[:, 0]):
        for entity in set(entities[row].tolist()):
            sharing.setdefault(entity, []).append(place)
    placed = np.zeros(len(pairs_P2), bool)
    order: list[int] = []

    def put(place: int) -> None:
        placed[place] = True
        order.append(place)

    for place, row in enumerate(pairs_P2[:, 0]):
        if placed[place]:
            continue
        put(place)
        for entity in random.permutation(entities[row]).tolist():
            near = sharing[entity]
            while near and (placed[near[-1]] or groups[pairs_P2[near[-1], 0]] == groups[row]):
                near.pop()
            if near:
                put(near.pop())
                break
    return pairs_P2[order]


def _split(rows: np.ndarray, most: int) -> list[np.ndarray]:
    """Parts of nearly equal length, none longer than `most`."""
    return np.array_split(rows, -(-len(rows) // most)) if len(rows) else []
