"""REBEL, SREDFM and REDFM: entities at their stated places, or a little to the left of them."""

import json

import pytest

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.rows import Tally
from tests.corpus.formats.reading import convert

TEXT = "Ida Moe  was born in Moeby. She ran Moe & Sons from 1990.\n\nMoeby lies in Norway."
PLACES = {name: TEXT.index(name) for name in ("Ida Moe", "Moeby", "Moe & Sons", "1990", "Norway")}


def entity(name, right=0, uri="Q1", **changes):
    start = PLACES[name] + right
    whole = {"uri": uri, "boundaries": [start, start + len(name)], "surfaceform": name, "annotator": "a"} | changes
    return {key: value for key, value in whole.items() if value is not ...}


def named(label, uri="P1"):
    return {"uri": uri, "boundaries": None, "surfaceform": label, "annotator": "a"}


def triple(subject, label, object, **changes):
    return {"subject": subject, "predicate": named(label), "object": object, "confidence": None} | changes


def document(*triples, **changes):
    whole = {"docid": "7", "title": "Ida", "uri": "Q1", "text": TEXT, "entities": [], "triples": list(triples)}
    return whole | changes


def read(folder, *documents, cut="document", **options):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    return convert(path, cut=cut, **options)


@pytest.mark.parametrize("right", [0, 1, 2, 4, 6])
def test_an_entity_up_to_six_characters_left_of_its_place_is_found_and_told(tmp_path, right):
    result = read(tmp_path, document(triple(entity("Ida Moe"), "born in", entity("Moeby", right))))
    assert result.triples == [[("Ida Moe", "born in", "Moeby")]]
    assert result.examples[0].triples[0].tail == (PLACES["Moeby"], PLACES["Moeby"] + 5)
    assert result.counts.repaired_triples == ({"shifted_left": 1} if right else {})


def test_the_nearest_place_to_the_left_is_taken(tmp_path):
    text = "An An An An Bo"
    an = {"uri": "Q1", "boundaries": [7, 9], "surfaceform": "An"}
    bo = {"uri": "Q2", "boundaries": [12, 14], "surfaceform": "Bo"}
    result = read(tmp_path, document(triple(an, "x", bo), text=text))
    assert result.examples[0].triples[0].head == (6, 8)


def test_a_place_past_the_end_of_the_text_is_repaired_too(tmp_path):
    text, ida = "Ida Moe met Bo", {"uri": "Q1", "boundaries": [0, 7], "surfaceform": "Ida Moe"}
    bo = {"uri": "Q2", "boundaries": [16, 18], "surfaceform": "Bo"}
    result = read(tmp_path, document(triple(ida, "met", bo), text=text))
    assert result.triples == [[("Ida Moe", "met", "Bo")]] and result.counts.repaired_triples == {"shifted_left": 1}


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (entity("Moeby", 7), "surface_differs"),
        (entity("Moeby", -1), "surface_differs"),
        (entity("Norway", 99), "span_out_of_text"),
        (entity("Norway", boundaries=[10**400, 10**401]), "span_out_of_text"),
        (entity("Norway", boundaries=[-9, -3]), "span_out_of_text"),
        (entity("Moeby", boundaries=None), "without_place"),
        (entity("Moeby", boundaries=...), "without_place"),
        (entity("Moeby", boundaries=[True, 3]), "wrong_keys"),
        (entity("Moeby", boundaries=[1]), "wrong_keys"),
        (entity("Moeby", surfaceform=["Moeby"]), "wrong_keys"),
        (3, "unknown_entity"),
        (-1, "unknown_entity"),
        (True, "wrong_keys"),
        ("Moeby", "wrong_keys"),
        (None, "wrong_keys"),
    ],
)
def test_an_entity_without_its_place_loses_its_relation_alone(tmp_path, tail, reason):
    kept = triple(entity("Ida Moe"), "ran", entity("Moe & Sons"))
    result = read(tmp_path, document(triple(entity("Ida Moe"), "x", tail), kept, entities=[entity("Moeby")]))
    assert result.triples == [[("Ida Moe", "ran", "Moe & Sons")]] and result.counts.left_out == {reason: 1}


