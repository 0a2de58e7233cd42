"""How often an epoch draws each sentence, so that languages with few sentences come more often: their temperature T.

A language with n of N sentences gets a share of the epoch's N sentences that is proportional to (n / N)^(1 / T). Which
of a language's sentences come once more than others turns from epoch to epoch, so that over epochs none is left behind.

There are two drawings, for a run must go on with the batches that it began with. The first one orders a language's
sentences at random, which takes all of them into memory; it is for shards of before version 5. The second one spreads
each shard's sentences evenly round a circle, from where an epoch takes the arc that follows the epoch before. Where an
arc ends says how many sentences of each shard lie before it, whatever their number.

Shape suffixes: U languages, H shards, n sentences of a shard, N sentences.
"""

from typing import Protocol

import numpy as np

from mere_ds.shards.index import SplitIndex

_TURN, _PHASES = 3, 4  # the purposes of random streams beside those of `mere_ds.shards.plan`
_HALVINGS = 64  # of an arc's end, until no float is between its bounds


class Drawn(Protocol):
    """What an epoch draws."""

    of_shards_H: np.ndarray
    """int64; draws of each shard."""

    def times(self, shard: int, languages_n: np.ndarray) -> np.ndarray:
        """How often each sentence of a shard comes: int64 [n]; within a language of the split, numbers differ by one at
        most, in this epoch and over all epochs until now."""


def drawn(index: SplitIndex, temperature: float, seed: int, epoch: int) -> Drawn:
    """What an epoch draws of a split. Raises as `SplitIndex.columns_of` for shards of before version 5."""
    draws_U = draws_of(index.counts_U, temperature)
    return (DrawnByShard if index.drawn_by_shard else DrawnByRow)(index, draws_U, seed, epoch)


def draws_of(counts_U: np.ndarray, temperature: float) -> np.ndarray:
    """Sentences of each language in an epoch, where it has `counts_U`: int64 [U], with the same sum.

    The shares are rounded by the largest remainder. Temperature 1 gives each language its own number, a higher one
    makes the numbers more equal.
    """
    sentences, there = int(counts_U.sum()), counts_U > 0
    logs_U = np.log(np.maximum(counts_U, 1)) / temperature
    weights_U = np.where(there, np.exp(logs_U - logs_U.max(initial=-np.inf, where=there)), 0)
    exact_U = sentences * weights_U / max(1, weights_U.sum())
    draws_U = np.floor(exact_U).astype(np.int64)
    most = np.argsort(draws_U - exact_U, kind="stable")[: sentences - draws_U.sum()]
    draws_U[most] += 1
    return draws_U


class DrawnByRow:
    """The first drawing: a language's sentences are in a random order of the seed, which epochs go round."""

    def __init__(self, index: SplitIndex, draws_U: np.ndarray, seed: int, epoch: int):
        _, languages_N = index.columns
        self._times_N = np.zeros(len(languages_N), np.int64)
        for language, draws in enumerate(draws_U.tolist()):
            rows = np.flatnonzero(languages_N == language)
            if not len(rows):
                continue
            rounds, more = divmod(draws, len(rows))
            self._times_N[rows] = rounds
            order = np.random.default_rng([seed, 0, _TURN, language]).permutation(rows)
            self._times_N[order[(epoch * draws + np.arange(more)) % len(rows)]] += 1
        self._starts = np.concatenate([[0], np.cumsum(index.sizes_H)])
        self.of_shards_H = np.diff(np.concatenate([[0], np.cumsum(self._times_N)])[self._starts])

    def times(self, shard: int, languages_n: np.ndarray) -> np.ndarray:
        return self._times_N[self._starts[shard] : self._starts[shard + 1]]


class DrawnByShard:
    """The second drawing: a language's shards are on one circle, each at a random turn; see the module."""

    def __init__(self, index: SplitIndex, draws_U: np.ndarray, seed: int, epoch: int):
        self._seed, self._counts_HU = seed, index.counts_HU[:, : len(draws_U)]
        phases_HU = np.random.default_rng([seed, 0, _PHASES]).random(self._counts_HU.shape)
        self._before_HU, self._after_HU = (
            first_draws(self._counts_HU, phases_HU, n * draws_U) for n in (epoch, epoch + 1)
        )
        self.of_shards_H = (self._after_HU - self._before_HU).sum(axis=1)

    def times(self, shard: int, languages_n: np.ndarray) -> np.ndarray:
        times_n = np.zeros(len(languages_n), np.int64)
        order_n = np.random.default_rng([self._seed, 0, _TURN, shard]).permutation(len(languages_n))
        for language in np.flatnonzero(self._counts_HU[shard]).tolist():
            own = order_n[languages_n[order_n] == language]
            behind = len(own) - 1 - np.arange(len(own))  # of n draws sentence j of m gets (n + m - 1 - j) // m
            after, before = (int(draws_HU[shard, language]) for draws_HU in (self._after_HU, self._before_HU))
            times_n[own] = (after + behind) // len(own) - (before + behind) // len(own)
        return times_n


def first_draws(counts_HU: np.ndarray, phases_HU: np.ndarray, draws_U: np.ndarray) -> np.ndarray:
    """How many of each language's first `draws_U` draws fall to each shard: int64 [H, U]; the sum over H is `draws_U`.

    Sentence j of a shard's n is at (j + phase) / n of the circle, with a phase in [0, 1). Where places are equal the
    first shard comes first. More draws never give a shard fewer, and between two rounds it gets its share up to one.
    """
    rounds_U, more_U = np.divmod(draws_U, np.maximum(1, counts_HU.sum(axis=0)))

    def within(end_U: np.ndarray) -> np.ndarray:
        return np.clip(np.ceil(counts_HU * end_U - phases_HU), 0, counts_HU).astype(np.int64)

    low_U, high_U = np.zeros(len(draws_U)), np.full(len(draws_U), 2.0)  # where no sentence and all are
    missing_U = more_U
    for _ in range(_HALVINGS):
        if not missing_U.any():
            break
        middle_U = (low_U + high_U) / 2
        left_U = more_U - within(middle_U).sum(axis=0)
        fits_U = left_U >= 0
        low_U, high_U = np.where(fits_U, middle_U, low_U), np.where(fits_U, high_U, middle_U)
        missing_U = np.where(fits_U, left_U, missing_U)
    found_HU = within(low_U)
    equal_HU = within(high_U) - found_HU
    found_HU += np.clip(missing_U - (equal_HU.cumsum(axis=0) - equal_HU), 0, equal_HU)
    return rounds_U * counts_HU + found_HU


def described(languages: list[str], counts_U: np.ndarray, temperature: float) -> list[str]:
    """What an epoch draws, a line a language."""
    draws_U = draws_of(counts_U, temperature)
    lines = []
    for language, draws, sentences in zip(languages, draws_U.tolist(), counts_U.tolist(), strict=False):
        if sentences:
            lines.append(f"{language}: {draws} draws of {sentences} sentences, {_how_often(draws, sentences)}")
    return lines


def _how_often(draws: int, sentences: int) -> str:
    rounds, more = divmod(draws, sentences)
    groups = [(sentences - more, rounds), (more, rounds + 1)]
    return ", ".join(f"{n} {_times(often)}" for n, often in groups if n)


def _times(often: int) -> str:
    return {0: "left out", 1: "once", 2: "twice"}.get(often, f"{often} times")
