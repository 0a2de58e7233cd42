"""Scores of counts."""

import numpy as np
import pytest

from mere_ds.evaluation.metrics import scores

# columns: sentences, predicted, relation, pair, head, tail, triple, triple with exact characters
COUNTS = np.array([[2, 2, 2, 2, 2, 2, 2, 1], [2, 2, 1, 0, 1, 1, 0, 0], [0] * 8])


def test_scores_by_hand():
    result = scores(COUNTS, ["de", "fr", "it"])
    assert result["languages"]["de"] == {
        "sentences": 2, "relation": 100.0, "pair": 100.0, "head": 100.0, "tail": 100.0, "triple": 100.0,
        "triple_characters": 50.0,
    }  # fmt: skip
    assert result["average"]["relation"] == 75.0 and result["pooled"]["tail"] == 75.0
    assert "it" not in result["languages"], "a language without test sentences has no score"
    assert scores(COUNTS[2:], ["it"]) == {"languages": {}, "average": {}, "pooled": {}}


def test_missed_sentences_cost_recall():
    counts = np.array([[2, 2, 2, 2, 2, 2, 2, 2]])
    result = scores(counts, ["de"], {"de": 2})
    # precision 1, recall 1/2
    assert result["languages"]["de"]["triple"] == pytest.approx(200 / 3)
    assert result["languages"]["de"] | {"sentences": 4, "missed": 2} == result["languages"]["de"]
    assert scores(np.zeros((1, 8), dtype=np.int64), ["de"], {"de": 2})["languages"]["de"]["triple"] == 0
