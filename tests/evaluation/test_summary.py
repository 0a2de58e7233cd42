"""All scores of predictions, by hand and against the same counted sentence by sentence."""

import pytest
from hypothesis import given

from mere_ds.evaluation.intervals import LEVEL, RESAMPLES
from mere_ds.evaluation.metrics import METRICS
from mere_ds.evaluation.summary import scores_of
from tests.evaluation.records import LABELS, record, records

HAND = [
    record("de", "wrote", "wrote", "hT"),
    record("de", "wrote", "born-in", "ht"),
    record("de", "no_relation", "no_relation", "ht"),
    record("de", "born-in", "no_relation", "h"),
    record("ko", "wrote", "wrote", "t"),
    record("ko", "wrote", None),
    record("ko", None, None),
]


def test_hand_example():
    result = scores_of(HAND)
    assert result["languages"]["de"]["triple"] == 50 and result["languages"]["de"]["pair"] == 75
    assert result["languages"]["de"]["triple_characters"] == 25 and result["languages"]["de"]["tail_characters"] == 50
    assert result["languages"]["ko"]["relation"] == 200 * 1 / (3 + 1)
    assert result["languages"]["ko"]["missed"] == 1 and result["languages"]["ko"]["sentences"] == 3
    assert result["average"]["relation"] == 50 and result["pooled"]["tail"] == pytest.approx(200 * 4 / (7 + 5))
    assert result["labels"]["de"] == {
        "born-in": {"gold": 1, "predicted": 1, "right": 0, "f1": 0},
        "no_relation": {"gold": 1, "predicted": 2, "right": 1, "f1": pytest.approx(200 / 3)},
        "wrote": {"gold": 2, "predicted": 1, "right": 1, "f1": pytest.approx(200 / 3)},
    }
    assert result["labels"]["ko"] == {"wrote": {"gold": 2, "predicted": 1, "right": 1, "f1": pytest.approx(200 / 3)}}
    assert result["confusion"] == {
        "labels": ["born-in", "no_relation", "wrote"],
        "counts": [[0, 1, 0], [0, 1, 0], [1, 0, 2]],
    }
    without = result["without_no_relation"]
    assert without["languages"]["de"] == {
        "gold": 3, "predicted": 2, "right": 1, "precision": 50, "recall": pytest.approx(100 / 3), "f1": 40,
    }  # fmt: skip
    assert without["languages"]["ko"]["gold"] == 3 and without["languages"]["ko"]["f1"] == 0
    by_characters = result["without_no_relation_characters"]
    assert by_characters["languages"]["de"] == without["languages"]["de"] | {
        "right": 0, "precision": 0, "recall": 0, "f1": 0,
    }  # fmt: skip
    assert without["average"]["f1"] == 20 and without["pooled"]["f1"] == 200 * 1 / (6 + 3)


def test_a_language_of_no_relation_alone_has_no_score_without_it():
    only = [record("de", "no_relation", "no_relation", "ht")]
    assert scores_of(only)["without_no_relation"] == {"languages": {}, "average": {}, "pooled": {}}
    assert scores_of([])["languages"] == {}


def slow_f1(gold: list, predicted: list, right: list) -> float:
    """Of lists that hold one thing a sentence, or less where there is none."""
    if not right:
        return 0.0
    precision, recall = len(right) / len(predicted), len(right) / len(gold)
    return 100 * 2 * precision * recall / (precision + recall)


@given(records())
def test_against_a_slow_count(given_records):
    result = scores_of(given_records)
    languages = {r["lang"] for r in given_records}
    assert result["languages"].keys() == result["labels"].keys() == languages
    for language in languages:
        of_language = [r for r in given_records if r["lang"] == language]
        answered = [r for r in of_language if r["predicted"]]
        for metric in METRICS:
            right = [r for r in answered if metric in r["right"]]
            assert result["languages"][language][metric] == pytest.approx(slow_f1(of_language, answered, right))
        for label in LABELS:
            gold = [r for r in of_language if r["gold"] and r["gold"]["relation"] == label]
            predicted = [r for r in answered if r["predicted"]["relation"] == label]
            right = [r for r in gold if r in predicted]
            row = result["labels"][language].get(label, {"gold": 0, "predicted": 0, "f1": 0})
            assert (row["gold"], row["predicted"]) == (len(gold), len(predicted))
            assert row["f1"] == pytest.approx(slow_f1(gold, predicted, right))
        gold = [r for r in of_language if not r["gold"] or r["gold"]["relation"] != "no_relation"]
        predicted = [r for r in answered if r["predicted"]["relation"] != "no_relation"]
        for ending in ("", "_characters"):
            right = [r for r in predicted if f"triple{ending}" in r["right"]]
            row = result[f"without_no_relation{ending}"]["languages"].get(language, {"f1": 0})
            assert row["f1"] == pytest.approx(slow_f1(gold, predicted, right))
    both = [r for r in given_records if r["gold"] and r["predicted"]]
    assert sum(map(sum, result["confusion"]["counts"])) == len(both)
    named = {r[side]["relation"] for r in both for side in ("gold", "predicted")}
    assert result["confusion"]["labels"] == sorted(named)


@given(records())
def test_intervals_hold_their_scores(given_records):
    result = scores_of(given_records)
    assert scores_of(given_records) == result, "the same predictions, the same intervals"
    for ending in ("", "_characters"):
        intervals, metric = result[f"intervals{ending}"], f"triple{ending}"
        assert (intervals["level"], intervals["resamples"]) == (LEVEL, RESAMPLES) == (95, 1000)
        pairs = [(intervals[name], result[name][metric]) for name in ("average", "pooled")]
        pairs += [(intervals["languages"][name], row[metric]) for name, row in result["languages"].items()]
        for (low, high), score in pairs:
            assert -1e-9 <= low <= score + 1e-9 and score - 1e-9 <= high <= 100 + 1e-9


def test_an_interval_is_as_wide_as_the_binomials():
    """Of 400 sentences half are right: 50 +- 1.96 * 2.5."""
    half = [record("de", "wrote", "wrote", "ht" if i % 2 else "") for i in range(400)]
    assert scores_of(half)["intervals"]["languages"]["de"] == pytest.approx([45.1, 54.9], abs=0.6)
