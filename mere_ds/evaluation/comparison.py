"""Whether one run is better than another: paired approximate randomisation and paired bootstrap of triple F1.

Both look at the same sentences in both runs, so that what is hard for both is no difference. Several runs a side are
seeds: a sentence's answers by all of a side's runs are exchanged and resampled together, for they resemble each other.

Shape suffixes: R rounds, Q runs (side A's, then as many of side B), C = 1 + 2 Q the numbers of an outcome (`_read`).
"""

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from mere_ds.errors import UserError
from mere_ds.evaluation import intervals
from mere_ds.evaluation.metrics import f1
from mere_ds.evaluation.predictions import evaluation_name, read_predictions
from mere_ds.training.run_folder import RunFolder

TIE = 1e-9
"""Percent of F1 that counts as no difference: far less than one sentence, far more than rounding."""


def compare_runs(a: Sequence[str], b: Sequence[str], split: str = "test", k: int | None = None) -> dict:
    """Triple F1 of side A against side B; each is a run, or its runs of several seeds in the same order.

    `{"a": [runs], "b": [runs], "split", "k", "seeds": {"a": {"mean", "deviation"} of the runs' average, "b"}, ...}` and
    what `compare` gives. Raises UserError for sides of unlike size, a run that isn't evaluated and unlike sentences.
    """
    if not a or len(a) != len(b):
        raise UserError(f"{len(a)} runs against {len(b)}: give as many on both sides, seed by seed")
    outcomes = _read([RunFolder(run).evaluation / f"{evaluation_name(split, k)}.jsonl" for run in (*a, *b)])
    observed = {language: _observed(counter) for language, counter in outcomes.items()}
    averages = [_by_side(observed, slice(q, q + 1))["average"].item() for q in range(len(a) + len(b))]
    seeds = {"a": intervals.spread(averages[: len(a)]), "b": intervals.spread(averages[len(a) :])}
    return {"a": list(a), "b": list(b), "split": split, "k": k, "seeds": seeds, **compare(outcomes, len(a))}


def compare(outcomes: dict[str, Counter], seeds: int) -> dict:
    """`{"level", "resamples", "rounds", "languages": {"de": row}, "average": row, "pooled": row}` of `_read`'s result.

    A row is `{"a", "b", "difference", "interval": [low, high], "p"}`: F1 in percent, A minus B, the difference's paired
    bootstrap interval, and the two-sided p of approximate randomisation (Noreen, 1989). Each p stands for itself: they
    are not corrected for the number of languages.
    """
    side_a, side_b = slice(0, seeds), slice(seeds, 2 * seeds)
    columns = np.arange(1, 1 + 4 * seeds)
    swap = [0, *np.roll(columns, 2 * seeds)]

    def difference(sums_RC: np.ndarray) -> np.ndarray:
        return _f1(sums_RC, side_a) - _f1(sums_RC, side_b)

    observed, resampled, shuffled = {}, {}, {}
    for language, counter in outcomes.items():
        observed[language] = _observed(counter)
        resampled[language] = intervals.resampled(counter, intervals.generator(language))
        shuffled[language] = intervals.shuffled(counter, swap, intervals.generator(language))
    a, b = _by_side(observed, side_a), _by_side(observed, side_b)
    resampled, shuffled = (intervals.by_language(sums, difference) for sums in (resampled, shuffled))
    rows = {}
    for name in a:
        apart = (a[name] - b[name]).item()
        extreme = int((np.abs(shuffled[name]) >= abs(apart) - TIE).sum())
        rows[name] = {
            "a": a[name].item(),
            "b": b[name].item(),
            "difference": apart,
            "interval": intervals.interval(resampled[name]),
            "p": (1 + extreme) / (1 + intervals.ROUNDS),
        }
    told = {"level": intervals.LEVEL, "resamples": intervals.RESAMPLES, "rounds": intervals.ROUNDS}
    return {**told, **intervals.nested(rows)}


def _read(paths: list[Path]) -> dict[str, Counter]:
    """By language, how often each outcome comes: 1 for the sentence, then for each run whether it gave an answer and
    whether its triple is right. Raises UserError unless all runs answered the same sentences."""
    outcomes: dict[str, Counter] = {}
    for number, records in enumerate(zip_longest(*map(read_predictions, paths)), 1):
        for path, record in zip(paths, records, strict=True):
            if _sentence(record) != _sentence(records[0]):
                raise UserError(
                    f"{path}: another sentence in line {number} than in {paths[0]}: evaluate both on the same shards"
                )
        outcome = [1]
        for record in records:
            outcome += [int(record["predicted"] is not None), int("triple" in record["right"])]
        outcomes.setdefault(records[0]["lang"], Counter())[tuple(outcome)] += 1
    if not outcomes:
        raise UserError(f"{paths[0]}: holds no sentence, so there is nothing to compare")
    return outcomes


def _sentence(record: dict | None) -> tuple | None:
    """What is the same of a sentence in every run; None beyond a file's end."""
    return record and (record["lang"], record.get("id"), record["text"], record["gold"])


def _observed(counter: Counter) -> np.ndarray:
    """The sums as they are, as a single round (1 x C)."""
    counts_K, values_KC = intervals.arrays(counter)
    return (counts_K @ values_KC)[None]


def _by_side(sums: dict[str, np.ndarray], runs: slice) -> dict[str, np.ndarray]:
    return intervals.by_language(sums, lambda sums_RC: _f1(sums_RC, runs))


def _f1(sums_RC: np.ndarray, runs: slice) -> np.ndarray:
    """Triple F1 (R) of some of the runs together."""
    answers_RQ2 = sums_RC[:, 1:].reshape(len(sums_RC), -1, 2)[:, runs]
    predicted_R, right_R = answers_RQ2.sum(1).T
    return f1(right_R, sums_RC[:, 0] * answers_RQ2.shape[1], predicted_R)
