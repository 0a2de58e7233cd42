"""CrossRE and Multi-CrossRE: inclusive ends of tokens, exclusive ends of their characters, texts without blanks."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.formats.registry import recognised
from mere_ds.errors import UserError
from tests.corpus.formats.reading import convert, of_format

TOKENS = ["Ada", "Vik", "runs", "Polar", "Tea", "in", "Oslo"]
RUNS, IN = [0, 1, 3, 4, "role", "", False, False], [3, 4, 6, 6, "physical", "a city", True, True]
EXPECTED = [("Ada Vik", "role", "Polar Tea"), ("Polar Tea", "physical", "Oslo")]


def plain(*relations, **changes):
    ner = [[0, 1, "person"], [3, 4, "organisation"], [6, 6, "location"]]
    return {"doc_key": "ai-dev-3", "sentence": TOKENS, "ner": ner, "relations": list(relations)} | changes


WORDS = ["🍵", "极地", "茶", "在", "奥 斯陆", "由", "阿达", "·", "维克", "经营", "。"]
DETOKENIZED = "🍵极地茶在奥 斯陆由阿达·维克经营。"


def places(words, text):
    """Characters of the words in a text, ends exclusive."""
    found, at = [], 0
    for word in words:
        at = text.index(word, at)
        found.append([at, at + len(word)])
        at += len(word)
    return found


def translated(*relations, **changes):
    own = {"sentence": WORDS, "sentence-detokenized": DETOKENIZED, "token2charspan": places(WORDS, DETOKENIZED)}
    own |= {"ner_mapping_to_source": [], "relations_mapping_to_source": []}
    return plain(*relations, **own, ner=[[0, 2, "organisation"], [6, 8, "person"]]) | changes


def written(folder, *rows):
    path = folder / "any.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_ends_of_entities_are_inclusive_and_indices_are_of_the_sentence(tmp_path):
    path = written(tmp_path, plain(), plain(RUNS, IN))
    assert list(recognised(path)) == ["crossre"]
    result = convert(path)
    assert result.triples == [[], EXPECTED] and not result.rejects
    assert [(e.id, e.text) for e in result.examples] == [(f"ai-dev-3-{n}", " ".join(TOKENS)) for n in (1, 2)]


def test_translations_are_read_in_their_own_text_with_their_own_places(tmp_path):
    relations = [[6, 8, 0, 2, "role"], [1, 2, 4, 4, "physical"]]
    path = written(tmp_path, translated(*relations))
    assert list(recognised(path)) == ["crossre"]
    result = convert(path)
    assert result.examples[0].text == DETOKENIZED
    assert result.triples == [[("阿达·维克", "role", "🍵极地茶"), ("极地茶", "physical", "奥 斯陆")]]


def test_self_relations_overlaps_and_several_labels_are_kept_and_doubles_counted(tmp_path):
    inner = [4, 4, 3, 4, "part-of"]
    relations = [RUNS, [*RUNS[:4], "named", "", False, False], [3, 4, 0, 1, "role"], [6, 6, 6, 6, "same"], inner, RUNS]
    result = convert(written(tmp_path, plain(*relations)))
    assert result.triples == [
        [EXPECTED[0], ("Ada Vik", "named", "Polar Tea"), ("Polar Tea", "role", "Ada Vik"), ("Oslo", "same", "Oslo")]
        + [("Tea", "part-of", "Polar Tea")]
    ]
    assert result.counts.left_out == {"double_triple": 1} and result.counts.notes == {"self_relation": 1}


@pytest.mark.parametrize(
    ("relation", "reason"),
    [
        ([0, 1, 3, 7, "x"], "span_out_of_text"),
        ([-1, 1, 3, 4, "x"], "span_out_of_text"),
        ([-2, -1, 3, 4, "x"], "span_out_of_text"),
        ([1, 0, 3, 4, "x"], "span_out_of_text"),
        ([10**400, 10**400, 3, 4, "x"], "span_out_of_text"),
        ([False, True, 3, 4, "x"], "wrong_keys"),
        (["0", "1", "3", "4", "x"], "wrong_keys"),
        ([0.0, 1.0, 3.0, 4.0, "x"], "wrong_keys"),
        ([0, 1, 3, 4, None], "wrong_keys"),
        ([0, 1, 3, 4, ""], "empty_label"),
        ([0, 1, 3, 4], "wrong_keys"),
        ({"label": "x"}, "wrong_keys"),
        ("01345", "wrong_keys"),
    ],
)
def test_relations_that_can_not_be_read_are_counted_and_the_others_kept(tmp_path, relation, reason):
    result = convert(written(tmp_path, plain(IN, relation)))
    assert result.triples == [EXPECTED[1:]] and result.counts.left_out == {reason: 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ([0, 2], "surface_differs"),
        ([-1, 1], "span_out_of_text"),
        ([30, 40], "span_out_of_text"),
        ([5, 2], "span_out_of_text"),
        ([10**400, 10**401], "span_out_of_text"),
    ],
)
def test_places_of_tokens_that_are_not_theirs_lose_their_relations_alone(tmp_path, change, reason):
    spans = places(WORDS, DETOKENIZED)
    spans[4] = change
    result = convert(written(tmp_path, translated([1, 2, 4, 4, "x"], [6, 8, 0, 2, "y"], token2charspan=spans)))
    assert result.triples == [[("阿达·维克", "y", "🍵极地茶")]] and result.counts.left_out == {reason: 1}


@pytest.mark.parametrize(
    "row",
    [
        plain(RUNS, doc_key=3),
        plain(RUNS, sentence=" ".join(TOKENS)),
        plain(RUNS, sentence=["Ada", None]),
        translated(RUNS, token2charspan=places(WORDS, DETOKENIZED)[1:]),
        translated(RUNS, token2charspan=[[0, True]] * len(WORDS)),
        translated(RUNS, token2charspan=[["0", "1"]] * len(WORDS)),
        translated(RUNS, token2charspan=[[0]] * len(WORDS)),
        translated(RUNS, token2charspan=None),
        translated(RUNS, **{"sentence-detokenized": 7}),
    ],
)
def test_rows_that_can_not_be_read_are_rejected_with_their_relations(tmp_path, row):
    result = convert(written(tmp_path, plain(RUNS, IN), row))
    assert result.triples == [EXPECTED] and result.reasons == [(2, "wrong_keys")]
    assert result.counts.left_out == {"wrong_keys": 1}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12) | st.sampled_from(["x", "", 10**40, 0.5]),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(translated())), value=VALUES, relation=VALUES)
def test_damaged_rows_are_kept_or_counted(tmp_path_factory, key, value, relation):
    rows = [plain(RUNS, relation), translated([1, 2, 4, 4, "x"], **{key: value})]
    with suppress(UserError):
        of_format("crossre", written(tmp_path_factory.mktemp("damaged"), *rows))


@given(at=st.integers(0, 900), byte=st.binary(max_size=2))
def test_damaged_bytes_are_kept_or_counted(tmp_path_factory, at, byte):
    path = written(tmp_path_factory.mktemp("bytes"), plain(RUNS), translated([1, 2, 4, 4, "x"]))
    content = path.read_bytes()
    path.write_bytes(content[:at] + byte + content[at + 1 :])
    with suppress(UserError):
        of_format("crossre", path)