def test_other_blanks_in_a_surface_are_no_shift(tmp_path):
    ida = entity("Ida Moe", surfaceform="Ida\u00a0Moe")
    result = read(tmp_path, document(triple(ida, "x", entity("Moeby"))))
    assert result.counts.repaired_triples == {} and result.counts.notes["blanks_differ"] == 1


@pytest.mark.parametrize("columns", [False, True], ids=["objects", "columns"])
def test_numbers_of_entities_and_starts_as_the_loader_gives_them(tmp_path, columns):
    entities = [
        {"uri": "Q1", "surfaceform": name, "type": "x", "start": PLACES[name], "end": PLACES[name] + len(name)}
        for name in ("Ida Moe", "Moeby")
    ]
    relations = [
        {"subject": 0, "predicate": "born in", "object": 1},
        {"subject": 1, "predicate": 4, "object": 0},
    ]
    if columns:
        entities, relations = ({key: [row[key] for row in rows] for key in rows[0]} for rows in (entities, relations))
    row = {"docid": "7", "lan": "de", "text": TEXT, "entities": entities, "relations": relations}
    result = read(tmp_path, row)
    assert result.triples == [[("Ida Moe", "born in", "Moeby"), ("Moeby", "4", "Ida Moe")]]
    assert result.counts.notes == {"numbered_label": 1}


def test_the_label_is_the_predicates_name_and_its_uri_only_without_one(tmp_path):
    ida, moeby = entity("Ida Moe"), entity("Moeby")
    row = document(
        triple(ida, "born in", moeby),
        triple(ida, "", moeby, predicate=named(" ", "P19")),
        triple(ida, "", moeby, predicate={"uri": "P20"}),
        triple(ida, "", moeby, predicate={}),
    )
    result = read(tmp_path, row)
    assert [label for _, label, _ in result.triples[0]] == ["born in", "P19", "P20"]
    assert result.counts.left_out == {"wrong_keys": 1}


def test_literals_low_confidence_and_self_relations_are_kept_and_told(tmp_path):
    year = entity("1990", uri="1990-01-01T00:00:00Z^^http://www.w3.org/2001/XMLSchema#dateTime", surfaceform=1990)
    ida = entity("Ida Moe")
    row = document(triple(ida, "since", year, confidence=0.75), triple(ida, "is", ida, confidence=0.76))
    result = read(tmp_path, row)
    assert result.triples == [[("Ida Moe", "since", "1990"), ("Ida Moe", "is", "Ida Moe")]]
    assert result.counts.notes == {"literal": 1, "unsure": 1, "self_relation": 1}


def test_a_document_is_cut_into_sentences_but_not_through_a_relation(tmp_path):
    pytest.importorskip("sentencex")
    within = triple(entity("Ida Moe"), "born in", entity("Moeby"))
    result = read(tmp_path, document(within), cut="auto")
    ends = ["born in Moeby.", "from 1990.", "in Norway."]
    assert [example.text[-len(end) :] for example, end in zip(result.examples, ends, strict=True)] == ends
    assert [len(example.triples) for example in result.examples] == [1, 0, 0]
    across = triple(entity("Moe & Sons"), "in", entity("Norway"))
    result = read(tmp_path, document(within, across), cut="auto")
    assert [len(example.triples) for example in result.examples] == [1, 1]
    assert result.examples[1].text.startswith("She ran") and "\n\n" in result.examples[1].text


def test_the_language_of_a_record_counts(tmp_path):
    rows = [document(lan="de"), document(lan="pt"), document(lan="../x"), document(lan=7), document()]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = open_corpus(tmp_path, options=SourceOptions(format="rebel", cut="document", lang="de"))
    tally = Tally(corpus.files[0])
    assert [example.line for example in corpus.read(corpus.files[0], tally=tally)] == [1, 5]
    [counts] = tally.counts
    assert counts.rejected == {"wrong_language": 1, "unknown_language": 1, "wrong_keys": 1}


@pytest.mark.parametrize("change", [{"text": None}, {"entities": 7}, {"entities": {"uri": [1], "start": []}}])
def test_a_record_of_other_types_is_rejected_with_its_relations(tmp_path, change):
    good = document(triple(entity("Ida Moe"), "born in", entity("Moeby")))
    result = read(tmp_path, good, good | change)
    assert result.reasons == [(2, "wrong_keys")] and result.counts.left_out == {"wrong_keys": 1}
