"""KLUE-RE and its relatives: JSON, or CSV with dictionaries as Python writes them, with inclusive ends."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from tests.corpus.formats.damage import damaged, damaged_bytes
from tests.corpus.formats.reading import convert, of_format

TEXT = "김하나는 서울의 '별'을 만들었다."
HEAD = {"word": "김하나", "start_idx": 0, "end_idx": 2, "type": "PER"}
TAIL = {"word": "'별'", "start_idx": 9, "end_idx": 11, "type": "ORG"}
MADE = [("김하나", "per:product", "'별'")]


def row(**changes):
    whole = {"guid": "k-1", "sentence": TEXT, "subject_entity": HEAD, "object_entity": TAIL, "label": "per:product"}
    return {key: value for key, value in {**whole, **changes}.items() if value is not ...}


def write_json(tmp_path, rows):
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(rows))
    return path


def as_csv(*rows):
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode("utf-8", "surrogatepass")


HEADER = ("", "id", "sentence", "subject_entity", "object_entity", "label")
GOOD = as_csv((1, 7, TEXT, str(HEAD), str(TAIL), "per:product"))


def write_csv(tmp_path, rows, columns=HEADER):
    path = tmp_path / "dev.csv"
    path.write_bytes(b"\xef\xbb\xbf" + as_csv(columns, *rows))
    return path


def test_json_s_ends_are_the_last_characters(tmp_path):
    assert TEXT[9:12] == "'별'"
    result = convert(write_json(tmp_path, [row(), row(label="no_relation"), row(label=3, guid=...)]))
    assert result.triples == [MADE, [("김하나", "no_relation", "'별'")], [("김하나", "3", "'별'")]]
    assert [example.id for example in result.examples] == ["k-1", "k-1", "3"]


def test_csv_s_entities_are_python_s_dictionaries_and_json_s(tmp_path):
    rows = [
        (0, 7, TEXT, str(HEAD), str(TAIL), "per:product"),
        (1, 8, f"{TEXT}\r\nUnd weiter.", json.dumps(HEAD), json.dumps(TAIL), "per:product"),
    ]
    result = convert(write_csv(tmp_path, rows))
    assert result.triples == [MADE, MADE] and [example.id for example in result.examples] == ["7", "8"]
    assert result.examples[1].text == f"{TEXT}\r\nUnd weiter." and [example.line for example in result.examples] == [
        2,
        3,
    ]


def test_other_names_of_fields_and_places_as_texts(tmp_path):
    head = {"text": "김하나", "start_idx": "0", "end_idx": "2", "entity_type": "PER"}
    tail = {"text": "'별'", "start_idx": "9", "end_idx": "11", "entity_type": "ORG"}
    path = write_csv(tmp_path, [(7, TEXT, str(head), str(tail), "x")], ("id", "sentence", "subject", "object", "label"))
    assert convert(path).triples == [[("김하나", "x", "'별'")]]


def test_exclusive_ends_and_other_units_are_read_if_the_command_says_so(tmp_path):
    head = {"word": "김하나", "start_idx": 2, "end_idx": 5}
    tail = {"word": "'별'", "start_idx": 11, "end_idx": 14}
    path = write_json(tmp_path, [row(sentence=f"\U0001f600{TEXT}", subject_entity=head, object_entity=tail)])
    assert convert(path, end="exclusive", offsets="utf16").triples == [MADE]
    assert convert(path).reasons == [(1, "surface_differs")]


NO_DICTIONARIES = (
    *("{'word': '김하나', 'start_idx': 0", "{'word': 'it's', 'start_idx': 0, 'end_idx': 1}", "[1]", "", "7", "None"),
    *("__import__('os').getcwd()", "{'word': open('x')}", "{'a': 1}" + " " * 4096 + "{", "(" * 4000, "-" * 4000 + "1"),
    *("[" * 4000, "{" * 4000, "9" * 5000, "{[]: 1}", "{'\\ud800': 1", "\x00", "{**{}}", "1+" * 2000 + "1"),
)


def test_an_entity_that_is_no_dictionary_is_rejected_and_nothing_of_it_is_run(tmp_path):
    rows = [(0, n, TEXT, given, str(TAIL), "x") for n, given in enumerate(NO_DICTIONARIES)]
    good = (1, 99, TEXT, str(HEAD), str(TAIL), "per:product")
    result = convert(write_csv(tmp_path, [good, *rows]))
    assert result.triples == [MADE]
    assert result.reasons == [(place, "invalid_entity") for place in range(3, 3 + len(rows))]


BAD = {
    "surface_differs": [row(subject_entity={**HEAD, "word": "하나"})],
    "span_out_of_text": [row(subject_entity={**HEAD, "end_idx": 99}), row(subject_entity={**HEAD, "start_idx": -1})],
    "wrong_keys": [
        *(row(subject_entity={**HEAD, "start_idx": True}), row(subject_entity={**HEAD, "start_idx": "x"})),
        *(row(subject_entity={"word": "x"}), row(subject_entity=[0, 2]), row(object_entity=...), row(sentence=...)),
        *(row(subject_entity={**HEAD, "word": 7}), row(label=None), row(label=True), row(sentence=["x"])),
        *(row(subject_entity={**HEAD, "start_idx": 0.0}), row(subject_entity={**HEAD, "start_idx": "²"})),
    ],
    "invalid_entity": [row(subject_entity="김하나")],
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_rejected_and_those_around_it_are_kept(tmp_path, reason):
    rows = [value for bad in BAD[reason] for value in (row(), bad)]
    result = convert(write_json(tmp_path, rows))
    assert len(result.examples) == len(BAD[reason])
    assert result.reasons == [(place, reason) for place in range(2, len(rows) + 1, 2)]


def test_damaged_rows_of_csv_are_counted_and_those_after_them_are_kept(tmp_path):
    bad = {
        "empty_row": b"\n",
        "wrong_columns": b"1,2\n",
        "invalid_utf8": GOOD.replace("서".encode(), b"\xff"),
        "invalid_csv": b"1,a\rb,,,,\n",
        "too_long_line": b"1,222," + b'"x",' * (1 << 19) + b"\n",
    }
    path = tmp_path / "dev.csv"
    path.write_bytes(as_csv(HEADER) + GOOD + b"".join(row + GOOD for row in bad.values()))
    result = convert(path)
    assert result.counts.kept == 1 + len(bad)
    assert result.reasons == [(3 + 2 * number, reason) for number, reason in enumerate(bad)]


def test_a_quote_that_is_never_closed_costs_no_more_rows_than_one_value_may_hold(tmp_path):
    path = tmp_path / "dev.csv"
    path.write_bytes(as_csv(HEADER) + GOOD + b'1,8,"x\n' + b"y\n" * 70_000 + GOOD)
    result = convert(path)
    assert result.triples == [MADE, MADE] and result.reasons[0] == (3, "invalid_csv")
    assert set(result.counts.rejected) == {"invalid_csv", "wrong_columns"}


def test_tables_whose_entities_are_plain_texts_are_not_taken_for_it(tmp_path):
    path = write_csv(tmp_path, [(7, TEXT, "김하나", "별", "x")], ("id", "sentence", "subject", "object", "label"))
    with pytest.raises(UserError):
        convert(path)


def test_csv_of_other_columns_is_refused(tmp_path):
    path = write_csv(tmp_path, [(7, TEXT, HEAD, TAIL, "x")], ("id", "text", "subject", "object", "label"))
    with pytest.raises(UserError, match=r"CSV with the columns of KLUE-RE: it has no sentence$"):
        of_format("klue", path)


@settings(max_examples=100)
@given(st.data())
def test_whatever_the_file_holds_every_row_is_counted(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    if data.draw(st.booleans()):
        path = write_json(folder, data.draw(damaged([row(), row()])))
    else:
        path = write_csv(folder, [(0, n, TEXT, str(data.draw(damaged(HEAD))), str(TAIL), "x") for n in range(3)])
    content = path.read_bytes()
    path.write_bytes(data.draw(damaged_bytes(content) | st.just(content)))
    try:
        of_format("klue", path)
    except UserError as error:
        assert str(path) in str(error)
