"""Scores of section 4.2: strict micro-F1 of relation, entity pair, head, tail and triple, by language.

Everything that involves entities is scored twice: by tokens and by characters.

Shape suffixes: N languages, C columns of a count table (`COLUMNS`).
"""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

BY_TOKENS = ("pair", "head", "tail", "triple")
"""Strict by tokens: an entity is right if its first and its last token are. This depends on the tokenizer, which limits
how precisely a span can be expressed."""
BY_CHARACTERS = tuple(f"{metric}_characters" for metric in BY_TOKENS)
"""Strict by characters, in the same order: an entity is right if it covers the same characters as the gold one, apart
from surrounding white space. This is independent of the tokenizer."""
METRICS = ("relation", *BY_TOKENS, *BY_CHARACTERS)
"""All metrics."""

COLUMNS = ("sentences", "predicted", *METRICS)


def right_metrics(relation: bool, tokens: Sequence[bool], characters: Sequence[bool]) -> list[str]:
    """The `METRICS` that an answer gets right; `tokens` and `characters` say so of head and tail."""
    answers = [relation]
    for head, tail in (tokens, characters):
        answers += [head and tail, head, tail, head and tail and relation]
    return [metric for metric, right in zip(METRICS, answers, strict=True) if right]


@overload
def f1(right: int, gold: int, predicted: int) -> float: ...


@overload
def f1(right: np.ndarray, gold: np.ndarray, predicted: np.ndarray) -> np.ndarray: ...


def f1(right: Any, gold: Any, predicted: Any) -> Any:
    """Micro-F1 in percent, 2 TP / (gold + predicted), for numbers or arrays; gold + predicted must not be 0."""
    return 200 * right / (gold + predicted)


def scores(counts_NC: np.ndarray, languages: list[str], missed: dict[str, int] | None = None) -> dict:
    """F1 in percent from counts: by language, their unweighted mean (the paper's AVG), and pooled over all sentences.

    `missed` is the number of test sentences by language that could not be read: these have gold but no prediction and
    reduce recall. As every sentence has one gold and one predicted triple, F1 equals accuracy if nothing is missed.
    Languages without sentences are left out.
    """
    counts = counts_NC.astype(np.int64)
    rows = {}
    for n, language in enumerate(languages):
        gap = (missed or {}).get(language, 0)
        counts[n, 0] += gap
        if counts[n, 0]:
            rows[language] = _row(counts[n]) | ({"missed": gap} if gap else {})
    average = {m: sum(r[m] for r in rows.values()) / len(rows) for m in METRICS} if rows else {}
    return {"languages": rows, "average": average, "pooled": _row(counts.sum(0)) if rows else {}}


def _row(count_C: np.ndarray) -> dict:
    sentences, predicted, *right = count_C.tolist()
    return {"sentences": sentences, **{m: f1(r, sentences, predicted) for m, r in zip(METRICS, right, strict=True)}}
