"""TACRED-like JSON: tokens with inclusive ends."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from tests.corpus.formats.damage import damaged, damaged_bytes, lines
from tests.corpus.formats.reading import convert, of_format

TOKENS = ["Anna", "Berg", ",", "", "head of", "Northlight", ".", " "]


def row(**changes):
    ends = {"subj_start": 0, "subj_end": 1, "obj_start": 5, "obj_end": 5}
    whole = {"id": "e7", "token": TOKENS, **ends, "relation": "per:employee_of", **changes}
    return {key: value for key, value in whole.items() if value is not ...}


def write(tmp_path, rows, layout="array"):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(rows) if layout == "array" else "".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("layout", ["array", "lines"])
def test_ends_are_the_last_tokens_and_odd_tokens_keep_their_places(tmp_path, layout):
    rows = [row(), row(id=8, subj_start=5, subj_end=5, obj_start=0, obj_end=0, relation="no_relation"), row(id=...)]
    result = convert(write(tmp_path, rows, layout))
    assert result.triples == [
        [("Anna Berg", "per:employee_of", "Northlight")],
        [("Northlight", "no_relation", "Anna")],
        [("Anna Berg", "per:employee_of", "Northlight")],
    ]
    assert [example.id for example in result.examples] == ["e7", "8", "3"]
    assert result.examples[0].text == "Anna Berg ,  head of Northlight .  "


def test_a_label_that_ends_in_a_direction_says_which_is_the_head(tmp_path):
    result = convert(write(tmp_path, [row(relation="Part-Whole(e2,e1)"), row(relation="Part-Whole(e1,e2)")]))
    assert result.triples == [[("Northlight", "Part-Whole", "Anna Berg")], [("Anna Berg", "Part-Whole", "Northlight")]]
    assert result.counts.notes == {"reversed": 1}


def test_exclusive_ends_of_hugging_face_s_loader_are_told_by_entities_that_end_with_the_sentence(tmp_path):
    rows = [row(subj_end=2, obj_end=6), row(token=TOKENS[:6], subj_end=2, obj_end=6)]
    assert convert(write(tmp_path, rows)).triples == [[("Anna Berg", "per:employee_of", "Northlight")]] * 2


def test_ends_are_asked_for_where_no_entity_tells_them(tmp_path):
    path = write(tmp_path, [row(subj_end=2, obj_end=6)])
    with pytest.raises(UserError, match="pass --end=inclusive or --end=exclusive"):
        convert(path)
    assert convert(path, end="exclusive").triples == [[("Anna Berg", "per:employee_of", "Northlight")]]
    assert convert(path, end="inclusive").triples == [[("Anna Berg ,", "per:employee_of", "Northlight .")]]


BAD = {
    "span_out_of_text": [
        {"subj_end": 8},
        {"subj_start": -1},
        {"obj_start": 6},
        {"obj_start": 10**30, "obj_end": 10**30},
    ],
    "empty_span": [{"obj_start": 3, "obj_end": 3}, {"obj_start": 7, "obj_end": 7}],
    "wrong_keys": [
        *({"subj_start": True}, {"subj_end": "1"}, {"obj_end": 5.0}, {"obj_end": ...}, {"token": "Anna"}),
        *({"token": [*TOKENS, 7]}, {"relation": None}, {"relation": ["a"]}, {"relation": True}),
    ],
    "empty_label": [{"relation": " "}, {"relation": "(e1,e2)"}],
    "invalid_text": [{"relation": "\ud800"}, {"id": "\ud800"}, {"token": ["\ud800", *TOKENS]}],
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_rejected_and_those_around_it_are_kept(tmp_path, reason):
    rows = [value for changes in BAD[reason] for value in (row(), row(**changes))]
    result = convert(write(tmp_path, rows))
    assert len(result.examples) == len(BAD[reason])
    assert result.reasons == [(place, reason) for place in range(2, len(rows) + 1, 2)]
    assert result.counts.left_out == {reason: len(BAD[reason])}


@settings(max_examples=100)
@given(st.data())
def test_whatever_the_file_holds_every_row_is_counted(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.json"
    rows = data.draw(damaged([row(), row(id=8)]))
    content = data.draw(st.sampled_from([json.dumps(rows).encode(), lines(row(), *rows)]))
    path.write_bytes(data.draw(damaged_bytes(content) | st.just(content)))
    try:
        of_format("tacred", path)
    except UserError as error:
        assert str(path) in str(error)
