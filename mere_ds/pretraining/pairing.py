"""Which sentences are compared: pairs of sentences with the same entity pair, in different languages where possible.

A batch has either only such pairs, for both objectives, or only sentences without a partner, for masked words: if pairs
were spread over all batches, there would be few negatives in each.
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
    """int64; in a batch of pairs, partners are adjacent."""
    matched: bool
    """Whether the rows are pairs."""


class Pairing:
    """The pairs of a corpus. Raises UserError unless at least two entity pairs occur in two sentences or more."""

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        marked = np.flatnonzero(statements.marked)
        order = marked[np.argsort(statements.groups[marked], kind="stable")]
        borders = np.flatnonzero(np.diff(statements.groups[order])) + 1
        parts = np.split(order, borders)
        self.groups = [part for part in parts if len(part) > 1]
        """The rows of each entity pair that occurs more than once."""
        if len(self.groups) < 2:
            raise UserError(
                f"only {len(self.groups)} entity pairs of the training files occur in more than one sentence, at least "
                "2 are required: use a corpus, or more of its languages, with recurring entities, or pass "
                "--parallel_ids if rows with the same id are translations"
            )
        singles = [part for part in parts if len(part) == 1]
        self.singles = np.sort(np.concatenate([*singles, np.flatnonzero(~statements.marked)]))
        """Rows without a partner."""

    def epoch(self, batch_size: int, seed: int, epoch: int) -> list[BatchRows]:
        """An epoch's batches, always the same number: every sentence once, in an order set by `seed` and `epoch`."""
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
        """Statistics of the corpus, to show before training starts."""
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
    """Pairs of partners among the rows of one entity pair, and the row left over if their number is odd.

    As many partners as possible are in different languages: with the rows sorted by language, the most frequent one
    first, rows half the list apart differ unless one language has more than half. The row left over has that language.
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
    """int64 [pairs, 2]: in random order, but where possible a pair is followed by another that shares an entity.

    Such neighbours share a batch, as negatives that can't be distinguished by the entities' names alone.
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
    """Parts of nearly equal length, at most `most`."""
    return np.array_split(rows, -(-len(rows) // most)) if len(rows) else []
