"""Any number of triples a sentence: counts against a second scorer, breakdowns by hand."""

import random
from collections import Counter

import pytest

from mere_ds.evaluation.many import scores_of_many
from mere_ds.evaluation.metrics import METRICS, counts_of
from mere_ds.evaluation.table import format_scores
from tests.evaluation.records import many_record
from tests.evaluation.second_scorer import place, random_sentence, second_counts

SENTENCES = 10_000


@pytest.fixture(scope="module")
def sentences() -> list[dict]:
    draw = random.Random(16)
    return [random_sentence(draw) for _ in range(SENTENCES)]


def test_a_second_scorer_agrees_on_random_answers(sentences):
    draw, total, records = random.Random(0), {}, []
    for sentence in sentences:
        record = many_record(sentence, draw.choice(("de", "ko")))
        counted, again = dict(zip(METRICS, counts_of(record)[1:], strict=True)), second_counts(sentence)
        assert counted == again, sentence
        for language in (record["lang"], "pooled"):
            sums = total.setdefault(language, Counter())
            sums.update({(metric, place): n for metric, count in again.items() for place, n in enumerate(count)})
        records.append(record)
    result = scores_of_many(records)
    assert {"exact", "by tokens alone", "by characters alone"} == {
        "exact" if n["triple"] == n["triple_characters"] else
        "by tokens alone" if n["triple"] > n["triple_characters"] else "by characters alone"
        for n in (record["right"] for record in records)
    }, "the answers have every kind"  # fmt: skip
    for language, sums in total.items():
        row = result["pooled"] if language == "pooled" else result["languages"][language]
        for metric in METRICS:
            right, found, gold = (sums[metric, place] for place in range(3))
            assert row[metric] == pytest.approx(200 * right / (found + gold))
        for kind in ("", "_characters"):
            right, found, gold = (sums[f"triple{kind}", place] for place in range(3))
            own = result[f"by_precision{kind}"]
            own = own["pooled"] if language == "pooled" else own["languages"][language]
            assert own == {
                "gold": gold, "predicted": found, "right": right, "precision": pytest.approx(100 * right / found),
                "recall": pytest.approx(100 * right / gold), "f1": pytest.approx(200 * right / (found + gold)),
            }  # fmt: skip
            low, high = result[f"intervals{kind}"]["languages"].get(language, [0, 100])
            assert low < row[f"triple{kind}"] < high
        own = row if language == "pooled" else row | result["by_precision"]["languages"][language]
        for name in own.keys() & {"precision", "recall", "relation"}:
            bounds = result[f"intervals_{name}"]
            low, high = bounds["pooled"] if language == "pooled" else bounds["languages"][language]
            assert low < own[name] < high < low + 5
    assert sum(row["sentences"] for row in result["numbers"].values()) == SENTENCES
    for name, rows in (("f1", result["numbers"]), ("f1", result["pooled_labels"]), ("recall", result["overlaps"])):
        for kind, row in rows.items():
            low, high = row["interval"]
            assert low <= row[name] <= high and (low < high) == (kind != "0")
    share = result["without_triples"]
    chance = share["share"] / 100
    width = 2 * 196 * (chance * (1 - chance) / share["sentences"]) ** 0.5
    assert share["interval"][1] - share["interval"][0] == pytest.approx(width, rel=0.15), "that of a binomial share"
    for column in ("gold", "predicted", "right"):
        whole = result["by_precision_characters"]["pooled"][column]
        assert sum(row[column] for row in result["numbers"].values()) == whole
        assert sum(row[column] for labels in result["labels"].values() for row in labels.values()) == whole


def triple(relation: str, head: tuple[int, int], tail: tuple[int, int]) -> dict:
    return {"relation": relation, "head": place(head), "tail": place(tail), "tokens": [head, tail]}


HAND = [
    {"gold": [triple("wrote", (0, 0), (2, 2))], "found": [triple("wrote", (0, 0), (2, 2))]},
    {"gold": [], "found": []},
    {"gold": [], "found": [triple("wrote", (0, 0), (1, 1)), triple("wrote", (0, 0), (2, 2))]},
    {
        "gold": [triple("wrote", (0, 0), (2, 2)), triple("made-of", (2, 2), (0, 0)), triple("wrote", (0, 0), (4, 4))],
        "found": [triple("made-of", (2, 2), (0, 0)), triple("wrote", (2, 2), (0, 0))],
    },
]
MISSED = {"lang": "de", "text": None, "gold": None, "predicted": None, "right": {}, "reason": "not read"}


def test_breakdowns_by_hand():
    result = scores_of_many([*map(many_record, HAND), MISSED])
    row = result["languages"]["de"]
    assert (row["sentences"], row["missed"]) == (5, 1)
    assert row["triple"] == row["triple_characters"] == pytest.approx(200 * 2 / (5 + 5)), "the missed one is gold"
    assert row["relation"] == pytest.approx(200 * 3 / (4 + 4)), "as sets: two of one label are one"
    numbers = {name: (row["sentences"], row["gold"], row["right"]) for name, row in result["numbers"].items()}
    assert numbers == {"0": (2, 0, 0), "1": (1, 1, 1), "3": (1, 3, 1)}
    assert result["without_triples"] == {"sentences": 2, "answered": 1, "share": 50.0, "interval": [0.0, 100.0]}
    assert result["numbers"]["1"]["interval"] == [100.0, 100.0] and result["overlaps"]["nested"]["interval"] is None
    assert result["labels"]["de"] == {
        "made-of": {"gold": 1, "predicted": 1, "right": 1, "f1": 100.0},
        "wrote": {"gold": 3, "predicted": 4, "right": 1, "f1": pytest.approx(200 / 7)},
    }
    assert {kind: (row["gold"], row["right"]) for kind, row in result["overlaps"].items()} == {
        "normal": (1, 1), "same pair": (2, 1), "same entity": (3, 1), "nested": (0, 0),
    }  # fmt: skip
    told = format_scores(result)
    assert "1 of 2 sentences without a triple got one (50.0 %)" in told
    assert "triple by tokens, pooled: precision 40.0, recall 40.0, F1 40.0" in told


def test_languages_without_a_gold_or_found_triple_score_nothing():
    none = {"gold": [], "found": []}
    result = scores_of_many([many_record(HAND[0]), many_record(none, "ko")])
    assert result["languages"]["ko"]["triple"] == 0 and result["pooled"]["triple"] == 100
    assert scores_of_many([])["languages"] == {}
