"""OpenNRE's lines: texts or tokens, with exclusive ends."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from tests.corpus.formats.damage import damaged, damaged_bytes
from tests.corpus.formats.reading import convert, of_format

TEXT = "\U0001f600 Zoé Berg leads Northlight."
TOKENS = ["Zoé", "Berg", " ", "leads", "North", "light"]


def of_text(**changes):
    h, t = {"id": "Q1", "name": "zoé berg", "pos": [2, 10]}, {"id": "Q2", "name": "Northlight", "pos": [17, 27]}
    return _row({"text": TEXT, "h": h, "t": t, "relation": "/person/company", **changes})


def of_tokens(**changes):
    h, t = {"name": "Zoé Berg", "id": "Q1", "pos": [0, 2]}, {"name": "northlight", "id": "Q2", "pos": [4, 6]}
    return _row({"token": TOKENS, "h": h, "t": t, "relation": "NA", **changes})


def _row(whole):
    return {key: value for key, value in whole.items() if value is not ...}


def write(tmp_path, rows, name="nyt_train.txt"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_places_are_of_characters_in_a_text_and_of_tokens_in_tokens_and_ends_are_exclusive(tmp_path):
    result = convert(write(tmp_path, [of_text(), of_tokens(id="t9")]))
    assert result.triples == [[("Zoé Berg", "/person/company", "Northlight")], [("Zoé Berg", "NA", "North light")]]
    assert [example.text for example in result.examples] == [TEXT, "Zoé Berg   leads North light"]
    assert [example.id for example in result.examples] == ["1", "t9"]
    assert result.counts.notes == {"blanks_differ": 1}


def test_a_row_of_both_is_read_by_its_text(tmp_path):
    assert convert(write(tmp_path, [of_text(token=TOKENS)])).examples[0].text == TEXT


def test_a_label_that_ends_in_a_direction_says_which_is_the_head(tmp_path):
    rows = [
        of_tokens(relation="Part-Whole(e2,e1)"),
        of_tokens(relation="Part-Whole(e1,e2)"),
        of_tokens(relation="Other"),
    ]
    assert convert(write(tmp_path, rows)).triples == [
        [("North light", "Part-Whole", "Zoé Berg")],
        [("Zoé Berg", "Part-Whole", "North light")],
        [("Zoé Berg", "Other", "North light")],
    ]


def test_other_units_and_inclusive_ends_are_read_if_the_command_says_so(tmp_path):
    row = of_text(h={"name": "Zoé Berg", "pos": [3, 10]}, t={"pos": [18, 27]})
    path = write(tmp_path, [row])
    expected = [[("Zoé Berg", "/person/company", "Northlight")]]
    assert convert(path, offsets="utf16", end="inclusive").triples == expected
    assert convert(path).reasons == [(1, "surface_differs")]
    with pytest.raises(UserError, match="--offsets=token"):
        convert(path, offsets="token")


BAD = {
    "surface_differs": [of_text(h={"name": "Zoe Berg", "pos": [2, 10]}), of_tokens(t={"name": "light", "pos": [4, 6]})],
    "span_out_of_text": [of_text(t={"pos": [17, 99]}), of_text(t={"pos": [-3, -1]}), of_tokens(t={"pos": [5, 5]})],
    "empty_span": [of_text(t={"pos": [4, 4]}), of_tokens(t={"pos": [2, 3]})],
    "wrong_keys": [
        *(of_text(h=["Zoé", "Q1"]), of_text(h={"pos": [2]}), of_text(h={"pos": [2, True]}), of_text(t={"name": "x"})),
        *(of_text(h={"pos": [2, 10], "name": 7}), of_text(text=None), of_tokens(token="Zoé"), of_tokens(token=...)),
        *(of_text(relation=...), of_tokens(h=...), of_tokens(h={"pos": {"0": 1, "1": 2}})),
    ],
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_rejected_and_those_around_it_are_kept(tmp_path, reason):
    rows = [value for bad in BAD[reason] for value in (of_text(), bad)]
    result = convert(write(tmp_path, rows, "any.jsonl"))
    assert len(result.examples) == len(BAD[reason])
    assert result.reasons == [(place, reason) for place in range(2, len(rows) + 1, 2)]


@settings(max_examples=100)
@given(st.data())
def test_whatever_the_file_holds_every_row_is_counted(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    content = b"\n".join(json.dumps(data.draw(damaged(row))).encode() for row in (of_text(), of_tokens()))
    path.write_bytes(data.draw(damaged_bytes(content) | st.just(content)))
    try:
        of_format("opennre", path)
    except UserError as error:
        assert str(path) in str(error)
