"""doccano's JSON lines: what the offsets count is asked for where it matters, and never guessed."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.formats.registry import recognised
from mere_ds.corpus.formats.units import units_differ
from mere_ds.corpus.graphemes import graphemes
from mere_ds.errors import UserError
from tests.corpus.formats.damage import damaged, damaged_bytes, lines
from tests.corpus.formats.reading import convert, of_format

PLAIN = "Mira Lund heads Fjordlab in Bergen."
ODD = "🜚 Zoe\u0308\r\nMira Lund heads Fjordlab in Bergen."
MIRA, LAB, BERGEN = "Mira Lund", "Fjordlab", "Bergen"

COUNT = {
    "char": len,
    "utf16": lambda text: len(text.encode("utf-16-le")) // 2,
    "grapheme": lambda text: len(graphemes(text, (0, len(text)))),
}


def entity(number, surface, text=PLAIN, unit="char"):
    before = text[: text.index(surface)]
    start, end = COUNT[unit](before), COUNT[unit](before + surface)
    return {"id": number, "label": "Thing", "start_offset": start, "end_offset": end}


def relation(head, tail, label, number=90):
    return {"id": number, "from_id": head, "to_id": tail, "type": label}


def record(*relations, text=PLAIN, unit="char", **more):
    entities = [entity(number, surface, text, unit) for number, surface in ((5, MIRA), (6, LAB), (7, BERGEN))]
    whole = {"id": 1, "text": text, "entities": entities, "relations": list(relations), "Comments": ["good"]}
    return whole | more


HEADS = relation(5, 6, "heads")


def read(tmp_path, *records, **options):
    path = tmp_path / "train.jsonl"
    path.write_bytes(lines(*records))
    return convert(path, **options)


def test_relations_go_from_from_id_to_to_id(tmp_path):
    result = read(tmp_path, record(HEADS, relation(7, 6, "of")), record(id=2))
    assert result.triples == [[(MIRA, "heads", LAB), (BERGEN, "of", LAB)], []]
    assert [example.id for example in result.examples] == ["1", "2"]


@pytest.mark.parametrize("unit", ["char", "utf16", "grapheme"])
def test_offsets_are_read_in_the_unit_that_is_passed(tmp_path, unit):
    result = read(tmp_path, record(HEADS, text=ODD, unit=unit), offsets=unit)
    assert result.triples == [[(MIRA, "heads", LAB)]]
    assert len({COUNT[unit](ODD[: ODD.index(MIRA)]) for unit in COUNT}) == 3  # so each unit says another place


@pytest.mark.parametrize("odd", ["🜚", "e\u0308", "\r\n"])
def test_where_units_differ_the_unit_is_asked_for(tmp_path, odd):
    with pytest.raises(UserError, match="line 2: .* pass --offsets=utf16 .* --offsets=grapheme .* --offsets=char"):
        read(tmp_path, record(HEADS), record(HEADS, text=odd + PLAIN, id=2))


@pytest.mark.parametrize("text", ["é ü " + PLAIN, "\n" + PLAIN, "東京 " + PLAIN])
def test_where_units_agree_nothing_is_asked(tmp_path, text):
    assert not units_differ(text)
    assert read(tmp_path, record(HEADS, text=text)).triples == [[(MIRA, "heads", LAB)]]


def test_tokens_are_no_unit_of_doccano(tmp_path):
    with pytest.raises(UserError, match="--offsets=token"):
        read(tmp_path, record(HEADS), offsets="token")


def test_a_record_of_a_project_without_relations_is_rejected(tmp_path):
    labels = {"id": 1, "text": PLAIN, "label": [[0, 9, "Thing"]], "Comments": []}
    result = read(tmp_path, labels)
    assert result.counts.rejected == {"no_relations": 1} and not result.examples


def test_a_record_whose_entities_do_not_fit_its_text_is_rejected(tmp_path):
    replaced = record(HEADS, text=PLAIN, id=2) | {"text": "from a metadata key"}
    inside_of_a_letter = record(HEADS, text="🜚 " + PLAIN, unit="char", id=3)
    result = read(tmp_path, record(HEADS), replaced)
    assert result.triples == [[(MIRA, "heads", LAB)]]
    assert result.counts.rejected == {"entity_out_of_text": 1} == result.counts.left_out
    wrong = record(HEADS, id=4)
    wrong["entities"][0]["start_offset"] = None
    assert read(tmp_path, record(HEADS), wrong).counts.left_out == {"wrong_keys": 1}
    inside_of_a_letter["entities"][0]["start_offset"] = 1
    assert read(tmp_path, inside_of_a_letter, offsets="utf16").counts.rejected == {"entity_out_of_text": 1}


@pytest.mark.parametrize("own_id", ["a7", 1.0, None])
def test_an_id_that_metadata_replaced_is_noted(tmp_path, own_id):
    result = read(tmp_path, record(HEADS, id=own_id))
    assert result.counts.notes == {"replaced_id": 1} and result.examples[0].id == str(own_id or 1)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (relation(5, 8, "heads"), "unknown_entity"),
        (relation("5", 6, "heads"), "wrong_keys"),
        (relation(5, True, "heads"), "wrong_keys"),
        (relation(5, 6, None), "wrong_keys"),
        (relation(5, 6, ""), "empty_label"),
        (["5", "6", "heads"], "wrong_keys"),
        (HEADS, "double_triple"),
    ],
)
def test_a_relation_that_can_not_be_read_is_left_out_with_its_reason(tmp_path, item, reason):
    result = read(tmp_path, record(HEADS, item))
    assert result.triples == [[(MIRA, "heads", LAB)]] and result.counts.left_out == {reason: 1}


def test_two_entities_with_one_number_reject_the_record(tmp_path):
    entities = [entity(5, MIRA), entity(5, LAB), entity(6, LAB)]
    assert read(tmp_path, record(HEADS, entities=entities)).counts.rejected == {"wrong_keys": 1}


def test_the_files_of_two_members_are_refused_and_one_is_read(tmp_path):
    for name in ("anna", "bert"):
        (tmp_path / f"{name}.jsonl").write_bytes(lines(record(HEADS), record(HEADS, id=2)))
    with pytest.raises(UserError, match="anna.jsonl and .*bert.jsonl: .* pass the file of one member"):
        convert(tmp_path)
    assert convert(tmp_path / "bert.jsonl").counts.kept == 2


def test_a_folder_with_other_texts_in_each_file_is_read(tmp_path):
    for number, name in enumerate(("train", "test")):
        (tmp_path / f"{name}.jsonl").write_bytes(lines(record(HEADS, id=number)))
    assert set(recognised(tmp_path)) == {"doccano"}


def test_separators_of_lines_inside_of_a_text_do_not_end_its_row(tmp_path):
    path = tmp_path / "train.jsonl"
    rows = [json.dumps(record(HEADS, text="a\u2028b\u0085c " + PLAIN), ensure_ascii=False)] * 2
    path.write_text("\n".join(rows), encoding="utf-8")
    assert convert(path).triples == [[(MIRA, "heads", LAB)]] * 2


WHOLE = [record(HEADS, relation(7, 6, "of")), {"id": 3, "text": PLAIN, "label": [[0, 9, "Thing"]]}]


@given(st.data())
def test_damaged_values_reject_a_record_or_a_relation(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "train.jsonl"
    values = [WHOLE[0], *data.draw(damaged(WHOLE))]
    path.write_bytes(lines(*values))
    try:
        assert of_format("doccano", path).counts.rows == len(values)
    except UserError as error:
        assert "--offsets" in str(error)


@given(damaged_bytes(lines(*WHOLE)))
def test_damaged_bytes_give_an_error_for_the_user_or_counted_rows(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("damaged") / "train.jsonl"
    path.write_bytes(content)
    with suppress(UserError):
        of_format("doccano", path)
