"""All scores of a split, computed from its predictions alone.

Shape suffixes: N languages, C columns of a count table (`metrics.COLUMNS`).
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mere_ds.evaluation.intervals import LEVEL, RESAMPLES, by_language, generator, interval, nested, resampled
from mere_ds.evaluation.metrics import COLUMNS, METRICS, f1, scores

NO_RELATION = "no_relation"
"""The label of a sentence whose entities are unrelated."""


class Outcome(NamedTuple):
    """What is needed of a sentence's answer to compute every score."""

    gold: str | None
    """The relation; None if the sentence could not be read."""
    predicted: str | None
    """The relation; None if the model gave no answer."""
    right: tuple[str, ...]
    """The `METRICS` that are right."""

    def counts(self) -> tuple[int, ...]:
        """The sentence's row of a count table."""
        return 1, int(self.predicted is not None), *(int(metric in self.right) for metric in METRICS)


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
    counts_NC = np.zeros((len(outcomes), len(COLUMNS)), dtype=np.int64)
    missed: Counter[str] = Counter()
    for n, (language, counter) in enumerate(outcomes.items()):
        for outcome, times in counter.items():
            if outcome.gold is None:
                missed[language] += times
            else:
                counts_NC[n] += times * np.array(outcome.counts())
    return scores(counts_NC, list(outcomes), missed)


def triple_intervals(outcomes: Outcomes, metric: str = "triple") -> dict:
    """Bootstrap intervals of triple F1, by tokens or (`triple_characters`) by characters.

    `{"level", "resamples", "languages": {"de": [low, high]}, "average", "pooled"}`. Sentences are resampled within each
    language. The randomness of training (the seed) is not included, and a score of 0 or 100 gets an interval of width
    0, since all resamples are equal.
    """
    sums = {
        language: resampled(_triples(counter, metric), generator(language)) for language, counter in outcomes.items()
    }
    if not sums:
        return {}
    values = by_language(sums, lambda sums_RC: f1(sums_RC[:, 2], sums_RC[:, 0], sums_RC[:, 1]))
    return {"level": LEVEL, "resamples": RESAMPLES, **nested({name: interval(v) for name, v in values.items()})}


def _triples(counter: Counter[Outcome], metric: str) -> Counter:
    """The counts of (sentence, predicted, triple right)."""
    triples: Counter[tuple[int, int, int]] = Counter()
    for outcome, times in counter.items():
        sentence, predicted, *_ = outcome.counts()
        triples[sentence, predicted, int(metric in outcome.right)] += times
    return triples


def without_no_relation(outcomes: Outcomes, metric: str = "triple") -> dict:
    """Scores of triples as usual in relation extraction, where `no_relation` doesn't count: micro-averaged over all
    other labels, by tokens or (`triple_characters`) by characters.

    `{"languages": {"de": {"gold", "predicted", "right", "precision", "recall", "f1"}}, "average": {"precision",
    "recall", "f1"}, "pooled": {...}}` in percent. A sentence that could not be read counts as gold, since its label
    is unknown. Languages with nothing gold and nothing predicted are left out.
    """
    counts = {}
    for language, counter in outcomes.items():
        gold = sum(n for o, n in counter.items() if o.gold != NO_RELATION)
        predicted = sum(n for o, n in counter.items() if o.predicted not in (None, NO_RELATION))
        right = sum(n for o, n in counter.items() if o.gold != NO_RELATION and metric in o.right)
        if gold + predicted:
            counts[language] = np.array([gold, predicted, right])
    if not counts:
        return {"languages": {}, "average": {}, "pooled": {}}
    rows = {language: _precision_recall(*count.tolist()) for language, count in counts.items()}
    average = {m: float(np.mean([row[m] for row in rows.values()])) for m in ("precision", "recall", "f1")}
    return {
        "languages": rows,
        "average": average,
        "pooled": _precision_recall(*np.sum(list(counts.values()), axis=0).tolist()),
    }


def _precision_recall(gold: int, predicted: int, right: int) -> dict:
    precision, recall = (100 * right / n if n else 0.0 for n in (predicted, gold))
    counts = {"gold": gold, "predicted": predicted, "right": right}
    return {**counts, "precision": precision, "recall": recall, "f1": f1(right, gold, predicted)}


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
