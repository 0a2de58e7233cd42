"""All scores of a split from its predictions alone, where sentences have any number of triples; every sentence counts.

Scores by label, by number of gold triples and by kind of overlap are by characters, as predictions are.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mere_ds.corpus.overlaps import OVERLAPS, overlaps
from mere_ds.evaluation.intervals import generator, interval, resampled
from mere_ds.evaluation.metrics import (
    METRICS,
    by_precision,
    counts_of,
    f1,
    f1_intervals,
    precision,
    precision_recall,
    recall,
    scores,
)
from mere_ds.evaluation.triple_sets import from_json

MOST = 5
"""Sentences with so many gold triples or more are scored together."""
NUMBERS = (*map(str, range(MOST)), f"{MOST}+")

_TRIPLE = {kind: 1 + METRICS.index(metric) for kind, metric in (("", "triple"), ("_characters", "triple_characters"))}
_RELATION = 1 + METRICS.index("relation")


@dataclass
class _Language:
    """What is counted of a language's sentences; as (right, predicted, gold) where nothing else is said."""

    total_C3: np.ndarray = field(default_factory=lambda: np.zeros((1 + len(METRICS), 3), dtype=np.int64))
    missed: int = 0
    triples: dict[str, Counter] = field(default_factory=lambda: {kind: Counter() for kind in _TRIPLE})
    """By kind ("" by tokens), how often each outcome of a sentence comes."""
    relations: Counter = field(default_factory=Counter)
    """The same of its set of relations."""
    labels: dict[str, Counter] = field(default_factory=dict)
    """By label how often each outcome of its triples comes, where it is gold or found."""


def scores_of_many(records: Iterable[dict]) -> dict:
    """Every score of the predictions (as `predictions.read_predictions` gives them); F1 in percent.

    `languages`, `average`, `pooled` as in `metrics.scores`, with, by tokens and (`..._characters`) by characters,
    `intervals` (see `metrics.f1_intervals`) and `by_precision` (see `metrics.by_precision`); `intervals_precision` and
    `intervals_recall` of triples by tokens, `intervals_relation` of relation sets; and by characters alone:

    - `labels`: `{"de": {"birth-place": {"gold", "predicted", "right", "f1"}}}` of triples;
    - `pooled_labels`: the same of all languages together, as a row of `numbers` has it;
    - `numbers`: a row of `metrics.precision_recall` with "sentences" and the "interval" of F1 for the sentences with
      0, 1, 2, 3, 4, 5+ gold triples (none for a number that doesn't come);
    - `overlaps`: `{"normal": {"gold", "right", "recall", "interval"}}` for each of `corpus.overlaps.OVERLAPS`: a gold
      triple may be of several kinds;
    - `without_triples`: `{"sentences", "answered", "share", "interval"}`: the sentences without a gold triple, and how
      many of them got one, in percent.

    These intervals resample the sentences that have the label (gold or found), the number or the kind; null where there
    is none.
    """
    languages: dict[str, _Language] = {}
    numbers: dict[str, Counter] = {number: Counter() for number in NUMBERS}
    kinds: dict[str, Counter] = {kind: Counter() for kind in OVERLAPS}
    answered: Counter = Counter()
    for record in records:
        own = languages.setdefault(record["lang"], _Language())
        counted = counts_of(record)
        for kind, row in _TRIPLE.items():
            own.triples[kind][counted[row]] += 1
        own.relations[counted[_RELATION]] += 1
        if record["gold"] is None:
            own.missed += 1
            continue
        own.total_C3 += counted
        gold, found = ([triple[:3] for triple in from_json(record["text"], record[s])] for s in ("gold", "predicted"))
        numbers[NUMBERS[min(len(gold), MOST)]][counted[_TRIPLE["_characters"]]] += 1
        if not gold:
            answered[int(bool(found)), 1] += 1
        here: dict[str, list[int]] = {}
        for place, triples in enumerate((set(gold) & set(found), found, gold)):
            for relation, *_ in triples:
                here.setdefault(relation, [0, 0, 0])[place] += 1
        for relation, counted_of_it in here.items():
            own.labels.setdefault(relation, Counter())[tuple(counted_of_it)] += 1
        sentence = from_json(record["text"], record["gold"])
        each = zip(sentence, overlaps(sentence), strict=True)
        of_kinds = [(kind, triple[:3] in found) for triple, its in each for kind in its]
        for kind, total in Counter(kind for kind, _ in of_kinds).items():
            kinds[kind][of_kinds.count((kind, True)), total] += 1
    return {
        **_scores(languages),
        **{f"intervals{kind}": f1_intervals(_outcomes(languages, kind)) for kind in _TRIPLE},
        "intervals_precision": f1_intervals(_outcomes(languages, ""), precision),
        "intervals_recall": f1_intervals(_outcomes(languages, ""), recall),
        "intervals_relation": f1_intervals({name: own.relations for name, own in languages.items()}),
        **{
            f"by_precision{kind}": by_precision({name: _sum(own) for name, own in _outcomes(languages, kind).items()})
            for kind in _TRIPLE
        },
        "labels": {name: _of_labels(own.labels) for name, own in languages.items()},
        "pooled_labels": {label: _of_some(label, outcomes) for label, outcomes in _pooled_labels(languages.values())},
        "numbers": {number: _of_some(number, outcomes) for number, outcomes in numbers.items() if outcomes},
        "overlaps": {kind: _share(kind, outcomes, "right", "gold", "recall") for kind, outcomes in kinds.items()},
        "without_triples": _share("none", answered, "answered", "sentences", "share"),
    }


