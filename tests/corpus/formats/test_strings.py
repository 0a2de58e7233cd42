"""NYT, WebNLG, DuIE and alike: what is given as strings is found in the text, or lost with a reason."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.corpus.formats.locating import MOST_TRIPLES
from mere_ds.corpus.formats.units import occurrences
from tests.corpus.formats.reading import convert

TEXT = "Ida Moe of Moe & Sons met Lars Moen in Moeby ; Lars Moen left"


def nyt(*triples, text=TEXT):
    return {"text": text, "triple_list": list(triples)}


def duie(*relations, text="《长夜》由王明和李华主演，王明配音"):
    return {"text": text, "spo_list": list(relations)}


def spo(subject, predicate, object):
    return {"subject": subject, "predicate": predicate, "object": object, "subject_type": "x", "object_type": "y"}


def read(folder, *rows, **options):
    path = folder / "rows.json"
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return convert(path, **options)


@pytest.mark.parametrize(
    ("text", "surface", "places"),
    [
        ("Moeby of Moe", "Moe", [9]),
        ("Moe-by, Moe's", "Moe", [0, 8]),
        ("x1 in 1990 and 21990", "1990", [6]),
        ("cafe\u0301 cafe", "cafe", [6]),
        ("北京大学在北京", "北京", [0, 5]),
        ("在IBM工作, IBMs", "IBM", [1]),
        ("東京タワーは東京", "東京", [0, 6]),
        ("タワーとタ", "タ", [0, 4]),
        ("กรุงเทพมหานคร", "กรุงเทพ", [0]),
        ("서울은 남서울 IBM은", "서울", [0]),
        ("서울은 남서울 IBM은", "IBM", [8]),
        ("①Moe法", "Moe", [1]),
        ("कमल कम", "कम", [4]),
        ("aaa aaa", "", []),
        ("ha ha ha", "ha ha", [0, 3]),
    ],
)
def test_a_string_is_found_on_bounds_of_words_where_the_script_has_them(text, surface, places):
    assert [start for start, _ in occurrences(text, surface)] == places


@settings(deadline=None, max_examples=50)
@given(st.text("aB é北ア서ก1.\u0301", max_size=12), st.text("aB é北ア서ก1.\u0301", max_size=3), st.booleans())
def test_every_place_found_reads_as_the_string(text, surface, any_case):
    for start, end in occurrences(text, surface, any_case):
        there = text[start:end]
        assert there == surface or (any_case and there.lower() == surface.lower())


def test_a_triple_stands_where_its_strings_are_words(tmp_path):
    result = read(tmp_path, nyt(["Ida Moe", "of", "Moe & Sons"], ["Ida Moe", "in", "Moeby"]))
    assert result.triples == [[("Ida Moe", "of", "Moe & Sons"), ("Ida Moe", "in", "Moeby")]]
    assert result.examples[0].triples[1].tail == (TEXT.index("Moeby"), TEXT.index("Moeby") + 5)


@pytest.mark.parametrize(
    ("triple", "reason"),
    [
        (["Ida Moe", "of", "Nobody"], "not_in_text"),
        (["Sons", "of", "oeb"], "inside_word"),
        (["Ida Moe", "met", "Lars Moen"], "ambiguous"),
        (["Ida Moe", "of", " "], "empty_span"),
        (["Ida Moe", " ", "Moeby"], "empty_label"),
        (["Ida Moe", "of"], "wrong_keys"),
        (["Ida Moe", "of", 7], "wrong_keys"),
        ("Ida Moe of Moeby", "wrong_keys"),
        (None, "wrong_keys"),
    ],
)
def test_a_triple_without_its_place_is_lost_with_the_reason_and_the_others_stay(tmp_path, triple, reason):
    result = read(tmp_path, nyt(triple, ["Ida Moe", "in", "Moeby"]))
    assert result.triples == [[("Ida Moe", "in", "Moeby")]]
    assert dict(result.counts.left_out) == {reason: 1}


def test_a_string_at_several_places_is_rejected_or_taken_first_or_everywhere(tmp_path):
    row = nyt(["Ida Moe", "met", "Lars Moen"], ["Moe", "met", "Lars Moen"])
    first, second = TEXT.index("Lars"), TEXT.rindex("Lars")
    assert read(tmp_path, row).counts.left_out == {"ambiguous": 2}
    result = read(tmp_path, row, ambiguous="first")
    assert [tail[0] for _, _, tail in result.examples[0].triples] == [first, first]
    assert result.counts.notes["several_places"] == 2
    result = read(tmp_path, row, ambiguous="all")
    places = [(head[0], tail[0]) for head, _, tail in result.examples[0].triples]
    assert places == [(0, first), (0, second), (4, first), (4, second), (11, first), (11, second)]
    assert result.counts.notes["several_places"] == 6


def test_head_and_tail_of_one_string_are_a_self_relation_and_with_all_also_two_places(tmp_path):
    once = nyt(["Moeby", "is", "Moeby"])
    twice = nyt(["Lars Moen", "is", "Lars Moen"])
    result = read(tmp_path, once, twice)
    assert result.triples == [[("Moeby", "is", "Moeby")], []]
    assert result.counts.notes["self_relation"] == 1 and result.counts.left_out == {"ambiguous": 1}
    assert len(read(tmp_path, twice, ambiguous="all").examples[0].triples) == 4


def test_a_repeated_triple_is_kept_once_and_counted(tmp_path):
    result = read(tmp_path, nyt(["Ida Moe", "in", "Moeby"], ["Ida Moe", "in", "Moeby"]))
    assert result.triples == [[("Ida Moe", "in", "Moeby")]] and result.counts.left_out == {"double_triple": 1}


def test_more_combinations_than_a_sentence_may_have_are_not_made(tmp_path):
    result = read(tmp_path, nyt(["a", "x", "b"], text="a b " * MOST_TRIPLES), ambiguous="all")
    assert result.counts.left_out == {"too_many_places": 1} and result.triples == [[]]


def names(count, whole):
    said = [f"N{''.join(chr(97 + int(digit)) for digit in str(number))}" for number in range(count)]
    return [nyt([one, "x", two], text=f"{one} {two} .") for one, two in zip(said[::2], said[1::2], strict=True)] + whole


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        (names(60, []), "last_words"),
        (names(60, [nyt(["Ida Moe", "in", "Moeby"])]), "whole_names"),
        (names(60, [nyt(["Ida Moe", "in", "Nowhere"])]), "whole_names"),
        (names(40, []), None),
        ([nyt(["王明", "x", "李华"], text=f"王明{n}李华") for n in range(99)], None),
        ([nyt([f"王明 {n}", "x", "李华"], text=f"王明 {n}李华") for n in range(99)], None),
    ],
    ids=["last-words", "whole-names", "whole-names-of-a-lost-one", "too-few", "no-blanks", "blanks-of-no-words"],
)
def test_a_file_says_once_whether_it_has_whole_names_or_last_words(tmp_path, rows, note):
    notes = read(tmp_path, *rows, nyt(text=" "), "x").counts.notes
    assert {name: notes[name] for name in ("last_words", "whole_names") if notes[name]} == ({note: 1} if note else {})


def jointer(**changes):
    row = {
        "tokens": ["Lars", "Moen", "met", "Lars", "Moen", "'s", "dog"],
        "spo_list": [["Lars Moen", "met", "dog"]],
        "spo_details": [[3, 5, "None-label", "met", 6, 7, "None-label"]],
    }
    return row | changes


def test_places_of_tokens_are_preferred_to_strings(tmp_path):
    result = read(tmp_path, jointer())
    assert result.triples == [[("Lars Moen", "met", "dog")]]
    assert result.examples[0].triples[0].head == (14, 23)
    with_text = {"text": "Lars  Moen met Lars", "triple_list": [["Lars", "x", "met"]], "spo_details": None}
    with_text["spo_details"] = [[4, 5, "", "x", 3, 4, ""]]
    assert read(tmp_path, with_text).examples[0].triples[0].head == (15, 19)


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ([2, 5, "", "met", 6, 7, ""], "surface_differs"),
        ([3, 5, "", "saw", 6, 7, ""], "details_differ"),
        ([3, 5, "", "met", 6, 8, ""], "span_out_of_text"),
        ([5, 3, "", "met", 6, 7, ""], "span_out_of_text"),
        ([3, 5, "", "met", 6, True, ""], "wrong_keys"),
        ([3, 5, "", "met", 6, 10**400, ""], "span_out_of_text"),
        ([3, 5], "wrong_keys"),
    ],
)
def test_places_of_tokens_that_do_not_fit_are_lost(tmp_path, detail, reason):
    assert read(tmp_path, jointer(spo_details=[detail])).counts.left_out == {reason: 1}


def test_a_record_whose_details_are_of_another_number_is_rejected_with_its_relations(tmp_path):
    result = read(tmp_path, jointer(spo_details=[]), jointer(tokens=[1]), jointer(spo_list=None))
    assert result.reasons == [(1, "details_differ"), (2, "wrong_keys"), (3, "wrong_keys")]
    assert result.counts.left_out == {"details_differ": 1, "wrong_keys": 1}


def test_an_object_of_several_keys_gives_a_relation_a_key(tmp_path):
    row = duie(
        spo("王明", "配音", {"@value": "长夜"}),
        spo("李华", "饰演", {"@value": "王明", "inWork": "长夜", "period": ""}),
        spo("李华", "主演", "长夜"),
        spo("李华", "主演", {"inWork": "长夜"}),
        spo("李华", "主演", {"@value": "长夜", "inWork": 7}),
    )
    result = read(tmp_path, row, ambiguous="first")
    expected = [
        ("王明", "配音", "长夜"),
        ("李华", "饰演", "王明"),
        ("李华", "饰演_inWork", "长夜"),
        ("李华", "主演", "长夜"),
    ]
    assert result.triples == [expected]
    assert result.counts.left_out == {"empty_span": 1, "wrong_keys": 2}
    assert result.counts.notes == {"several_places": 2, "further_object": 1}


def test_triples_as_objects_are_read_too(tmp_path):
    said = {"subject": "长夜", "relation": "主演", "object": "李华", "subject_type": "", "object_type": ""}
    result = read(tmp_path, {"text": "《长夜》由李华主演", "triples": [said]})
    assert result.triples == [[("长夜", "主演", "李华")]]


@pytest.mark.parametrize("change", [{"text": None}, {"text": ["a"]}, {"triple_list": None}, {"triple_list": {}}])
def test_a_record_without_text_or_triples_is_rejected(tmp_path, change):
    result = read(tmp_path, nyt(["Ida Moe", "in", "Moeby"]), nyt(["Ida Moe", "in", "Moeby"]) | change)
    assert result.reasons == [(2, "wrong_keys")]


def test_a_table_that_numbers_labels_beside_the_data_is_no_data(tmp_path):
    (tmp_path / "rel2id.json").write_text(json.dumps([{"0": "in", "1": "of"}, {"in": 0, "of": 1}], indent=4))
    (tmp_path / "train.json").write_text(json.dumps([nyt(["Ida Moe", "in", "Moeby"])]))
    assert convert(tmp_path).triples == [[("Ida Moe", "in", "Moeby")]]
