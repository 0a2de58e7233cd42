"""The comparison of many triples a sentence with one: that it measures what it says, and that all sides run."""

import pytest
import torch

from benchmarks import many
from benchmarks.speed import TINY
from mere_ds.model import many as model_of_many

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    return many.make_sides(tmp_path_factory.mktemp("sides"), 400, TINY)


def test_the_sides_have_the_same_sentences_and_differ_in_triples_and_sizes(sides):
    batches = [side.batches(3, 16) for side in sides.values()]
    for other in batches:
        assert all(torch.equal(a.token_ids_BM, b.token_ids_BM) for a, b in zip(batches[0], other, strict=True))
    assert [side.model().config.triples for side in sides.values()] == ["one", "many", "many"]
    config = sides["grown"].model().config
    assert (len(config.languages), len(config.labels)) == many.GROWN


@pytest.mark.parametrize("side", ["many", "grown"])
def test_prediction_looks_at_as_many_relations_as_a_trained_model(sides, side, monkeypatch):
    looked_at = []
    likely = model_of_many.likely_relations

    def counting(relation_BU, *rest):
        result = likely(relation_BU, *rest)
        looked_at.append(len(result[0]) / len(relation_BU))
        return result

    monkeypatch.setattr(model_of_many, "likely_relations", counting)
    measure = many.prediction(sides[side], "fp32")
    looked_at.clear()
    assert measure() > 0
    assert many.LIKELY / 3 < sum(looked_at) / len(looked_at) < 3 * many.LIKELY


def test_a_side_answers_for_each_round(sides, tmp_path):
    """Of prediction, whose process loads no DeepSpeed; a side's training is that of `speed.py`."""
    one = {"one": sides["one"]}
    [measured] = many.rounds_of("predict", 1, one, tmp_path, {"precision": "fp32", "batch": 4, "steps": 1})
    assert list(measured) == ["one"] and measured["one"] > 0


def test_ratios_are_of_the_same_round():
    rounds = [{"one": 10.0, "many": 5.0, "grown": 5.0}, {"one": 20.0, "many": 5.0, "grown": 10.0}]
    _, row = many.table({"stage1": rounds}).splitlines()
    assert row.split() == ["stage1", "15.0", "0.25", "0.38", "0.50", "1.00", "1.50", "2.00"]
