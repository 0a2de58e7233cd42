"""Whether one run is better than another: paired approximate randomisation and paired bootstrap of triple F1.

Both look at the same sentences in both runs, so that what is hard for both is no difference. Several runs a side are
seeds: a sentence's answers by all of a side's runs are exchanged and resampled together, for they resemble each other.

Shape suffixes: R rounds, Q runs (side A's, then as many of side B), C = 1 + 2 Q the numbers of an outcome.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from mere_ds.errors import UserError
from mere_ds.evaluation import intervals
from mere_ds.evaluation.metrics import f1
from mere_ds.evaluation.predictions import evaluation_name, read_predictions
from mere_ds.training.run_folder import RunFolder

TIE = 1e-9
"""Percent of F1 that counts as no difference: far less than one sentence, far more than rounding."""


def compare_runs(
    a: Sequence[str], b: Sequence[str], split: str = "test", ks: tuple[int | None, int | None] = (None, None)
) -> dict:
    """Triple F1 of side A against side B in the languages that both have; `ks` says which evaluation of either.

    A side is a run, or its runs of several seeds in the same order; runs of unlike languages (a model a language)
    together make one. `{"a": [runs], "b": [runs], "split", "k": {"a", "b"}, "left_out": [languages of one side],
    "seeds": {"a": {"mean", "deviation"} of the runs' average, "b"}, ...}` and what `compare` gives. Raises UserError
    for sides of unlike size, a run that isn't evaluated and unlike sentences.
    """
    sides = [
        _read([RunFolder(run).evaluation / f"{evaluation_name(split, k)}.jsonl" for run in side])
        for side, k in zip((a, b), ks, strict=True)
    ]
    outcomes, seeds = _together(*sides)
    observed = {language: _observed(counter) for language, counter in outcomes.items()}
    averages = [_by_side(observed, slice(q, q + 1))["average"].item() for q in range(2 * seeds)]
    return {
        **{"a": list(a), "b": list(b), "split": split, "k": dict(zip("ab", ks, strict=True))},
        "left_out": sorted(sides[0].keys() ^ sides[1].keys()),
        "seeds": {"a": intervals.spread(averages[:seeds]), "b": intervals.spread(averages[seeds:])},
        **compare(outcomes, seeds),
    }


def compare(outcomes: dict[str, Counter], seeds: int) -> dict:
    """`{"level", "resamples", "rounds", "languages": {"de": row}, "average": row, "pooled": row}` of the outcomes.

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


@dataclass
class _Answers:
    """What one run made of a language's sentences, in order."""

    path: Path
    sentences: list[str] = field(default_factory=list)
    """What is the same of a sentence in every run."""
    outcomes: list[tuple[int, int]] = field(default_factory=list)
    """Whether it gave an answer, and whether its triple is right."""


def _read(paths: list[Path]) -> dict[str, list[_Answers]]:
    """By language, the runs that have it, in order."""
    found: dict[str, list[_Answers]] = {}
    for path in paths:
        own: dict[str, _Answers] = {}
        for record in read_predictions(path):
            answers = own.setdefault(record["lang"], _Answers(path))
            answers.sentences.append(json.dumps([record.get("id"), record["text"], record["gold"]], sort_keys=True))
            answers.outcomes.append((int(record["predicted"] is not None), int("triple" in record["right"])))
        for language, answers in own.items():
            found.setdefault(language, []).append(answers)
    return found


def _together(a: dict[str, list[_Answers]], b: dict[str, list[_Answers]]) -> tuple[dict[str, Counter], int]:
    """By language that both have, how often each outcome comes: 1 for the sentence, then the two numbers of each run;
    and how many runs a side has. Raises UserError unless that is one number and all answered the same sentences."""
    outcomes: dict[str, Counter] = {}
    sizes = set()
    for language in (language for language in a if language in b):
        first, *others = runs = [*a[language], *b[language]]
        sizes |= {len(a[language]), len(b[language])}
        for other in others:
            _check_same(language, first, other)
        rows = zip(*(run.outcomes for run in runs), strict=True)
        outcomes[language] = Counter((1, *chain.from_iterable(row)) for row in rows)
    if not outcomes:
        raise UserError("the two sides have no language in common, so there is nothing to compare")
    if len(sizes) > 1:
        raise UserError("give as many runs on both sides, seed by seed, for every language")
    return outcomes, sizes.pop()


def _check_same(language: str, one: _Answers, other: _Answers) -> None:
    for number, (here, there) in enumerate(zip_longest(one.sentences, other.sentences), 1):
        if here != there:
            raise UserError(
                f"{other.path}: sentence {number} of {language} is another than in {one.path}: evaluate both on the "
                "same shards"
            )


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
