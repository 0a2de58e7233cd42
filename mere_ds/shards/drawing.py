"""How often an epoch draws each sentence, so that languages with few sentences come more often: their temperature T.

A language with n of N sentences gets a share of the epoch's N sentences that is proportional to (n / N)^(1 / T). Which
of a language's sentences come once more than others turns from epoch to epoch, so that over epochs none is left behind.

Shape suffixes: U languages.
"""

import numpy as np

_TURN = 3  # the purpose of random streams beside those of `mere_ds.shards.plan`


def draws_of(language_ids: np.ndarray, temperature: float) -> np.ndarray:
    """Sentences of each language number in an epoch: int64 [U], the sum is the number of sentences.

    The shares are rounded by the largest remainder. Temperature 1 gives each language its own number, a higher one
    makes the numbers more equal.
    """
    counts_U = np.bincount(language_ids)
    sentences, there = len(language_ids), counts_U > 0
    logs_U = np.log(np.maximum(counts_U, 1)) / temperature
    weights_U = np.where(there, np.exp(logs_U - logs_U.max(initial=-np.inf, where=there)), 0)
    exact_U = sentences * weights_U / max(1, weights_U.sum())
    draws_U = np.floor(exact_U).astype(np.int64)
    most = np.argsort(draws_U - exact_U, kind="stable")[: sentences - draws_U.sum()]
    draws_U[most] += 1
    return draws_U


def times_of(language_ids: np.ndarray, draws_U: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """How often each sentence comes in an epoch: int64 [sentences]; within a language, numbers differ by one at most.

    The language's sentences are in a random order of the seed, round which epoch after epoch goes on where the one
    before ended: over all epochs too, numbers differ by one at most.
    """
    times = np.zeros(len(language_ids), np.int64)
    for language, draws in enumerate(draws_U.tolist()):
        rows = np.flatnonzero(language_ids == language)
        if not len(rows):
            continue
        rounds, more = divmod(draws, len(rows))
        times[rows] = rounds
        order = np.random.default_rng([seed, 0, _TURN, language]).permutation(rows)
        times[order[(epoch * draws + np.arange(more)) % len(rows)]] += 1
    return times


def described(languages: list[str], language_ids: np.ndarray, temperature: float) -> list[str]:
    """What an epoch draws, a line a language."""
    draws_U = draws_of(language_ids, temperature)
    counts_U = np.bincount(language_ids)
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
