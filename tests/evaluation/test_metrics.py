"""Scores of counts."""

import numpy as np
import pytest

from mere_ds.evaluation.metrics import COLUMNS, METRICS, right_metrics, scores


def counts(*languages: dict) -> np.ndarray:
    """A language's sentences have a triple and an answer each; metrics that aren't given are right in every one."""
    tables = []
    for told in languages:
        n = told["sentences"]
        tables.append([(0, 0, n), *((told.get(metric, n), n, n) for metric in COLUMNS[1:])])
    return np.array(tables)


DE = {"sentences": 2, "tail_characters": 1, "pair_characters": 1, "triple_characters": 1}
FR = {"sentences": 2, "relation": 1, "head": 1, "tail": 1, "pair": 0, "triple": 0, "head_characters": 0}


def test_scores_by_hand():
    result = scores(counts(DE, FR, {"sentences": 0}), ["de", "fr", "it"])
    assert result["languages"]["de"] == {
        "sentences": 2, "relation": 100.0, "pair": 100.0, "head": 100.0, "tail": 100.0, "triple": 100.0,
        "pair_characters": 50.0, "head_characters": 100.0, "tail_characters": 50.0, "triple_characters": 50.0,
    }  # fmt: skip
    assert result["average"]["relation"] == 75.0 and result["pooled"]["tail"] == 75.0
    assert "it" not in result["languages"], "a language without test sentences has no score"
    assert scores(counts({"sentences": 0}), ["it"]) == {"languages": {}, "average": {}, "pooled": {}}


def test_missed_sentences_cost_recall():
    result = scores(counts({"sentences": 2}), ["de"], {"de": 2})
    # precision 1, recall 1/2
    assert all(result["languages"]["de"][metric] == pytest.approx(200 / 3) for metric in METRICS)
    assert result["languages"]["de"] | {"sentences": 4, "missed": 2} == result["languages"]["de"]
    assert scores(counts({"sentences": 0}), ["de"], {"de": 2})["languages"]["de"]["triple"] == 0


def test_what_an_answer_gets_right():
    everything = right_metrics(True, (True, True), (True, True))
    assert everything == list(METRICS)
    assert right_metrics(False, (True, True), (True, False)) == ["pair", "head", "tail", "head_characters"]
    assert right_metrics(True, (False, True), (True, True)) == [
        *("relation", "tail", "pair_characters", "head_characters", "tail_characters", "triple_characters")
    ], "characters may be right where tokens are not"
    assert right_metrics(True, (False, False), (False, False)) == ["relation"]
