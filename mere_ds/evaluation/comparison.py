"""Whether one run is better than another: paired approximate randomisation and paired bootstrap of triple F1.

Both compare the same sentences in both runs, so that their difficulty cancels out. Several runs per side are seeds:
since they resemble each other, a sentence's answers by all runs of a side are exchanged and resampled together.

Shape suffixes: R rounds, Q runs (side A's, then as many of side B), C = 1 + 2 Q the numbers of an outcome.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from mere_ds.corpus.languages import shared_id
from mere_ds.errors import UserError
from mere_ds.evaluation import intervals
from mere_ds.evaluation.metrics import COLUMNS, counts_of, f1
from mere_ds.evaluation.provenance import ABOUT, Evaluation, read_evaluation
from mere_ds.runs.run_folder import RunFolder

TIE = 1e-9
"""Differences of F1 in percent up to this count as ties: far less than one sentence, far more than rounding errors."""


@dataclass(frozen=True)
class Group:
    """Languages whose sentences are resampled together."""

    languages: tuple[str, ...]
    outcomes: Counter
    """How often each outcome occurs: C numbers per language, concatenated."""

    def random(self) -> np.random.Generator:
        return intervals.generator("".join(self.languages))


def compare_runs(
    a: Sequence[str],
    b: Sequence[str],
    split: str = "test",
    ks: tuple[int | None, int | None] = (None, None),
    parallel_ids: bool = False,
) -> dict:
    """Triple F1 of side A against side B in the languages that both have; `ks` selects the evaluation of each side.

    Spans are compared by tokens; `"characters"` has the same by characters.

    A side is one run, or runs with several seeds (in the same order on both sides); runs of different languages, one
    model per language, count as one. Returns `{"a": [runs], "b": [runs], "split", "k": {"a", "b"}, "left_out":
    [languages of only one side], "seeds": {"a": {"mean", "deviation"} of the runs' average, "b"}, ..., "characters":
    {"seeds", ...}, "remarks", "made_from"}`, where the dots stand for the result of `compare`; the last two have lists
    for "a" and "b" with an entry per run (see `provenance`). Raises UserError if the sides differ in size, if a run
    has no evaluation of its current model, and if the sentences differ.

    With `parallel_ids`, sentences with the same id (see `shared_id`) are translations: they are resampled and exchanged
    together, since their difficulty is correlated.
    """
    evaluations = [
        [read_evaluation(RunFolder(run), split, k) for run in side] for side, k in zip((a, b), ks, strict=True)
    ]
    of_a, of_b = (_read(side) for side in evaluations)
    by_tokens, by_characters = (
        _compared(of_a, of_b, metric, parallel_ids) for metric in ("triple", "triple_characters")
    )
    return {
        **{"a": list(a), "b": list(b), "split": split, "k": dict(zip("ab", ks, strict=True))},
        "left_out": sorted(of_a.keys() ^ of_b.keys()),
        **by_tokens,
        "characters": by_characters,
        "remarks": {side: [one.remarks() for one in its] for side, its in zip("ab", evaluations, strict=True)},
        "made_from": {side: [_source(one) for one in its] for side, its in zip("ab", evaluations, strict=True)},
    }


def _compared(a: dict[str, list["_Answers"]], b: dict[str, list["_Answers"]], metric: str, parallel_ids: bool) -> dict:
    """`{"seeds", ...}` with the result of `compare`, for one of the metrics."""
    answers, seeds = _side_by_side(a, b, metric)
    groups = [_grouped({language: rows}) for language, rows in answers.items()]
    if parallel_ids:
        groups = [_grouped(answers)]
    observed = _of_languages(groups, _observed)
    averages = [_by_side(observed, slice(q, q + 1))["average"].item() for q in range(2 * seeds)]
    spreads = {"a": intervals.spread(averages[:seeds]), "b": intervals.spread(averages[seeds:])}
    return {"seeds": spreads, **compare(groups, seeds)}


def _source(evaluation: Evaluation) -> dict:
    about = {name: value for name, value in evaluation.content.items() if name in ABOUT}
    return {"run": str(evaluation.run.root), **about, **evaluation.made_from}


def compare(groups: list[Group], seeds: int) -> dict:
    """`{"level", "resamples", "rounds", "languages": {"de": row}, "average": row, "pooled": row}` of the groups.

    A row is `{"a", "b", "difference", "interval": [low, high], "p"}`: F1 in percent, A minus B, the difference's paired
    bootstrap interval, and the two-sided p of approximate randomisation (Noreen, 1989). The p values are not corrected
    for the number of languages.
    """
    side_a, side_b = slice(0, seeds), slice(seeds, 2 * seeds)
    swap = np.array([0, *np.roll(np.arange(1, 1 + 4 * seeds), 2 * seeds)])

    def difference(sums_RC: np.ndarray) -> np.ndarray:
        return _f1(sums_RC, side_a) - _f1(sums_RC, side_b)

    def exchanged(group: Group) -> np.ndarray:
        everywhere = np.concatenate([swap + n * len(swap) for n in range(len(group.languages))])
        return intervals.shuffled(group.outcomes, everywhere, group.random())

    observed = _of_languages(groups, _observed)
    resampled = _of_languages(groups, lambda group: intervals.resampled(group.outcomes, group.random()))
    shuffled = _of_languages(groups, exchanged)
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
    how = {"level": intervals.LEVEL, "resamples": intervals.RESAMPLES, "rounds": intervals.ROUNDS}
    return {**how, **intervals.nested(rows)}


@dataclass
class _Answers:
    """One run's answers to a language's sentences, in order."""

    path: Path
    ids: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    """Id, text and gold of each sentence, which must be equal in all runs."""
    outcomes: dict[str, list[tuple[int, int, int]]] = field(
        default_factory=lambda: {metric: [] for metric in ("triple", "triple_characters")}
    )
    """By metric: right, predicted and gold triples."""


def _read(evaluations: list[Evaluation]) -> dict[str, list[_Answers]]:
    """For each language, the answers of the runs that have it, in order."""
    found: dict[str, list[_Answers]] = {}
    for evaluation in evaluations:
        own: dict[str, _Answers] = {}
        for record in evaluation.records():
            language, id = record["lang"], record.get("id")
            answers = own.setdefault(language, _Answers(evaluation.predictions))
            answers.ids.append(shared_id(id, language) if id is not None else f"unread in {language}")
            answers.sentences.append(json.dumps([id, record["text"], record["gold"]], sort_keys=True))
            counted = counts_of(record)
            for metric, outcomes in answers.outcomes.items():
                outcomes.append(counted[COLUMNS.index(metric)])
        for language, answers in own.items():
            found.setdefault(language, []).append(answers)
    return found


Rows = list[tuple[str, tuple[int, ...]]]
"""Id and outcome of each of a language's sentences; an outcome is the number of gold triples, followed by each run's
numbers of predicted and right ones."""


def _side_by_side(
    a: dict[str, list[_Answers]], b: dict[str, list[_Answers]], metric: str
) -> tuple[dict[str, Rows], int]:
    """The rows of the languages that both sides have, and the number of runs per side. Raises UserError unless that
    number is the same everywhere and all runs answered the same sentences."""
    found: dict[str, Rows] = {}
    sizes = set()
    for language in (language for language in a if language in b):
        first, *others = runs = [*a[language], *b[language]]
        sizes |= {len(a[language]), len(b[language])}
        for other in others:
            _check_same(language, first, other)
        outcomes = zip(*(run.outcomes[metric] for run in runs), strict=True)
        found[language] = [(id, _outcome(answers)) for id, answers in zip(first.ids, outcomes, strict=True)]
    if not found:
        raise UserError("the two sides have no language in common: choose runs that were scored in the same languages")
    if len(sizes) > 1:
        raise UserError("the two sides need the same number of runs, one per seed, for every language")
    return found, sizes.pop()


def _outcome(answers: tuple[tuple[int, int, int], ...]) -> tuple[int, ...]:
    """Of one sentence, from each run's right, predicted and gold triples; the last are the same in every run."""
    gold = answers[0][2]
    return gold, *chain(*((predicted, right) for right, predicted, _ in answers))


