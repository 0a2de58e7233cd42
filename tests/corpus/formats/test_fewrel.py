"""FewRel and its relatives: an object of relations, each with sentences as tokens."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from tests.corpus.formats.damage import damaged, damaged_bytes
from tests.corpus.formats.reading import convert, of_format

TOKENS = ["In", "", "Kiel", " ", "Anna", "St. Berg", "met", "Anna", "again", "."]


def row(**changes):
    h, t = ["anna st. berg", "Q1", [[4, 5]]], ["kiel", "Q2", [[2]]]
    return {key: value for key, value in {"tokens": TOKENS, "h": h, "t": t, **changes}.items() if value is not ...}


def write(tmp_path, value, name="any.json"):
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_tokens_that_are_blank_or_hold_blanks_shift_nothing_and_names_may_differ_in_case_and_blanks(tmp_path):
    value = {"P1": [], "P19": [row(), row(h=["ANNAST.BERG", "", [[4, 5]]])], "P20": [row(ner=["O"])]}
    result = convert(write(tmp_path, value))
    assert result.triples == [[("Anna St. Berg", label, "Kiel")] for label in ("P19", "P19", "P20")]
    assert result.examples[0].text == "In  Kiel   Anna St. Berg met Anna again ."
    assert [(example.id, example.line) for example in result.examples] == [("P19-1", 1), ("P19-2", 2), ("P20-3", 3)]
    assert result.counts.notes == {"blanks_differ": 1}


def test_of_several_mentions_the_first_is_taken_and_the_sentence_is_noted(tmp_path):
    result = convert(write(tmp_path, {"P19": [row(h=["anna", "Q1", [[7], [4]]])]}))
    [example] = result.examples
    assert example.text[: example.triples[0].head[0]].endswith("met ") and result.counts.notes == {"more_mentions": 1}


def test_a_mention_of_tokens_that_are_not_neighbours_is_discontinuous(tmp_path):
    result = convert(write(tmp_path, {"P19": [row(h=["anna met", "Q1", [[4, 6]]])]}))
    assert result.triples == [[("Anna St. Berg met", "P19", "Kiel")]] and result.counts.notes == {"discontinuous": 1}


def test_the_direction_is_in_the_key_alone(tmp_path):
    value = {"Part-Whole(e2,e1)": [row(), row()], "Part-Whole(e1,e2)": [row()], "Other": [row()]}
    result = convert(write(tmp_path, value))
    there = ("Anna St. Berg", "Part-Whole", "Kiel")
    assert result.triples == [[there[::-1]], [there[::-1]], [there], [("Anna St. Berg", "Other", "Kiel")]]
    assert result.counts.notes == {"reversed": 2} and result.counts.labels == {"Part-Whole": 3, "Other": 1}


def test_a_list_of_sentences_without_relations_is_refused_with_the_reason(tmp_path):
    with pytest.raises(UserError, match="has no relations, because it is not an object of them"):
        convert(write(tmp_path, [row(), row()]))


def test_a_relation_that_stands_twice_is_refused_because_json_keeps_only_the_last(tmp_path):
    with pytest.raises(UserError, match="the key 'P1' occurs twice"):
        convert(write(tmp_path, json.dumps({"P1": [row()], "P2": [row()]}).replace("P2", "P1")))


def test_a_long_file_in_one_line_is_recognised_from_its_beginning(tmp_path):
    result = convert(write(tmp_path, {"P19": [row()] * 2000}))
    assert result.counts.kept == 2000


BAD = {
    "surface_differs": [row(h=["berg", "Q1", [[4, 5]]])],
    "span_out_of_text": [row(h=["anna", "Q1", [[10]]]), row(h=["anna", "Q1", [[-6]]]), row(h=["x", "Q", []])],
    "empty_span": [row(h=["", "Q1", [[1]]]), row(h=["", "Q1", [[3]]])],
    "wrong_keys": [
        *(row(h=["anna", "Q1"]), row(h=[]), row(h=["anna", "Q1", [4]]), row(h=["anna", "Q1", [[True]]])),
        *(row(h=[None, "Q1", [[4]]]), row(h={"name": "anna"}), row(h=...), row(tokens=...), row(tokens=[1]), 7, None),
    ],
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_rejected_and_those_around_it_are_kept(tmp_path, reason):
    rows = [value for bad in BAD[reason] for value in (row(), bad)]
    result = convert(write(tmp_path, {"P19": rows}))
    assert len(result.examples) == len(BAD[reason])
    assert result.reasons == [(place, reason) for place in range(2, len(rows) + 1, 2)]


def test_what_is_no_list_under_a_relation_is_one_rejected_row(tmp_path):
    result = convert(write(tmp_path, {"P19": [row()], "P20": 7, "P21": None, " ": [row()]}))
    assert result.reasons == [(2, "wrong_keys"), (3, "wrong_keys"), (4, "empty_label")] and result.counts.kept == 1
    assert result.counts.left_out == {"wrong_keys": 2, "empty_label": 1}


@settings(max_examples=100)
@given(st.data())
def test_whatever_the_file_holds_every_row_is_counted(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.json"
    content = json.dumps(data.draw(damaged({"A(e2,e1)": [row()], "P20": [row(), row()]}))).encode()
    path.write_bytes(data.draw(damaged_bytes(content) | st.just(content)))
    try:
        of_format("fewrel", path)
    except UserError as error:
        assert str(path) in str(error)
