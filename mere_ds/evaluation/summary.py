"""All scores of a split, computed from its predictions alone, for one triple per sentence (for any number, see `many`).

Shape suffixes: N languages, C rows of a count table (`metrics.COLUMNS`), 3 its columns.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mere_ds.config import NO_RELATION
from mere_ds.evaluation.metrics import COLUMNS, METRICS, UNREAD, by_precision, f1, f1_intervals, scores


class Outcome(NamedTuple):
    """What is needed of a sentence's answer to compute every score."""

    gold: str | None
    """The relation; None if the sentence could not be read."""
    predicted: str | None
    """The relation; None if the model gave no answer."""
    right: tuple[str, ...]
    """The `METRICS` that are right."""

    def counted(self, metric: str) -> tuple[int, int, int]:
        """What the sentence counts for in a metric: right, predicted, gold."""
        return int(metric in self.right), int(self.predicted is not None), 1


Outcomes = dict[str, Counter[Outcome]]
"""By language: the count of each outcome."""


def scores_of(records: Iterable[dict]) -> dict:
    """All scores of the predictions (as from `predictions.read_predictions`); F1 in percent.

    `languages`, `average`, `pooled` as in `metrics.scores`, and also `intervals` (see `triple_intervals`), `labels`
    (`relation_by_label`), `confusion` and `without_no_relation`. Scores of triples are included by characters too, as
    `intervals_characters` and `without_no_relation_characters`.
    """
    outcomes = outcomes_of(records)
    return {
        **_scores(outcomes),
        "intervals": triple_intervals(outcomes),
        "intervals_characters": triple_intervals(outcomes, "triple_characters"),
        "without_no_relation": without_no_relation(outcomes),
        "without_no_relation_characters": without_no_relation(outcomes, "triple_characters"),
        "labels": relation_by_label(outcomes),
        "confusion": confusion(outcomes),
    }


def outcomes_of(records: Iterable[dict]) -> Outcomes:
    """Count the predictions' outcomes; memory grows with the number of different outcomes, not of sentences."""
    outcomes: Outcomes = {}
    for record in records:
        gold, predicted = ((record[side] or {}).get("relation") for side in ("gold", "predicted"))
        outcome = Outcome(gold, predicted, tuple(record["right"]))
        outcomes.setdefault(record["lang"], Counter())[outcome] += 1
    return outcomes


def _scores(outcomes: Outcomes) -> dict:
    counts_NC3 = np.zeros((len(outcomes), len(COLUMNS), 3), dtype=np.int64)
    missed: Counter[str] = Counter()
    for n, (language, counter) in enumerate(outcomes.items()):
        for outcome, times in counter.items():
            if outcome.gold is None:
                missed[language] += times
            else:
                counts_NC3[n] += times * np.array([UNREAD, *map(outcome.counted, METRICS)])
    return scores(counts_NC3, list(outcomes), missed)


def triple_intervals(outcomes: Outcomes, metric: str = "triple") -> dict:
    """Bootstrap intervals of triple F1, by tokens or (`triple_characters`) by characters; see `f1_intervals`."""
    counts: dict[str, Counter[tuple[int, int, int]]] = {language: Counter() for language in outcomes}
    for language, counter in outcomes.items():
        for outcome, times in counter.items():
            counts[language][outcome.counted(metric)] += times
    return f1_intervals(counts)


def without_no_relation(outcomes: Outcomes, metric: str = "triple") -> dict:
    """Scores of triples as usual in relation extraction, where `no_relation` doesn't count: micro-averaged over all
    other labels, by tokens or (`triple_characters`) by characters.

    `{"languages": {"de": {"gold", "predicted", "right", "precision", "recall", "f1"}}, "average": {"precision",
    "recall", "f1"}, "pooled": {...}}` in percent. A sentence that could not be read counts as gold, since its label
    is unknown. Languages with nothing gold and nothing predicted are left out.
    """
    counts: dict[str, tuple[int, int, int]] = {}
    for language, counter in outcomes.items():
        gold = sum(n for o, n in counter.items() if o.gold != NO_RELATION)
        predicted = sum(n for o, n in counter.items() if o.predicted not in (None, NO_RELATION))
        right = sum(n for o, n in counter.items() if o.gold != NO_RELATION and metric in o.right)
        if gold + predicted:
            counts[language] = (right, predicted, gold)
    return by_precision(counts)


def relation_by_label(outcomes: Outcomes) -> dict:
    """Figure 4: relation classification by language and label, `{"de": {"birth-place": {"gold", "predicted", "right",
    "f1"}}}`; F1 in percent is 2 TP / (gold + predicted), and "gold" counts the label's sentences."""
    table = {}
    for language, counter in outcomes.items():
        gold: Counter[str | None] = Counter()
        predicted: Counter[str | None] = Counter()
        right: Counter[str | None] = Counter()
        for outcome, times in counter.items():
            gold[outcome.gold] += times
            predicted[outcome.predicted] += times
            right[outcome.gold] += times * (outcome.gold == outcome.predicted)
        table[language] = {
            label: {
                "gold": gold[label],
                "predicted": predicted[label],
                "right": right[label],
                "f1": f1(right[label], gold[label], predicted[label]),
            }
            for label in sorted(label for label in gold.keys() | predicted.keys() if label is not None)
        }
    return table


def confusion(outcomes: Outcomes) -> dict:
    """`{"labels": [...], "counts": [[...]]}`: sentences by gold (row) and predicted relation (column), all languages
    together. Sentences without a gold label or an answer are not included."""
    pairs: Counter[tuple[str, str]] = Counter()
    for counter in outcomes.values():
        for outcome, times in counter.items():
            if outcome.gold is not None and outcome.predicted is not None:
                pairs[outcome.gold, outcome.predicted] += times
    labels = sorted({label for pair in pairs for label in pair})
    return {"labels": labels, "counts": [[pairs[gold, predicted] for predicted in labels] for gold in labels]}
