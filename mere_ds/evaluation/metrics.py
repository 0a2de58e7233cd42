"""Scores of section 4.2: strict micro-F1 of relation, entity pair, head, tail and triple, by language.

Shape suffixes: N languages, C columns of a count table (`COLUMNS`).
"""

import numpy as np

METRICS = ("relation", "pair", "head", "tail", "triple", "triple_characters")
"""What is scored. Spans are strict: the first and the last token must both be right. `triple_characters` also wants
the tokens to cover exactly the gold characters, which a mark inside a token makes impossible."""

COLUMNS = ("sentences", "predicted", *METRICS)


def f1(right, gold, predicted):
    """Micro-F1 in percent, 2 TP / (gold + predicted): of numbers or of arrays; something must be gold or predicted."""
    return 200 * right / (gold + predicted)


def scores(counts_NC: np.ndarray, languages: list[str], missed: dict[str, int] | None = None) -> dict:
    """F1 in percent from counts: by language, their plain mean (the paper's AVG) and pooled over all sentences.

    `missed` are test sentences by language that could not be read: gold without a prediction, so each costs recall.
    As every sentence has one triple and gets one, F1 equals accuracy where nothing is missed. Languages without
    sentences are left out.
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
