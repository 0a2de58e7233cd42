"""SciERC: indices are of the document, ends inclusive; documents are cut where their sentences end."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.formats.registry import recognised
from mere_ds.errors import UserError
from tests.corpus.formats.reading import convert, of_format

SENTENCES = [
    ["We", "parse", "text", "-LRB-", "fast", "-RRB-", "."],
    ["Dr.", "No", "uses", "it", "."],
    ["Nothing", "here", "."],
]
USED, COMPARE, HYPONYM = [2, 2, 1, 1, "USED-FOR"], [4, 4, 1, 2, "COMPARE"], [8, 8, 10, 10, "HYPONYM-OF"]


def document(**changes):
    ner = [[[1, 2, "Task"], [4, 4, "Generic"]], [[8, 8, "Method"], [10, 10, "Generic"]], []]
    relations = [[USED, COMPARE], [HYPONYM], []]
    return {"doc_key": "d7", "sentences": SENTENCES, "ner": ner, "relations": relations, "clusters": []} | changes


def written(folder, *documents):
    path = folder / "any.json"
    path.write_text("".join(json.dumps(value) + "\n" for value in documents), encoding="utf-8")
    return path


EXPECTED = [[("text", "USED-FOR", "parse"), ("fast", "COMPARE", "parse text")], [("No", "HYPONYM-OF", "it")], []]


def test_documents_are_cut_exactly_where_the_file_says_and_spans_count_tokens_of_the_document(tmp_path):
    path = written(tmp_path, document())
    assert list(recognised(path)) == ["scierc"]
    result = convert(path)
    assert result.triples == EXPECTED and not result.rejects
    assert [example.text for example in result.examples] == [" ".join(tokens) for tokens in SENTENCES]
    assert [example.id for example in result.examples] == ["d7.1", "d7.2", "d7.3"]


def test_documents_can_be_kept_whole(tmp_path):
    result = convert(written(tmp_path, document()), cut="document")
    assert result.triples == [[triple for its in EXPECTED for triple in its]]
    assert result.examples[0].text == " ".join(token for tokens in SENTENCES for token in tokens)


def test_relations_keep_their_direction_even_if_it_is_not_the_order_of_the_text(tmp_path):
    result = convert(written(tmp_path, document(relations=[[COMPARE, COMPARE], [], []])))
    assert result.triples[0] == [("fast", "COMPARE", "parse text")] and result.counts.left_out == {"double_triple": 1}


def test_indices_of_the_sentence_are_noticed_and_not_read_as_those_of_the_document(tmp_path):
    of_sentence = [1, 1, 3, 3, "HYPONYM-OF"]
    result = convert(written(tmp_path, document(relations=[[], [of_sentence], []])))
    assert result.counts.left_out == {"in_other_sentence": 1} and result.triples == [[], [], []]


def test_empty_sentences_and_tokens_keep_their_places(tmp_path):
    sentences = [[], ["", "parse", "text", "-LRB-", "fast", "-RRB-", "."], [], *SENTENCES[1:]]
    result = convert(written(tmp_path, document(sentences=sentences, relations=[[], [USED], [], [HYPONYM], []])))
    assert result.triples == [EXPECTED[0][:1], EXPECTED[1], []]


@pytest.mark.parametrize(
    ("relation", "reason"),
    [
        ([2, 2, 1, 15, "x"], "span_out_of_text"),
        ([-1, 0, 1, 1, "x"], "span_out_of_text"),
        ([2, 1, 1, 1, "x"], "span_out_of_text"),
        ([2, 2, 10**50, 10**50, "x"], "span_out_of_text"),
        ([True, 2, 1, 1, "x"], "wrong_keys"),
        (["2", "2", "1", "1", "x"], "wrong_keys"),
        ([2, 2, 1, 1], "wrong_keys"),
        ([2, 2, 1, 1, 5], "wrong_keys"),
        ([2, 2, 1, 1, " "], "empty_label"),
        ({"head": 1}, "wrong_keys"),
    ],
)
def test_relations_that_can_not_be_read_are_counted_and_the_others_kept(tmp_path, relation, reason):
    result = convert(written(tmp_path, document(relations=[[USED, relation], [], []])))
    assert result.triples[0] == EXPECTED[0][:1] and result.counts.left_out == {reason: 1}


def test_scores_behind_a_prediction_are_no_part_of_it(tmp_path):
    assert convert(written(tmp_path, document(relations=[[[*USED, 7.5, 0.9]], [], []]))).triples[0] == EXPECTED[0][:1]


@pytest.mark.parametrize(
    "changes",
    [
        {"doc_key": 7},
        {"sentences": ["We", "parse"]},
        {"sentences": [["We", None], [], []]},
        {"relations": [[USED, COMPARE, HYPONYM]]},
    ],
)
def test_documents_that_can_not_be_read_are_rejected_with_their_relations(tmp_path, changes):
    result = convert(written(tmp_path, document(), document(**changes)))
    assert result.reasons == [(2, "wrong_keys")] and result.counts.left_out == {"wrong_keys": 3}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 20) | st.sampled_from(["x", "", 10**40, 0.5]),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(document())), value=VALUES)
def test_damaged_documents_are_kept_or_counted(tmp_path_factory, key, value):
    with suppress(UserError):
        of_format("scierc", written(tmp_path_factory.mktemp("damaged"), document(), document(**{key: value})))


@given(at=st.integers(0, 600), byte=st.binary(max_size=2))
def test_damaged_bytes_are_kept_or_counted(tmp_path_factory, at, byte):
    path = written(tmp_path_factory.mktemp("bytes"), document(), document())
    content = path.read_bytes()
    path.write_bytes(content[:at] + byte + content[at + 1 :])
    with suppress(UserError):
        of_format("scierc", path)
