"""Scores of section 4.2: strict micro-F1 of relation, entity pair, head, tail and triple, by language.

Shape suffixes: B sentences, N languages, C columns of a count table (`COLUMNS`).
"""

import torch

from mere_ds.shards.batch import Batch

METRICS = ("relation", "pair", "head", "tail", "triple", "triple_characters")
"""What is scored. Spans are strict: the first and the last token must both be right. `triple_characters` also wants
the tokens to cover exactly the gold characters, which a mark inside a token makes impossible."""

COLUMNS = ("sentences", "predicted", *METRICS)


def count_right(batch: Batch, relation_B: torch.Tensor, positions_B4: torch.Tensor, languages: int) -> torch.Tensor:
    """Count a batch's sentences, predictions and right answers by language: int64, (N, C). Fillers don't count."""
    same_B4 = positions_B4 == batch.positions_B4
    relation_B = relation_B == batch.labels_B
    head_B, tail_B = same_B4[:, :2].all(1), same_B4[:, 2:].all(1)
    pair_B = head_B & tail_B
    triple_B = pair_B & relation_B
    one_B = torch.ones_like(relation_B)
    table_BC = torch.stack(
        [one_B, one_B, relation_B, pair_B, head_B, tail_B, triple_B, triple_B & batch.exact_B2.all(1)], dim=1
    )
    real_B = batch.weights_B > 0
    counts_NC = torch.zeros(languages, len(COLUMNS), dtype=torch.int64, device=table_BC.device)
    return counts_NC.index_add_(0, batch.languages_B[real_B], table_BC[real_B].long())


def scores(counts_NC: torch.Tensor, languages: list[str], missed: dict[str, int] | None = None) -> dict:
    """F1 in percent from counts: by language, their plain mean (the paper's AVG) and pooled over all sentences.

    `missed` are test sentences by language that could not be read: gold without a prediction, so each costs recall.
    As every sentence has one triple and gets one, F1 equals accuracy where nothing is missed. Languages without
    sentences are left out.
    """
    counts = counts_NC.double().cpu()
    rows = {}
    for n, language in enumerate(languages):
        gap = (missed or {}).get(language, 0)
        counts[n, 0] += gap
        if counts[n, 0]:
            rows[language] = _row(counts[n]) | ({"missed": gap} if gap else {})
    average = {m: sum(r[m] for r in rows.values()) / len(rows) for m in METRICS} if rows else {}
    return {"languages": rows, "average": average, "pooled": _row(counts.sum(0)) if rows else {}}


def _row(count_C: torch.Tensor) -> dict:
    sentences, predicted, *right = count_C.tolist()
    f1 = {m: 200 * r / (sentences + predicted) for m, r in zip(METRICS, right, strict=True)}
    return {"sentences": int(sentences), **f1}


def format_scores(result: dict) -> str:
    """The table that a person reads: a row a language, then the average and the pooled score."""
    head = f"{'':10}{'sentences':>10}" + "".join(
        f"{m.replace('_', ' '):>19}" if "_" in m else f"{m:>10}" for m in METRICS
    )
    lines = [head]
    total = sum(r["sentences"] for r in result["languages"].values())
    rows = {**result["languages"], "average": result["average"], "pooled": result["pooled"]}
    for name, row in rows.items():
        cells = "".join(f"{row[m]:>{19 if '_' in m else 10}.1f}" for m in METRICS)
        lines.append(f"{name:10}{row.get('sentences', total):>10}{cells}")
    return "\n".join(lines)
