"""GLiREL: ends of tokens are inclusive to train with, exclusive in predictions."""

import json

import pytest

from tests.corpus.formats.reading import convert

TOKENS = ["Ida", "Moe", "left", "", "Moeby", "(", "Norway", ")"]


def relation(head, tail, /, label="left", **names):
    sides = {"head": {"position": head, "type": "x"}, "tail": {"position": tail, "type": "y"}}
    for side, name in names.items():
        sides[side]["mention"] = name
    return {**sides, "relation_text": label}


def row(*relations, tokens=TOKENS, ner=()):
    return {"ner": list(ner), "relations": list(relations), "tokenized_text": tokens}


def read(folder, *rows, **options):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return convert(path, **options)


def test_ends_are_inclusive_and_a_blank_token_keeps_its_place(tmp_path):
    result = read(tmp_path, row(relation([0, 1], [4, 4], head="Ida Moe", tail="Moeby"), relation([6, 6], [0, 1])))
    assert result.triples == [[("Ida Moe", "left", "Moeby"), ("Norway", "left", "Ida Moe")]]
    assert result.counts.repaired_triples == {}


def test_predicted_ends_are_exclusive(tmp_path):
    said = {"head_pos": [0, 2], "tail_pos": [4, 5], "head_text": ["Ida", "Moe"], "tail_text": ["Moeby"]}
    result = read(tmp_path, row(said | {"label": "left", "score": 0.9}))
    assert result.triples == [[("Ida Moe", "left", "Moeby")]] and result.counts.repaired_triples == {}
    wrong = said | {"label": "left", "head_text": ["Ida"]}
    assert read(tmp_path, row(wrong)).counts.left_out == {"surface_differs": 1}


@pytest.mark.parametrize(
    "given",
    [
        row(relation([0, 2], [4, 5], head="Ida Moe", tail="Moeby")),
        row(relation([0, 2], [4, 5]), ner=[[0, 2, "PER", "Ida Moe"], [4, 5, "LOC", "Moeby"]]),
        row(relation([0, 2], [7, 8], head="Ida Moe", tail=")")),
    ],
    ids=["mention", "ner", "end-of-text"],
)
def test_words_that_fit_only_an_exclusive_end_repair_it(tmp_path, given):
    result = read(tmp_path, given)
    assert [head for head, _, _ in result.triples[0]] == ["Ida Moe"]
    assert result.counts.repaired_triples == {"exclusive_end": 1}
    assert read(tmp_path, given, end="exclusive").counts.repaired_triples == {}
    assert read(tmp_path, given, end="exclusive").triples == result.triples
    assert sum(read(tmp_path, given, end="inclusive").counts.left_out.values()) == 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (relation([0, 1], [8, 8]), "span_out_of_text"),
        (relation([1, 0], [4, 4]), "span_out_of_text"),
        (relation([-1, 1], [4, 4]), "span_out_of_text"),
        (relation([0, 10**400], [4, 4]), "span_out_of_text"),
        (relation([3, 3], [4, 4]), "empty_span"),
        (relation([0, 1], [4, 4], tail="Norway"), "surface_differs"),
        (relation([0, True], [4, 4]), "wrong_keys"),
        (relation([[0], 1], [4, 4]), "wrong_keys"),
        (relation([0], [4, 4]), "wrong_keys"),
        (relation([0, 1], [4, 4], label=None), "wrong_keys"),
        ({"head_pos": [0, 2], "tail": {"position": [4, 4]}, "label": "x"}, "wrong_keys"),
        ("left", "wrong_keys"),
    ],
)
def test_a_relation_without_its_place_is_lost_alone(tmp_path, given, reason):
    result = read(tmp_path, row(given, relation([0, 1], [4, 4])))
    assert result.triples == [[("Ida Moe", "left", "Moeby")]] and result.counts.left_out == {reason: 1}


def test_several_labels_of_a_pair_are_all_kept(tmp_path):
    result = read(tmp_path, row(relation([0, 1], [4, 4]), relation([0, 1], [4, 4], label="from")))
    assert [label for _, label, _ in result.triples[0]] == ["left", "from"]


def test_a_record_of_other_types_is_rejected_with_its_relations(tmp_path):
    good = row(relation([0, 1], [4, 4]))
    result = read(
        tmp_path, good, good | {"tokenized_text": "Ida"}, good | {"tokenized_text": [1]}, good | {"relations": 1}
    )
    assert result.reasons == [(line, "wrong_keys") for line in (2, 3, 4)]
    assert result.counts.left_out == {"wrong_keys": 2}