def _check_same(language: str, one: _Answers, other: _Answers) -> None:
    for number, (here, there) in enumerate(zip_longest(one.sentences, other.sentences), 1):
        if here != there:
            raise UserError(
                f"{other.path}: sentence {number} of {language} differs from that in {one.path}: evaluate both on the "
                "same shards"
            )


def _grouped(answers: dict[str, Rows]) -> Group:
    """One language's sentences individually, or several languages' sentences joined by id."""
    if len(answers) == 1:
        ((language, rows),) = answers.items()
        return Group((language,), Counter(outcome for _, outcome in rows))
    width = len(next(iter(answers.values()))[0][1])
    together: dict[str, np.ndarray] = {}
    for n, rows in enumerate(answers.values()):
        for id, outcome in rows:
            place = together.setdefault(id, np.zeros(len(answers) * width, dtype=np.int64))
            place[n * width : (n + 1) * width] += outcome
    return Group(tuple(answers), Counter(tuple(numbers.tolist()) for numbers in together.values()))


def _of_languages(groups: list[Group], sums: Callable[[Group], np.ndarray]) -> dict[str, np.ndarray]:
    """The result of `sums` for each group (R x C per language, concatenated), split by language."""
    found: dict[str, np.ndarray] = {}
    for group in groups:
        found |= zip(group.languages, np.split(sums(group), len(group.languages), axis=1), strict=True)
    return found


def _observed(group: Group) -> np.ndarray:
    """The observed sums, as a single round."""
    counts_K, values_KC = intervals.arrays(group.outcomes)
    return (counts_K @ values_KC)[None]


def _by_side(sums: dict[str, np.ndarray], runs: slice) -> dict[str, np.ndarray]:
    return intervals.by_language(sums, lambda sums_RC: _f1(sums_RC, runs))


def _f1(sums_RC: np.ndarray, runs: slice) -> np.ndarray:
    """Triple F1 (R) over some of the runs together."""
    answers_RQ2 = sums_RC[:, 1:].reshape(len(sums_RC), -1, 2)[:, runs]
    predicted_R, right_R = answers_RQ2.sum(1).T
    gold_R = np.maximum(sums_RC[:, 0], 1)  # if translations are drawn together, a small language may get none
    return f1(right_R, gold_R * answers_RQ2.shape[1], predicted_R)
