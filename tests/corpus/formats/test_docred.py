"""DocRED and its like: relations of entities with several mentions, names that say how tokens are joined."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.formats.registry import recognised
from mere_ds.errors import UserError
from tests.corpus.formats.reading import convert, of_format

SENTS = [["Ada", "Vik", "came", "to", "Oslo", "."], [" ", "She", "left", "Oslo", "for", "Bergen", "."]]
ADA, SHE = {"name": "Ada Vik", "pos": [0, 2], "sent_id": 0}, {"name": "She", "pos": [1, 2], "sent_id": 1}
OSLO_1, OSLO_2 = {"name": "Oslo", "pos": [4, 5], "sent_id": 0}, {"name": "Oslo", "pos": [3, 4], "sent_id": 1}
BERGEN = {"name": "Bergen", "pos": [5, 6], "sent_id": 1}
TEXT = "Ada Vik came to Oslo .   She left Oslo for Bergen ."


def document(*labels, entities=((ADA,), (OSLO_1, OSLO_2), (BERGEN,)), sents=SENTS, **more):
    labels = [{"h": h, "t": t, "r": r, "evidence": []} for h, t, r in labels]
    return {"title": "T", "vertexSet": [list(e) for e in entities], "sents": sents, "labels": labels} | more


def written(folder, *documents):
    path = folder / "any.json"
    path.write_text(json.dumps(documents), encoding="utf-8")
    return path


def spans(result):
    return [(head, tail) for example in result.examples for head, _, tail in example.triples]


def test_documents_are_kept_whole_and_pairs_in_no_common_sentence_counted(tmp_path):
    path = written(tmp_path, document((0, 1, "P1"), (0, 2, "P2"), (1, 2, "P3")))
    assert list(recognised(path)) == ["docred"]
    result = convert(path)
    assert [example.text for example in result.examples] == [TEXT]
    assert result.triples == [[("Ada Vik", "P1", "Oslo"), ("Ada Vik", "P2", "Bergen"), ("Oslo", "P3", "Bergen")]]
    assert spans(result) == [((0, 7), (16, 20)), ((0, 7), (43, 49)), ((34, 38), (43, 49))]
    assert result.counts.notes == {"no_common_sentence": 1, "one_of_several_mentions": 2}


def test_cutting_at_the_files_sentences_never_cuts_through_a_relation(tmp_path):
    inside, across = document((0, 1, "P1"), (1, 2, "P3")), document((0, 2, "P2"))
    result = convert(written(tmp_path, inside, across), cut="sentence")
    assert [example.text for example in result.examples] == [TEXT[:22], TEXT[25:], TEXT]
    assert result.triples == [[("Ada Vik", "P1", "Oslo")], [("Oslo", "P3", "Bergen")], [("Ada Vik", "P2", "Bergen")]]


MENTIONS = [["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "e"]]


def mention(sentence, first, end=None):
    end = end or first + 1
    return {"name": " ".join(MENTIONS[sentence][first:end]), "pos": [first, end], "sent_id": sentence}


@pytest.mark.parametrize(
    ("heads", "tails", "expected"),
    [
        ([(0, 0)], [(0, 4), (0, 1)], ((0, 1), (2, 3))),
        ([(0, 4)], [(1, 0), (0, 0)], ((8, 9), (0, 1))),
        ([(0, 4), (1, 4)], [(1, 0)], ((18, 19), (10, 11))),
        ([(0, 0), (0, 2)], [(0, 1)], ((0, 1), (2, 3))),
        ([(0, 1), (1, 1)], [(0, 0), (1, 0)], ((2, 3), (0, 1))),
        ([(0, 0, 3)], [(0, 1), (0, 4)], ((0, 5), (8, 9))),
        ([(0, 0, 3)], [(0, 1), (1, 0)], ((0, 5), (2, 3))),
        ([(0, 4), (0, 4)], [(1, 3), (1, 0)], ((8, 9), (10, 11))),
    ],
    ids=["closest", "same-sentence-first", "same-sentence-later", "tie", "tie-of-sentences", "apart-before-nested"]
    + ["nested-before-other-sentence", "closest-of-other-sentences"],
)
def test_which_mentions_stand_for_a_relation(tmp_path, heads, tails, expected):
    entities = [[mention(*place) for place in heads], [mention(*place) for place in tails]]
    assert spans(convert(written(tmp_path, document((0, 1, "x"), entities=entities, sents=MENTIONS)))) == [expected]


def test_a_relation_of_an_entity_with_itself_takes_two_of_its_mentions_in_one_sentence(tmp_path):
    entities = [[mention(0, 0), mention(0, 4)], [mention(1, 2), mention(0, 2)]]
    result = convert(written(tmp_path, document((0, 0, "x"), (1, 1, "x"), entities=entities, sents=MENTIONS)))
    assert spans(result) == [((0, 1), (8, 9)), ((4, 5), (4, 5))] and result.counts.notes["self_relation"] == 1


KANA = [["アダ", "・", "ヴィク", "は", "オスロ", "市", "へ", "1990", "年", "に"], ["Polar", "Tea", "社"]]


def test_tokens_are_joined_as_the_names_of_the_file_show(tmp_path):
    names = [("アダ・ヴィク", 0, [0, 3]), ("オスロ市", 0, [4, 6]), ("Polar Tea", 1, [0, 2])]
    entities = [[{"name": name, "sent_id": number, "pos": pos}] for name, number, pos in names]
    result = convert(written(tmp_path, document((0, 1, "x"), (2, 0, "y"), entities=entities, sents=KANA)))
    assert result.examples[0].text == "アダ・ヴィクはオスロ市へ1990年にPolarTea社"
    assert result.triples == [[("アダ・ヴィク", "x", "オスロ市"), ("PolarTea", "y", "アダ・ヴィク")]]
    assert result.counts.notes == {"blanks_differ": 1, "no_common_sentence": 1}


def test_names_of_single_tokens_show_nothing_and_a_blank_is_taken(tmp_path):
    entities = [[{"name": "アダ", "sent_id": 0, "pos": [0, 1]}]]
    assert convert(written(tmp_path, document(entities=entities, sents=KANA))).examples[0].text.startswith("アダ ・")


@pytest.mark.parametrize("pos", [[7, 8], [8, 8]], ids=["one-short", "empty"])
def test_a_mention_that_ends_one_token_short_of_its_name_gets_the_token(tmp_path, pos):
    year = (
        {"name": "1990年", "sent_id": 0, "pos": [7, 8]} if pos == [7, 8] else {"name": "年", "sent_id": 0, "pos": pos}
    )
    city = {"name": "オスロ市", "sent_id": 0, "pos": [4, 6]}
    result = convert(written(tmp_path, document((0, 1, "x"), entities=[[city], [year]], sents=KANA)))
    assert result.triples == [[("オスロ市", "x", year["name"])]] and result.counts.repaired_triples == {"short_end": 1}


def test_the_number_of_the_sentence_is_no_part_of_a_name(tmp_path):
    numbered = BERGEN | {"name": "1.\nBergen"}
    result = convert(written(tmp_path, document((0, 1, "x"), entities=[[OSLO_2], [numbered]])))
    assert result.triples == [[("Oslo", "x", "Bergen")]] and result.counts.repaired_triples == {"numbered_name": 1}


def test_mentions_that_do_not_fit_are_used_only_if_an_entity_has_no_other_and_then_counted(tmp_path):
    wrong, beyond = OSLO_1 | {"name": "Kiel"}, OSLO_1 | {"pos": [5, 9]}
    nowhere = OSLO_1 | {"sent_id": 2}
    one = document((0, 1, "x"), entities=[[ADA], [wrong, beyond, OSLO_2]])
    none = document((0, 1, "x"), (0, 2, "x"), (0, 3, "x"), entities=[[ADA], [wrong], [beyond, nowhere], []])
    result = convert(written(tmp_path, one, none))
    assert result.triples == [[("Ada Vik", "x", "Oslo")], []] and spans(result) == [((0, 7), (34, 38))]
    assert result.counts.left_out == {"surface_differs": 1, "span_out_of_text": 2}
    assert result.counts.notes["mention_out_of_text"] == 2


def test_other_blanks_in_a_name_are_noted(tmp_path):
    result = convert(written(tmp_path, document((0, 1, "x"), entities=[[ADA | {"name": "AdaVik"}], [OSLO_1], [ADA]])))
    assert result.triples == [[("Ada Vik", "x", "Oslo")]] and result.counts.notes == {"blanks_differ": 1}


def test_names_of_relations_are_taken_from_the_table_beside_the_data(tmp_path):
    path = written(tmp_path, document((0, 1, "P1"), (0, 2, "P2"), (1, 2, "P3"), (2, 1, "P4")))
    names = {"P1": "residence", "P2": "work place", "P4": "twin", "P5": "twin"}
    for folder in (tmp_path / "meta", tmp_path):
        folder.mkdir(exist_ok=True)
        (folder / "rel_info.json").write_text(json.dumps(names))
        (folder / "rel2id.json").write_text(json.dumps({"P1": 0}))
        for source in (path, tmp_path):
            labels = [label for _, label, _ in convert(source).triples[0]]
            assert labels == ["residence", "work place", "P3", "P4"]
    (tmp_path / "rel_info.json").write_text('{"P1": 7}')
    with pytest.raises(UserError, match=r"rel_info.json: must be one JSON object such as .*: correct or remove it"):
        convert(path)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ({"h": 0, "t": 3, "r": "x"}, "unknown_entity"),
        ({"h": -1, "t": 0, "r": "x"}, "unknown_entity"),
        ({"h": False, "t": 1, "r": "x"}, "wrong_keys"),
        ({"h": "0", "t": 1, "r": "x"}, "wrong_keys"),
        ({"h": 0, "t": 1, "r": 17}, "wrong_keys"),
        ({"h": 0, "t": 1, "r": ""}, "empty_label"),
        ({"h": 0, "t": 1}, "wrong_keys"),
        ([0, 1, "x"], "wrong_keys"),
    ],
)
def test_labels_that_can_not_be_read_are_counted_and_the_others_kept(tmp_path, label, reason):
    value = document((0, 1, "P1"))
    value["labels"].append(label)
    result = convert(written(tmp_path, value))
    assert result.triples == [[("Ada Vik", "P1", "Oslo")]] and result.counts.left_out == {reason: 1}


def test_a_document_without_labels_is_no_document_without_relations(tmp_path):
    unlabelled = document()
    del unlabelled["labels"]
    result = convert(written(tmp_path, document(), unlabelled))
    assert result.triples == [[]] and result.reasons == [(2, "no_relations")]


@pytest.mark.parametrize(
    "changes",
    [
        {"title": None},
        {"sents": ["Ada Vik"]},
        {"sents": [["Ada", 7]]},
        {"vertexSet": [ADA]},
        {"vertexSet": [[ADA | {"pos": [0]}]]},
        {"vertexSet": [[ADA | {"pos": [0, True]}]]},
        {"vertexSet": [[ADA | {"sent_id": "0"}]]},
        {"vertexSet": [[{"pos": [0, 1], "sent_id": 0}]]},
    ],
)
def test_documents_that_can_not_be_read_are_rejected_with_their_relations(tmp_path, changes):
    result = convert(written(tmp_path, document((0, 1, "P1")), document((0, 1, "P1"), **changes)))
    assert result.reasons == [(2, "wrong_keys")] and result.counts.left_out == {"wrong_keys": 1}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["x", "", 10**40, 0.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["h", "t", "r", "pos"]), inner),
    max_leaves=6,
)


@given(
    key=st.sampled_from(sorted(document())), value=VALUES, inner=st.dictionaries(st.sampled_from(sorted(ADA)), VALUES)
)
def test_damaged_documents_are_kept_or_counted(tmp_path_factory, key, value, inner):
    labels = [(0, 1, "x"), (1, 0, "y")]
    one, other = document(*labels, **{key: value}), document(*labels, entities=[[ADA | inner, SHE], [OSLO_1, OSLO_2]])
    with suppress(UserError):
        of_format("docred", written(tmp_path_factory.mktemp("damaged"), document(*labels), one, other))


@given(at=st.integers(0, 700), byte=st.binary(max_size=2))
def test_damaged_bytes_are_kept_or_counted(tmp_path_factory, at, byte):
    path = written(tmp_path_factory.mktemp("bytes"), document((0, 1, "x")))
    content = path.read_bytes()
    path.write_bytes(content[:at] + byte + content[at + 1 :])
    with suppress(UserError):
        of_format("docred", path)
