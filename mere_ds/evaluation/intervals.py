"""How sure a score is: percentile bootstrap, approximate randomisation, and the spread over seeds.

Sentences with the same outcome are alike, so a language is a Counter of outcomes (tuples of numbers that add up), and
a round draws how often each outcome comes, in place of sentences: the same distribution at a cost that doesn't grow
with the test set.

Shape suffixes: R rounds, K outcomes of a language, C the numbers of an outcome.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

LEVEL = 95
"""Percent of the resamples that an interval holds."""
RESAMPLES = 1_000
ROUNDS = 10_000
SEED = 0
_CHUNK = 500  # rounds at a time


def generator(language: str) -> np.random.Generator:
    """A language's own random numbers: what is drawn for it doesn't depend on which others there are."""
    return np.random.default_rng([SEED, *language.encode()])


def arrays(outcomes: Counter) -> tuple[np.ndarray, np.ndarray]:
    """How often each outcome comes (K) and its numbers (K x C)."""
    return np.array(list(outcomes.values())), np.array(list(outcomes))


def resampled(outcomes: Counter, random: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """Sums (R x C) over as many sentences as there are, drawn with replacement (Efron, 1979)."""
    counts_K, values_KC = arrays(outcomes)
    return random.multinomial(counts_K.sum(), counts_K / counts_K.sum(), size=resamples) @ values_KC


def shuffled(
    outcomes: Counter, swap: Sequence[int] | np.ndarray, random: np.random.Generator, rounds: int = ROUNDS
) -> np.ndarray:
    """Sums (R x C) where each sentence's numbers are, with probability 1/2, exchanged as `swap` (C) says."""
    counts_K, values_KC = arrays(outcomes)
    sums = []
    for start in range(0, rounds, _CHUNK):  # translations together have thousands of outcomes
        exchanged_RK = random.binomial(counts_K, 0.5, size=(min(_CHUNK, rounds - start), len(counts_K)))
        sums.append((counts_K - exchanged_RK) @ values_KC + exchanged_RK @ values_KC[:, swap])
    return np.concatenate(sums)


def by_language(sums: dict[str, np.ndarray], score: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """`score` (of sums R x C, giving R values) of each language, their mean as "average", and "pooled": that of all
    sentences together. At least one language is there."""
    languages = {language: score(sums_RC) for language, sums_RC in sums.items()}
    average_R = np.mean(list(languages.values()), axis=0)
    return {**languages, "average": average_R, "pooled": score(np.sum(list(sums.values()), axis=0))}


def nested(values: dict) -> dict:
    """What `by_language` gave, as results are written: `{"languages": {"de": ...}, "average": ..., "pooled": ...}`."""
    whole = {name: values[name] for name in ("average", "pooled")}
    return {"languages": {name: value for name, value in values.items() if name not in whole}, **whole}


def interval(values_R: np.ndarray) -> list[float]:
    """The middle `LEVEL` percent of the values: [low, high]."""
    return np.percentile(values_R, [(100 - LEVEL) / 2, (100 + LEVEL) / 2]).tolist()


def spread(values: Sequence[float]) -> dict:
    """`{"mean", "deviation"}` of one figure over seeds; the sample's standard deviation, null for a single seed."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation}
