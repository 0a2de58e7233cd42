"""Label Studio's JSON export: each label of each relation of the annotation that counts, in its direction."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.formats.registry import recognised
from mere_ds.errors import UserError
from tests.corpus.formats.damage import damaged, damaged_bytes
from tests.corpus.formats.reading import convert, of_format

TEXT = "Mira Lund heads Fjordlab.\r\nIt sits in 🜚 Bergen, by the sea."
MIRA, LAB, BERGEN = "Mira Lund", "Fjordlab", "Bergen"


def region(own_id, surface, text=TEXT, to_name="text", tag="labels", **value):
    start = text.index(surface)
    value = {"start": start, "end": start + len(surface), "text": surface, tag: ["Thing"], **value}
    return {"id": own_id, "type": tag, "from_name": "label", "to_name": to_name, "value": value}


def relation(head, tail, *labels, **more):
    item = {"from_id": head, "to_id": tail, "type": "relation", "direction": "right", "labels": list(labels), **more}
    return {name: value for name, value in item.items() if value is not ...}


REGIONS = [region("m", MIRA), region("f", LAB), region("b", BERGEN)]
HEADS = relation("m", "f", "heads")


def annotation(*items, **more):
    return {"id": 1, "result": [*REGIONS, *items], "was_cancelled": False, "ground_truth": False, **more}


def task(*annotations, data=None, **more):
    return {"id": 31, "annotations": list(annotations), "data": data or {"text": TEXT}, "predictions": [], **more}


def read(tmp_path, *tasks, **options):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    return convert(path, **options)


def read_items(tmp_path, *items):
    return read(tmp_path, task(annotation(*items)))


def test_each_label_of_an_item_is_a_relation(tmp_path):
    result = read_items(tmp_path, relation("m", "f", "heads", "founded"))
    assert result.triples == [[(MIRA, "heads", LAB), (MIRA, "founded", LAB)]]
    assert result.examples[0].text == TEXT and result.examples[0].id == "31"


@pytest.mark.parametrize("labels", [..., [], None])
def test_a_relation_without_label_is_left_out(tmp_path, labels):
    result = read_items(tmp_path, HEADS, relation("f", "b", labels=labels))
    assert result.triples == [[(MIRA, "heads", LAB)]] and result.counts.left_out == {"no_label": 1}


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("right", [(MIRA, "heads", LAB)]),
        (..., [(MIRA, "heads", LAB)]),
        ("left", [(LAB, "heads", MIRA)]),
        ("bi", [(MIRA, "heads", LAB), (LAB, "heads", MIRA)]),
    ],
)
def test_directions(tmp_path, direction, expected):
    result = read_items(tmp_path, relation("m", "f", "heads", direction=direction))
    assert result.triples == [expected] and not result.counts.left_out
    assert result.counts.notes == ({"both_directions": 2} if direction == "bi" else {})


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (relation("m", "f", "heads", direction="up"), "unknown_direction"),
        (relation("m", "f", "heads", direction=["left"]), "unknown_direction"),
        (relation("m", "x", "heads"), "unknown_entity"),
        (relation(["m"], "f", "heads"), "wrong_keys"),
        (relation("m", "f", 7), "wrong_keys"),
        (relation("m", "f", " "), "empty_label"),
    ],
)
def test_a_relation_that_can_not_be_read_is_left_out_with_its_reason(tmp_path, item, reason):
    result = read_items(tmp_path, HEADS, item)
    assert result.triples == [[(MIRA, "heads", LAB)]] and result.counts.left_out == {reason: 1}


def test_a_region_that_two_tags_list_under_one_id_is_one_entity(tmp_path):
    again = region("m", MIRA, tag="choices")
    assert read_items(tmp_path, again, HEADS).triples == [[(MIRA, "heads", LAB)]]


def test_a_comment_on_a_region_does_not_hide_its_surface(tmp_path):
    comment, wrong = region("m", MIRA, tag="textarea"), region("m", MIRA)
    comment["value"]["text"], wrong["value"]["text"] = ["a remark"], BERGEN
    result = read(tmp_path, task({"result": [comment, wrong, *REGIONS[1:], HEADS]}))
    assert result.counts.left_out == {"surface_differs": 1}


def test_an_id_with_two_places_is_no_entity(tmp_path):
    result = read_items(tmp_path, region("m", BERGEN), HEADS, relation("f", "b", "in"))
    assert result.triples == [[(LAB, "in", BERGEN)]] and result.counts.left_out == {"two_places": 1}


def test_results_that_are_no_places_are_no_entities(tmp_path):
    choice = {"id": "q", "type": "choices", "from_name": "ok", "to_name": "text", "value": {"choices": ["yes"]}}
    result = read_items(tmp_path, choice, HEADS, relation("q", "f", "heads"))
    assert result.triples == [[(MIRA, "heads", LAB)]] and result.counts.left_out == {"unknown_entity": 1}


def test_skipped_annotations_and_predictions_are_not_read_but_counted(tmp_path):
    skipped = annotation(relation("f", "b", "in", "near"), was_cancelled=True)
    guess = {"result": [*REGIONS, relation("b", "m", "owns")]}
    result = read(
        tmp_path,
        task(annotation(HEADS), skipped, predictions=[guess], drafts=[guess]),
        task(skipped),
        task(predictions=[guess]),
    )
    assert result.triples == [[(MIRA, "heads", LAB)]]
    assert result.counts.left_out == {"skipped_annotation": 2, "not_annotated": 2}
    assert result.counts.rejected == {"not_annotated": 2}
    assert result.counts.notes == {"skipped_annotations": 1, "predictions": 1, "drafts": 1}


def test_a_task_without_relation_is_a_sentence_without_triple(tmp_path):
    assert read(tmp_path, task({"result": []})).triples == [[]]


OLD = annotation(relation("f", "b", "in"), updated_at="2026-03-01T08:00:00.000000Z")
NEW = annotation(HEADS, updated_at="2026-03-02T08:00:00.000000Z")


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ([NEW, OLD], (MIRA, "heads", LAB)),
        ([NEW, OLD | {"ground_truth": True}], (LAB, "in", BERGEN)),
        ([OLD | {"updated_at": None}, annotation(HEADS)], (MIRA, "heads", LAB)),
    ],
    ids=["newest", "ground-truth", "last"],
)
def test_one_of_several_annotations_is_read(tmp_path, annotations, expected):
    result = read(tmp_path, task(*annotations))
    assert result.triples == [[expected]]
    assert result.counts.left_out == {"other_annotation": 1} and result.counts.notes == {"several_annotations": 1}


def test_the_text_is_the_field_that_entities_fit(tmp_path):
    named = task(annotation(HEADS), data={"title": "A note", "review": TEXT, "text": "Another text altogether."})
    empty = task({"result": []}, data={"text": "Another text.", "review": "Nothing here.", "title": "x"})
    result = read(tmp_path, empty, named)
    assert [example.text for example in result.examples] == ["Nothing here.", TEXT] and len(result.triples[1]) == 1


def test_the_text_may_be_said_by_map(tmp_path):
    data = {"text": TEXT, "review": TEXT.upper()}
    result = read(tmp_path, task({"result": []}, data=data), map=("text=review",))
    assert result.examples[0].text == TEXT.upper()
    with pytest.raises(UserError, match="pass text=FIELD"):
        read(tmp_path, task(), map=("head=x",))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"text": "https://example.org/a.txt"}, "not_text"),
        ({"text": "/data/upload/1/a.txt"}, "not_text"),
        ({"text": [{"author": "A", "text": TEXT}]}, "not_text"),
        ({"a": "A text.", "b": "Another text."}, "unknown_text"),
    ],
)
def test_what_is_no_text_is_rejected(tmp_path, data, reason):
    result = read(tmp_path, task(annotation(HEADS), data=data))
    assert result.counts.rejected == {reason: 1} == result.counts.left_out


def test_relations_into_another_text_of_the_task_are_left_out(tmp_path):
    other = "Fjordlab sells tea."
    items = [region("o", LAB, other, to_name="more"), HEADS, relation("f", "b", "in"), relation("m", "o", "heads")]
    result = read(tmp_path, task(annotation(*items), data={"more": other, "text": TEXT}))
    assert result.triples == [[(MIRA, "heads", LAB), (LAB, "in", BERGEN)]]
    assert result.counts.left_out == {"other_text": 1}


def in_markup(own_id, surface, shown_text):
    start = shown_text.index(surface)
    whole = {"start": start, "end": start + len(surface)}
    xpath = {"start": "/p[1]/text()[1]", "end": "/p[1]/text()[1]", "startOffset": 0, "endOffset": 4}
    return region(own_id, surface, shown_text, **xpath, globalOffsets=whole)


def test_html_is_read_where_the_places_fit_its_source_and_else_rejected(tmp_path):
    items = [in_markup("m", MIRA, TEXT), in_markup("f", LAB, TEXT), HEADS]
    plain = task({"result": items})
    html = task({"result": items}, data={"text": f"<p>{TEXT}</p>"})
    without = json.loads(json.dumps(plain))
    del without["annotations"][0]["result"][0]["value"]["globalOffsets"]
    result = read(tmp_path, plain, html, without)
    assert result.triples == [[(MIRA, "heads", LAB)]] and result.counts.rejected == {"in_markup": 2}


def test_a_surface_that_differs_is_told_and_a_break_of_two_characters_counts_two(tmp_path):
    assert TEXT[40:46] == BERGEN
    shifted = region("s", BERGEN, start=39, end=45)
    result = read_items(tmp_path, relation("f", "b", "in"), shifted, relation("f", "s", "in"))
    assert result.triples == [[(LAB, "in", BERGEN)]] and result.counts.left_out == {"surface_differs": 1}


@pytest.mark.parametrize(("start", "end"), [(41, 47), (40, 47)], ids=["both-edges", "one-edge"])
def test_a_dragged_edge_in_utf16_code_units_is_repaired(tmp_path, start, end):
    result = read_items(tmp_path, region("d", BERGEN, start=start, end=end), relation("f", "d", "in"))
    assert result.triples == [[(LAB, "in", BERGEN)]] and result.counts.repaired_triples == {"utf16_offsets": 1}
    too_far = read_items(tmp_path, region("d", BERGEN, start=start + 1, end=end + 1), relation("f", "d", "in"))
    assert too_far.counts.left_out == {"surface_differs": 1}


def test_a_dragged_edge_at_the_end_of_the_text_is_repaired(tmp_path):
    text = f"Fjordlab, 🜚 {BERGEN}"
    items = [region("f", LAB, text), region("d", BERGEN, text, start=12, end=19), relation("f", "d", "in")]
    assert len(text) == 18
    result = read(tmp_path, task({"result": items}, data={"text": text}))
    assert result.triples == [[(LAB, "in", BERGEN)]] and result.counts.repaired_triples == {"utf16_offsets": 1}


def test_a_shift_that_fits_two_places_is_not_repaired(tmp_path):
    text = "🜚🜚 aaaa Fjordlab"
    items = [region("a", "aa", text, start=6, end=8), region("f", LAB, text), relation("a", "f", "x")]
    result = read(tmp_path, task({"result": items}, data={"text": text}))
    assert result.triples == [[]] and result.counts.left_out == {"surface_differs": 1}


def test_json_min_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([{"text": TEXT, "id": 1, "label": [], "annotator": 1, "annotation_id": 2}]))
    assert "no relations" in recognised(path)["label-studio"]
    with pytest.raises(UserError, match="JSON_MIN, which leaves out all relations: export it again as JSON"):
        convert(path)


def test_a_language_in_the_data_counts(tmp_path):
    data = {"text": TEXT, "lang": "de", "id": "a7"}
    result = read(tmp_path, task(annotation(HEADS), data=data), task(annotation(HEADS), data=data | {"lang": "fr"}))
    assert [example.id for example in result.examples] == ["a7"] and result.counts.rejected == {"wrong_language": 1}


WHOLE = [
    task(annotation(HEADS, relation("f", "b", "in", "near", direction="bi")), OLD),
    task({"result": [in_markup("m", MIRA, TEXT), in_markup("f", LAB, TEXT), HEADS], "was_cancelled": None}),
]


@given(st.data())
def test_damaged_values_reject_a_task_or_a_relation(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "train.json"
    value = data.draw(damaged(WHOLE)) or [None]
    path.write_text(json.dumps(value))
    try:
        assert of_format("label-studio", path).counts.rows == len(value)
    except UserError:
        assert "annotation_id" in value[0]


@given(damaged_bytes(json.dumps(WHOLE, ensure_ascii=False).encode()))
def test_damaged_bytes_give_an_error_for_the_user_or_counted_rows(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("damaged") / "train.json"
    path.write_bytes(content)
    with suppress(UserError):
        of_format("label-studio", path)
