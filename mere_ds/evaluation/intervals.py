"""How certain a score is: percentile bootstrap, approximate randomisation, and the spread over seeds.

Sentences with the same outcome are interchangeable, so a language is a Counter of outcomes (tuples of numbers to be
summed), and each round draws the count of every outcome instead of sentences: this has the same distribution, at a cost
that doesn't grow with the test set.

Shape suffixes: R rounds, K outcomes of a language, C the numbers of an outcome.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

LEVEL = 95
"""Percent of the resamples that lie in an interval."""
RESAMPLES = 1_000
ROUNDS = 10_000
SEED = 0
_CHUNK = 500  # rounds at a time


def generator(language: str) -> np.random.Generator:
    """A language's own random generator, so that its draws don't depend on which other languages there are."""
    return np.random.default_rng([SEED, *language.encode()])


def arrays(outcomes: Counter) -> tuple[np.ndarray, np.ndarray]:
    """The count of each outcome (K) and its numbers (K x C)."""
    return np.array(list(outcomes.values())), np.array(list(outcomes))


def resampled(outcomes: Counter, random: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """Sums (R x C) over as many sentences as there are, drawn with replacement (Efron, 1979)."""
    counts_K, values_KC = arrays(outcomes)
    return random.multinomial(counts_K.sum(), counts_K / counts_K.sum(), size=resamples) @ values_KC


def shuffled(
    outcomes: Counter, swap: Sequence[int] | np.ndarray, random: np.random.Generator, rounds: int = ROUNDS
) -> np.ndarray:
    """Sums (R x C) where each sentence's numbers are permuted by `swap` (C) with probability 1/2."""
    counts_K, values_KC = arrays(outcomes)
    sums = []
    for start in range(0, rounds, _CHUNK):  # joined translations have thousands of outcomes
        exchanged_RK = random.binomial(counts_K, 0.5, size=(min(_CHUNK, rounds - start), len(counts_K)))
        sums.append((counts_K - exchanged_RK) @ values_KC + exchanged_RK @ values_KC[:, swap])
    return np.concatenate(sums)


def by_language(sums: dict[str, np.ndarray], score: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """`score` (which maps sums, R x C, to R values) for each language, their mean as "average", and the score of all
    sentences together as "pooled". There must be at least one language."""
    languages = {language: score(sums_RC) for language, sums_RC in sums.items()}
    average_R = np.mean(list(languages.values()), axis=0)
    return {**languages, "average": average_R, "pooled": score(np.sum(list(sums.values()), axis=0))}


def nested(values: dict) -> dict:
    """The result of `by_language` as it is saved: `{"languages": {"de": ...}, "average": ..., "pooled": ...}`."""
    whole = {name: values[name] for name in ("average", "pooled")}
    return {"languages": {name: value for name, value in values.items() if name not in whole}, **whole}


def interval(values_R: np.ndarray) -> list[float]:
    """The middle `LEVEL` percent of the values: [low, high]."""
    return np.percentile(values_R, [(100 - LEVEL) / 2, (100 + LEVEL) / 2]).tolist()


def spread(values: Sequence[float]) -> dict:
    """`{"mean", "deviation"}` of a value over seeds; the sample standard deviation, None for a single seed."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation}