def _scores(languages: dict[str, _Language]) -> dict:
    total_NC3 = np.array([own.total_C3 for own in languages.values()]).reshape(-1, 1 + len(METRICS), 3)
    return scores(total_NC3, list(languages), {name: own.missed for name, own in languages.items()})


def _outcomes(languages: dict[str, _Language], kind: str) -> dict[str, Counter]:
    return {name: own.triples[kind] for name, own in languages.items()}


def _sum(outcomes: Counter) -> list[int]:
    """Over the sentences; there must be one."""
    return [sum(times * outcome[i] for outcome, times in outcomes.items()) for i in range(len(next(iter(outcomes))))]


def _of_labels(labels: dict[str, Counter]) -> dict:
    table = {}
    for label in sorted(labels):
        right, predicted, gold = _sum(labels[label])
        table[label] = {"gold": gold, "predicted": predicted, "right": right, "f1": f1(right, gold, predicted)}
    return table


def _pooled_labels(languages: Iterable[_Language]) -> list[tuple[str, Counter]]:
    joined: dict[str, Counter] = {}
    for own in languages:
        for label, outcomes in own.labels.items():
            joined.setdefault(label, Counter()).update(outcomes)
    return sorted(joined.items())


def _of_some(name: str, outcomes: Counter) -> dict:
    """Of some of all sentences, of which there is at least one; `name` gives their draws."""
    sums_R3 = resampled(outcomes, generator(name))
    bounds = interval(f1(sums_R3[:, 0], sums_R3[:, 2], sums_R3[:, 1]))
    return {"sentences": outcomes.total(), **precision_recall(*_sum(outcomes)), "interval": bounds}


def _share(of: str, outcomes: Counter, part: str, whole: str, name: str) -> dict:
    """What sentences' (part, whole) sum up to, and the share of the whole in percent."""
    if not outcomes:
        return {whole: 0, part: 0, name: 0.0, "interval": None}
    n, total = _sum(outcomes)
    parts_R, wholes_R = resampled(outcomes, generator(of)).T
    return {whole: total, part: n, name: 100 * n / total, "interval": interval(100 * parts_R / wholes_R)}
