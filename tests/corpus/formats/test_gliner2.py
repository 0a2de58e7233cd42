"""GLiNER2: relations between strings, in roles of any names and number."""

import json

import pytest

from tests.corpus.formats.reading import convert

TEXT = "Ida Moe sold Moe & Sons to Lars Moen. Lars Moen paid 50 crowns."


def row(*relations, text=TEXT, **output):
    return {"input": text, "output": {"relations": list(relations), **output}}


def read(folder, *rows, **options):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return convert(path, **options)


def test_head_and_tail_in_any_order_and_several_names_in_an_object(tmp_path):
    result = read(
        tmp_path,
        row({"sold": {"tail": "Moe & Sons", "head": "Ida Moe"}, "for": {"head": "Moe & Sons", "tail": "50 crowns"}}),
        row(),
        {"input": TEXT, "output": {"entities": {"person": ["Ida Moe"]}}},
    )
    assert result.triples == [[("Ida Moe", "sold", "Moe & Sons"), ("Moe & Sons", "for", "50 crowns")], [], []]


def test_the_other_names_of_keys_are_read(tmp_path):
    said = {"text": TEXT, "schema": {"relations": [{"sold": {"head": "Ida Moe", "tail": "Moe & Sons"}}]}}
    assert read(tmp_path, said).triples == [[("Ida Moe", "sold", "Moe & Sons")]]


def test_of_other_roles_the_first_two_are_taken_and_the_further_ones_counted(tmp_path):
    sale = {"seller": "Ida Moe", "what": "Moe & Sons", "price": "50 crowns", "buyer": "Lars Moen"}
    role = {"price": "50 crowns", "head": "Ida Moe", "tail": "Moe & Sons"}
    result = read(tmp_path, row({"sale": sale}, {"sold": role}))
    assert result.triples == [[("Ida Moe", "sale", "Moe & Sons"), ("Ida Moe", "sold", "Moe & Sons")]]
    assert result.counts.left_out == {"further_role": 3} and result.counts.notes == {"first_roles": 1}


def test_several_strings_in_a_role_are_combined(tmp_path):
    result = read(tmp_path, row({"in": {"head": ["Ida Moe", "Nobody"], "tail": ["Moe & Sons", "50 crowns"]}}))
    assert result.triples == [[("Ida Moe", "in", "Moe & Sons"), ("Ida Moe", "in", "50 crowns")]]
    assert result.counts.left_out == {"not_in_text": 2} and result.counts.notes == {"several_strings": 2}


def test_a_string_in_other_case_is_found_only_if_it_is_not_there_as_it_stands(tmp_path):
    text = "Ida and IDA met bo"
    result = read(tmp_path, row({"met": {"head": "IDA", "tail": "Bo"}}, text=text))
    assert result.triples == [[("IDA", "met", "bo")]] and result.counts.notes == {"case_differs": 1}
    result = read(tmp_path, row({"met": {"head": "ida", "tail": "bo"}}, text=text))
    assert result.counts.left_out == {"ambiguous": 1}


@pytest.mark.parametrize(
    ("relation", "reason"),
    [
        ({"sold": {"head": "Ida Moe", "tail": "nobody"}}, "not_in_text"),
        ({"sold": {"head": "Ida Moe", "tail": "crown"}}, "inside_word"),
        ({"sold": {"head": "Ida Moe", "tail": "Lars Moen"}}, "ambiguous"),
        ({"sold": {"head": "Ida Moe", "tail": ""}}, "empty_span"),
        ({"": {"head": "Ida Moe", "tail": "50 crowns"}}, "empty_label"),
        ({"sold": {"head": "Ida Moe"}}, "one_role"),
        ({"sold": {}}, "one_role"),
        ({"sold": {"head": "Ida Moe", "tail": 50}}, "wrong_keys"),
        ({"sold": {"head": "Ida Moe", "tail": ["50", 1]}}, "wrong_keys"),
        ({"sold": {"head": "Ida Moe", "tail": []}}, "wrong_keys"),
        ({"sold": ["Ida Moe", "50 crowns"]}, "wrong_keys"),
        ({}, "wrong_keys"),
        ("sold", "wrong_keys"),
    ],
)
def test_a_relation_without_its_place_is_lost_alone(tmp_path, relation, reason):
    result = read(tmp_path, row(relation, {"sold": {"head": "Ida Moe", "tail": "Moe & Sons"}}))
    assert result.triples == [[("Ida Moe", "sold", "Moe & Sons")]] and result.counts.left_out == {reason: 1}


def test_a_record_of_other_types_is_rejected(tmp_path):
    result = read(tmp_path, row(), {"input": 1, "output": {}}, {"input": "x", "output": []}, row() | {"input": None})
    assert result.reasons == [(line, "wrong_keys") for line in (2, 3, 4)]
