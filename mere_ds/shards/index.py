"""What the batch plan knows of a split: counts by shard, and the lengths and languages of one shard's sentences.

The counts are in `index.npz` and always in memory; a shard's own lengths and languages are in a file beside it and are
read when a window needs them. Shards of before version 5 have all of these in `index.npz`, so all are in memory there.

Shape suffixes: H shards, U languages, L lengths from 0 to the longest, n sentences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mere_ds.shards.packing import Sentences, StoredFile, save_arrays

INDEX = "index.npz"


@dataclass(frozen=True)
class SplitIndex:
    """The index of one split."""

    counts_HU: np.ndarray
    """int64; sentences of each shard by language."""
    lengths_UL: np.ndarray
    """int64; sentences of each language by their number of tokens."""
    columns_of: Callable[[int], tuple[np.ndarray, np.ndarray]]
    """Lengths and languages (both int16 [n]) of a shard's sentences. Raises UserError for a damaged file, MachineError
    if a server can't be reached."""
    drawn_by_shard: bool = True
    """Which drawing a language temperature uses, see `mere_ds.shards.drawing`; False for shards of before version 5,
    so that a run on these goes on with the batches that it began with."""

    @classmethod
    def of(
        cls,
        lengths: np.ndarray,
        languages: np.ndarray,
        shard_sizes: Sequence[int],
        kinds: int | None = None,
        *,
        drawn_by_shard: bool = True,
    ) -> "SplitIndex":
        """Of all sentences' columns [n] in shard order; `kinds` is the number of languages (None: those there are)."""
        assert len(lengths) == len(languages) == sum(shard_sizes)
        kinds = int(languages.max(initial=-1)) + 1 if kinds is None else kinds
        ends_H = np.cumsum(shard_sizes, dtype=np.int64)
        starts_H = ends_H - shard_sizes
        shards = np.repeat(np.arange(len(ends_H)), shard_sizes)
        return cls(
            pair_counts(shards, len(ends_H), languages, kinds),
            pair_counts(languages, kinds, lengths, int(lengths.max(initial=0)) + 1),
            lambda h: (lengths[starts_H[h] : ends_H[h]], languages[starts_H[h] : ends_H[h]]),
            drawn_by_shard,
        )

    @property
    def sizes_H(self) -> np.ndarray:
        """int64; sentences of each shard."""
        return self.counts_HU.sum(axis=1)

    @property
    def counts_U(self) -> np.ndarray:
        """int64; sentences of each language, up to the last one that has any."""
        counts_U = self.counts_HU.sum(axis=0)
        return counts_U[: np.flatnonzero(counts_U).max(initial=-1) + 1]

    @property
    def counts_L(self) -> np.ndarray:
        """int64; sentences of each length, up to the longest."""
        counts_L = self.lengths_UL.sum(axis=0)
        return counts_L[: np.flatnonzero(counts_L).max(initial=0) + 1]

    @cached_property
    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Lengths and languages of all sentences, in shard order; reads every shard's. Raises as `columns_of`."""
        parts = [self.columns_of(shard) for shard in range(len(self.counts_HU))]
        lengths, languages = (np.concatenate([part[i] for part in parts] or [np.empty(0, np.int16)]) for i in range(2))
        return lengths, languages


def pair_counts(rows: np.ndarray, height: int, columns: np.ndarray, width: int) -> np.ndarray:
    """How often each pair of a row and a column occurs: int64 [height, width]."""
    places = np.ravel_multi_index((rows, columns), (height, width))
    return np.bincount(places, minlength=height * width).reshape(height, width)


def save_index(
    folder: Path, sentences: Sentences, rows: dict[str, np.ndarray], sizes: dict[str, list[int]], kinds: int
) -> StoredFile:
    """Writes `index.npz` for splits whose shards of these `sizes` contain these `rows` of `sentences`, in order."""
    arrays: dict[str, np.ndarray] = {}
    for name, chosen in rows.items():
        index = SplitIndex.of(sentences.lengths[chosen], sentences.languages[chosen], sizes[name], kinds)
        arrays |= {f"{name}_counts": index.counts_HU, f"{name}_lengths": index.lengths_UL}
    return save_arrays(folder / INDEX, arrays)
