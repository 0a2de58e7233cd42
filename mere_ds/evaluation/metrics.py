"""Scores of section 4.2: strict micro-F1 of relation, entity pair, head, tail and triple, by language.

Everything that involves entities is scored twice: by tokens and by characters.

Each is counted as (right, predicted, gold). Where a sentence has one triple and gets one, all but "right" are 1 a
sentence; where it has any number, they are sizes of sets (see `triple_sets`).

Shape suffixes: N languages, C rows of a count table (`COLUMNS`), 3 its columns: right, predicted, gold.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np

from mere_ds.evaluation.intervals import LEVEL, RESAMPLES, by_language, generator, interval, nested, resampled
from mere_ds.evaluation.triple_sets import from_json, sizes

BY_TOKENS = ("pair", "head", "tail", "triple")
"""Strict by tokens: an entity is right if its first and its last token are. This depends on the tokenizer, which limits
how precisely a span can be expressed."""
BY_CHARACTERS = tuple(f"{metric}_characters" for metric in BY_TOKENS)
"""Strict by characters, in the same order: an entity is right if it covers the same characters as the gold one, apart
from surrounding white space. This is independent of the tokenizer."""
METRICS = ("relation", *BY_TOKENS, *BY_CHARACTERS)
"""All metrics."""

COLUMNS = ("sentences", *METRICS)
"""What is counted; of sentences there is but the number, as gold."""
UNREAD = (0, 0, 1)
"""What a sentence that could not be read counts for in each metric: a gold one that nobody found."""


def right_metrics(relation: bool, tokens: Sequence[bool], characters: Sequence[bool]) -> list[str]:
    """The `METRICS` that an answer gets right; `tokens` and `characters` say so of head and tail."""
    answers = [relation]
    for head, tail in (tokens, characters):
        answers += [head and tail, head, tail, head and tail and relation]
    return [metric for metric, right in zip(METRICS, answers, strict=True) if right]


def counts_of(record: dict) -> list[tuple[int, int, int]]:
    """A record's rows of a count table (C x 3)."""
    right, predicted = record["right"], record["predicted"]
    if record["gold"] is None:
        counted = [UNREAD] * len(METRICS)
    elif isinstance(predicted, list):
        gold, found = (sizes(from_json(record["text"], record[side])) for side in ("gold", "predicted"))
        parts = [metric.removesuffix("_characters") for metric in METRICS]
        counted = [(right[metric], found[part], gold[part]) for metric, part in zip(METRICS, parts, strict=True)]
    else:
        answered = int(predicted is not None)
        counted = [(int(metric in right), answered, 1) for metric in METRICS]
    return [(0, 0, 1), *counted]


@overload
def f1(right: int, gold: int, predicted: int) -> float: ...


@overload
def f1(right: np.ndarray, gold: np.ndarray, predicted: np.ndarray) -> np.ndarray: ...


def f1(right: Any, gold: Any, predicted: Any) -> Any:
    """Micro-F1 in percent, 2 TP / (gold + predicted), for numbers or arrays; 0 if nothing is gold or predicted."""
    both = gold + predicted
    return 200 * right / (np.maximum(both, 1) if isinstance(both, np.ndarray) else max(both, 1))


def precision(right: Any, gold: Any, predicted: Any) -> Any:
    """The share of the predicted that is right, in percent; 0 if nothing is. For numbers or arrays, as `f1`."""
    return 100 * right / np.maximum(predicted, 1)


def recall(right: Any, gold: Any, predicted: Any) -> Any:
    """The share of the gold that is right, in percent; 0 if nothing is. For numbers or arrays, as `f1`."""
    return 100 * right / np.maximum(gold, 1)


def scores(counts_NC3: np.ndarray, languages: list[str], missed: dict[str, int] | None = None) -> dict:
    """F1 in percent from counts: by language, their unweighted mean (the paper's AVG), and pooled over all sentences.

    `missed` is the number of test sentences by language that could not be read: these have gold but no prediction and
    reduce recall. If every sentence has one gold and one predicted triple, F1 equals accuracy if nothing is missed.
    Languages without sentences are left out.
    """
    counts = counts_NC3.astype(np.int64)
    rows = {}
    for n, language in enumerate(languages):
        gap = (missed or {}).get(language, 0)
        counts[n] += gap * np.array(UNREAD)
        if counts[n].any():
            rows[language] = _row(counts[n]) | ({"missed": gap} if gap else {})
    average = {m: sum(r[m] for r in rows.values()) / len(rows) for m in METRICS} if rows else {}
    return {"languages": rows, "average": average, "pooled": _row(counts.sum(0)) if rows else {}}


def _row(count_C3: np.ndarray) -> dict:
    (*_, sentences), *counted = count_C3.tolist()
    f1s = {m: f1(right, gold, predicted) for m, (right, predicted, gold) in zip(METRICS, counted, strict=True)}
    return {"sentences": sentences, **f1s}


def f1_intervals(counts: Mapping[str, Counter], score: Callable = f1) -> dict:
    """Bootstrap intervals of F1 from how often (right, predicted, gold) come among a language's sentences; or of
    another `score`, which takes right, gold and predicted (R each) as `f1` does.

    `{"level", "resamples", "languages": {"de": [low, high]}, "average", "pooled"}`. Sentences are resampled within each
    language. Training's own chance (the seed) is not in it, and a score of 0 or 100 gets no width, for there every
    resample is like the sample.
    """
    if not counts:
        return {}
    sums = {language: resampled(counter, generator(language)) for language, counter in counts.items()}
    values = by_language(sums, lambda sums_R3: score(sums_R3[:, 0], sums_R3[:, 2], sums_R3[:, 1]))
    return {"level": LEVEL, "resamples": RESAMPLES, **nested({name: interval(v) for name, v in values.items()})}


def by_precision(counts: Mapping[str, Sequence[int]]) -> dict:
    """From (right, predicted, gold) by language `{"languages": {"de": {"gold", "predicted", "right", "precision",
    "recall", "f1"}}, "average": {"precision", "recall", "f1"}, "pooled": {...}}` in percent; each empty without a
    language."""
    if not counts:
        return {"languages": {}, "average": {}, "pooled": {}}
    rows = {language: precision_recall(*count) for language, count in counts.items()}
    average = {m: float(np.mean([row[m] for row in rows.values()])) for m in ("precision", "recall", "f1")}
    right, predicted, gold = np.sum(list(counts.values()), axis=0).tolist()
    return {"languages": rows, "average": average, "pooled": precision_recall(right, predicted, gold)}


def precision_recall(right: int, predicted: int, gold: int) -> dict:
    """One row of `by_precision`."""
    counts = {"gold": gold, "predicted": predicted, "right": right}
    shares = {score.__name__: float(score(right, gold, predicted)) for score in (precision, recall)}
    return {**counts, **shares, "f1": f1(right, gold, predicted)}
