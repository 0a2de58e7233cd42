"""All scores of a split from its predictions alone, where sentences have any number of triples; every sentence counts.

What is told by label, by number of gold triples and by kind of overlap is by characters, as the predictions tell it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mere_ds.evaluation.metrics import METRICS, by_precision, counts_of, f1, f1_intervals, precision_recall, scores
from mere_ds.evaluation.triple_sets import OVERLAPS, from_json, overlaps

MOST = 5
"""Gold triples of a sentence from which on sentences are told together."""
NUMBERS = (*map(str, range(MOST)), f"{MOST}+")

_TRIPLE = {kind: 1 + METRICS.index(metric) for kind, metric in (("", "triple"), ("_characters", "triple_characters"))}


@dataclass
class _Language:
    """What is counted of a language's sentences; as (right, predicted, gold) where nothing else is said."""

    total_C3: np.ndarray = field(default_factory=lambda: np.zeros((1 + len(METRICS), 3), dtype=np.int64))
    missed: int = 0
    triples: dict[str, Counter] = field(default_factory=lambda: {kind: Counter() for kind in _TRIPLE})
    """By kind ("" by tokens), how often each outcome of a sentence comes."""
    labels: dict[str, np.ndarray] = field(default_factory=dict)


def scores_of_many(records: Iterable[dict]) -> dict:
    """Every score of the predictions (as `predictions.read_predictions` gives them); F1 in percent.

    `languages`, `average`, `pooled` as in `metrics.scores`, with, by tokens and (`..._characters`) by characters,
    `intervals` (see `metrics.f1_intervals`) and `by_precision` (see `metrics.by_precision`); and by characters alone:

    - `labels`: `{"de": {"birth-place": {"gold", "predicted", "right", "f1"}}}` of triples;
    - `numbers`: a row of `metrics.precision_recall` with "sentences" for the sentences with 0, 1, 2, 3, 4, 5+ gold
      triples (none for a number that doesn't come);
    - `overlaps`: `{"normal": {"gold", "right", "recall"}}` for each of `triple_sets.OVERLAPS`: a gold triple may be of
      several kinds;
    - `without_triples`: `{"sentences", "answered", "share"}`: the sentences without a gold triple, and how many of them
      got one, in percent.
    """
    languages: dict[str, _Language] = {}
    numbers = {number: np.zeros(4, dtype=np.int64) for number in NUMBERS}
    kinds = {kind: np.zeros(2, dtype=np.int64) for kind in OVERLAPS}
    answered = 0
    for record in records:
        own = languages.setdefault(record["lang"], _Language())
        counted = counts_of(record)
        for kind, row in _TRIPLE.items():
            own.triples[kind][counted[row]] += 1
        if record["gold"] is None:
            own.missed += 1
            continue
        own.total_C3 += counted
        gold, found = ([triple[:3] for triple in from_json(record["text"], record[s])] for s in ("gold", "predicted"))
        numbers[NUMBERS[min(len(gold), MOST)]] += [1, *counted[_TRIPLE["_characters"]]]
        answered += bool(found) and not gold
        for place, triples in enumerate((set(gold) & set(found), found, gold)):
            for relation, *_ in triples:
                own.labels.setdefault(relation, np.zeros(3, dtype=np.int64))[place] += 1
        sentence = from_json(record["text"], record["gold"])
        for triple in sentence:
            for kind in overlaps(sentence, triple):
                kinds[kind] += [triple[:3] in found, 1]
    return {
        **_scores(languages),
        **{f"intervals{kind}": f1_intervals(_outcomes(languages, kind)) for kind in _TRIPLE},
        **{
            f"by_precision{kind}": by_precision({name: _sum(own) for name, own in _outcomes(languages, kind).items()})
            for kind in _TRIPLE
        },
        "labels": {name: _of_labels(own.labels) for name, own in languages.items()},
        "numbers": {
            number: {"sentences": n, **precision_recall(*counted)}
            for number, (n, *counted) in ((number, row.tolist()) for number, row in numbers.items())
            if n
        },
        "overlaps": {
            kind: {"gold": gold, "right": right, "recall": 100 * right / gold if gold else 0.0}
            for kind, (right, gold) in ((kind, row.tolist()) for kind, row in kinds.items())
        },
        "without_triples": _without_triples(int(numbers["0"][0]), answered),
    }


def _scores(languages: dict[str, _Language]) -> dict:
    total_NC3 = np.array([own.total_C3 for own in languages.values()]).reshape(-1, 1 + len(METRICS), 3)
    return scores(total_NC3, list(languages), {name: own.missed for name, own in languages.items()})


def _outcomes(languages: dict[str, _Language], kind: str) -> dict[str, Counter]:
    return {name: own.triples[kind] for name, own in languages.items()}


def _sum(outcomes: Counter) -> list[int]:
    return [sum(times * outcome[i] for outcome, times in outcomes.items()) for i in range(3)]


def _of_labels(labels: dict[str, np.ndarray]) -> dict:
    rows = ((label, *labels[label].tolist()) for label in sorted(labels))
    return {
        label: {"gold": gold, "predicted": predicted, "right": right, "f1": f1(right, gold, predicted)}
        for label, right, predicted, gold in rows
    }


def _without_triples(sentences: int, answered: int) -> dict:
    share = 100 * answered / sentences if sentences else 0.0
    return {"sentences": sentences, "answered": answered, "share": share}
