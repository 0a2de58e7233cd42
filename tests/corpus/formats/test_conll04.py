"""CoNLL04's three shapes of JSON: keys and contents tell them apart, and their ends."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.conll04 import spans_of_tags
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import recognised
from mere_ds.errors import UserError
from tests.corpus.formats.reading import convert, of_format

TOKENS = ["Ada", "Vik", "founded", "Polar", "Tea", "-LRB-", "in", "Oslo"]
EXPECTED = [("Ada Vik", "Work_For", "Polar Tea"), ("Polar Tea", "OrgBased_In", "Oslo")]


def by_number(**more):
    """The shape of SpERT; the last entity ends with the last token."""
    return {
        "tokens": TOKENS,
        "entities": [{"type": "Peop", "start": 0, "end": 2}, {"type": "Org", "start": 3, "end": 5}]
        + [{"type": "Loc", "start": 7, "end": 8}],
        "relations": [{"type": "Work_For", "head": 0, "tail": 1}, {"type": "OrgBased_In", "head": 1, "tail": 2}],
        "orig_id": 51,
    } | more


def by_tags(**more):
    """The shape of TablERT."""
    row = by_number() | {"tags": ["B-Peop", "L-Peop", "O", "B-Org", "L-Org", "O", "O", "U-Loc"]} | more
    del row["entities"]
    return row


def by_start(**more):
    """The third shape; the last entity has one token."""
    entities = [{"label": "Peop", "start": 0, "end": 1}, {"label": "Org", "start": 3, "end": 4}]
    return {
        "doc_key": "#doc 51",
        "tokens": TOKENS,
        "entities": [*entities, {"label": "Loc", "start": 7, "end": 7}],
        "relations": [{"label": "Work_For", "subj": 0, "obj": 3}, {"label": "OrgBased_In", "subj": 3, "obj": 7}],
    } | more


SHAPES = {"by_number": by_number, "by_tags": by_tags, "by_start": by_start}


def written(folder, *rows, lines=False):
    path = folder / "any.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lines", [True, False], ids=["lines", "array"])
def test_each_shape_gives_the_same_triples_whatever_the_name_of_the_file(tmp_path, shape, lines):
    path = written(tmp_path, SHAPES[shape](), SHAPES[shape](tokens=TOKENS, relations=[]), lines=lines)
    assert list(recognised(path)) == ["conll04"]
    result = convert(path)
    assert result.triples == [EXPECTED, []] and not result.rejects
    assert result.examples[0].text == " ".join(TOKENS)
    assert result.examples[0].id == ("#doc 51" if shape == "by_start" else "51")


def test_each_file_of_a_folder_may_have_its_own_shape(tmp_path):
    for name, shape in SHAPES.items():
        written(tmp_path, shape()).rename(tmp_path / f"{name}.json")
    corpus = open_corpus(tmp_path, options=SourceOptions(split="train", lang="de"))
    triples = [example.triples for file in corpus.files for example in corpus.read(file)]
    assert len(triples) == 3 and len(set(triples)) == 1 and len(triples[0]) == 2


def test_a_file_with_two_shapes_is_an_error_that_names_both(tmp_path):
    both = by_number(tags=by_tags()["tags"])
    for rows in ([by_number(), by_tags()], [both]):
        with pytest.raises(
            UserError, match=r"has (BILOU tags|entities) \(row \d\) and (BILOU tags|entities) \(row \d\)"
        ):
            convert(written(tmp_path, *rows))


MIXED = [{"type": "Peop", "start": 0, "end": 2}, {"type": "Loc", "start": 4, "end": 5}]
STARTS = [{"label": "Work_For", "subj": 0, "obj": 4}]


def test_ends_that_may_be_meant_in_two_ways_are_asked_for(tmp_path):
    single = by_number(entities=[{"type": "Peop", "start": 0, "end": 0}, *MIXED], relations=by_number()["relations"])
    with pytest.raises(
        UserError, match=r"--end=exclusive, as the keys.*--end=inclusive, as row 2 has an entity from 0 to 0"
    ):
        convert(written(tmp_path, by_number(), single))
    over = by_start(entities=[{"label": "Peop", "start": 6, "end": 8}])
    with pytest.raises(
        UserError, match=r"--end=exclusive, as row 1 has 8 tokens and an entity that ends at 8; --end=incl"
    ):
        convert(written(tmp_path, over, by_start()))
    with pytest.raises(UserError, match="nothing shows whether entities' ends are exclusive or inclusive: pass --end"):
        convert(written(tmp_path, by_number(entities=MIXED, relations=STARTS)))


def test_end_answers_where_nothing_else_does_and_spans_that_it_makes_impossible_are_counted(tmp_path):
    path = written(tmp_path, by_number(entities=MIXED, relations=STARTS))
    assert convert(path, end="exclusive").triples == [[("Ada Vik", "Work_For", "Tea")]]
    assert convert(path, end="inclusive").triples == [[("Ada Vik founded", "Work_For", "Tea -LRB-")]]
    assert convert(written(tmp_path, by_number()), end="inclusive").counts.left_out == {"span_out_of_text": 1}
    assert convert(written(tmp_path, by_start()), end="exclusive").counts.left_out == {"empty_span": 1}


def test_single_tokens_alone_show_that_ends_are_inclusive(tmp_path):
    entities = [{"type": "Peop", "start": 0, "end": 0}, {"type": "Org", "start": 3, "end": 4}]
    row = by_number(entities=entities, relations=[{"label": "Work_For", "subj": 0, "obj": 3}])
    assert convert(written(tmp_path, row)).triples == [[("Ada", "Work_For", "Polar Tea")]]


def test_a_file_without_entities_needs_no_answer(tmp_path):
    assert convert(written(tmp_path, by_number(entities=[], relations=[]))).triples == [[]]


def test_both_directions_self_relations_and_doubles(tmp_path):
    relations = [{"type": "x", "head": a, "tail": b} for a, b in ((0, 1), (1, 0), (2, 2), (0, 1))]
    result = convert(written(tmp_path, by_number(relations=relations)))
    assert result.triples == [[("Ada Vik", "x", "Polar Tea"), ("Polar Tea", "x", "Ada Vik"), ("Oslo", "x", "Oslo")]]
    assert result.counts.left_out == {"double_triple": 1} and result.counts.notes == {"self_relation": 1}


def test_two_entities_that_start_with_the_named_token_are_not_chosen_between(tmp_path):
    entities = by_start()["entities"]
    longer, again = {"label": "Org", "start": 3, "end": 5}, {"label": "Misc", "start": 3, "end": 4}
    result = convert(written(tmp_path, by_start(entities=[*entities, longer]), by_start(entities=[*entities, again])))
    assert result.triples == [[], EXPECTED] and result.counts.left_out == {"same_start": 2}


@pytest.mark.parametrize(
    ("relation", "reason"),
    [
        ({"type": "x", "head": 0, "tail": 3}, "unknown_entity"),
        ({"type": "x", "head": -1, "tail": 0}, "unknown_entity"),
        ({"type": "x", "head": 10**30, "tail": 0}, "unknown_entity"),
        ({"type": "x", "head": True, "tail": 0}, "wrong_keys"),
        ({"type": "x", "head": "0", "tail": 1}, "wrong_keys"),
        ({"type": "x", "head": 0.0, "tail": 1}, "wrong_keys"),
        ({"type": None, "head": 0, "tail": 1}, "wrong_keys"),
        ({"type": "", "head": 0, "tail": 1}, "empty_label"),
        ({"type": "x", "label": "x", "head": 0, "tail": 1, "subj": 0, "obj": 3}, "wrong_keys"),
        ({"type": "x"}, "wrong_keys"),
        ([0, 1, "x"], "wrong_keys"),
        (None, "wrong_keys"),
    ],
)
def test_relations_that_can_not_be_read_are_counted_and_the_others_kept(tmp_path, relation, reason):
    result = convert(written(tmp_path, by_number(relations=[by_number()["relations"][0], relation])))
    assert result.triples == [EXPECTED[:1]] and result.counts.left_out == {reason: 1}


@pytest.mark.parametrize(
    ("entity", "reason"),
    [
        ({"type": "Peop", "start": -1, "end": 2}, "span_out_of_text"),
        ({"type": "Peop", "start": 2, "end": 1}, "span_out_of_text"),
        ({"type": "Peop", "start": 0, "end": 9}, "span_out_of_text"),
        ({"type": "Peop", "start": False, "end": 2}, "wrong_keys"),
        ({"type": "Peop", "end": 2}, "wrong_keys"),
        ("Ada Vik", "wrong_keys"),
    ],
)
def test_a_wrong_entity_keeps_its_number_and_loses_its_relations_alone(tmp_path, entity, reason):
    result = convert(written(tmp_path, by_number(entities=[entity, *by_number()["entities"][1:]])))
    assert result.triples == [EXPECTED[1:]] and result.counts.left_out == {reason: 1}


def test_an_empty_token_keeps_its_place_and_is_no_argument(tmp_path):
    tokens = ["", *TOKENS[1:]]
    entities = [{"type": "Peop", "start": 0, "end": 1}, *by_number()["entities"][1:]]
    result = convert(written(tmp_path, by_number(tokens=tokens, entities=entities)))
    assert result.triples == [EXPECTED[1:]] and result.counts.left_out == {"empty_span": 1}


@pytest.mark.parametrize(
    "tags",
    ["B O", "B B L", "B U", "I L", "L", "B-a L-b", "B-a I-b L-a", "X", "", "S-a", "B-", "O O O O"],
)
def test_tags_that_spell_no_spans_are_refused_as_later_numbers_would_shift(tags):
    named = [tag if "-" in tag or tag == "O" or len(tag) != 1 else f"{tag}-a" for tag in tags.split(" ")]
    assert spans_of_tags(named, 3 if tags == "O O O O" else len(named)) is None


def test_tags_spell_spans_in_the_order_of_the_text():
    assert spans_of_tags(["U-a", "O", "B-b-c", "I-b-c", "L-b-c", "U-b-c"], 6) == [(0, 1), (2, 5), (5, 6)]
    assert spans_of_tags([], 0) == [] and spans_of_tags(["O", 7], 2) is None and spans_of_tags(None, 0) is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (by_tags(tags=["B-Peop"] * 8), "invalid_tags"),
        (by_tags(tags=["O"]), "invalid_tags"),
        (by_tags(tags=[1]), "wrong_keys"),
        (by_tags(tags=None), "wrong_keys"),
        (by_tags(tokens="Ada Vik"), "wrong_keys"),
        (by_tags(tokens=["Ada", 7]), "wrong_keys"),
        (by_tags(tokens=[" "] * 8), "empty_text"),
    ],
)
def test_rows_that_can_not_be_read_are_rejected_with_their_relations(tmp_path, row, reason):
    result = convert(written(tmp_path, by_tags(), row))
    assert result.reasons == [(2, reason)] and result.counts.left_out == {reason: 2}


def test_tables_of_names_beside_the_data_are_no_part_of_it(tmp_path):
    written(tmp_path, by_start())
    (tmp_path / "rel_label.json").write_text('{"no_relation": 0, "Work_For": 1}')
    (tmp_path / "types.json").write_text(json.dumps({"entities": {"Loc": {"short": "L"}}}, indent=1))
    result = convert(tmp_path)
    assert result.triples == [EXPECTED]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["x", "", "B-a", "O", 10**40, 0.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["start", "end", "type"]), inner),
    max_leaves=4,
)


@given(data=st.data(), shape=st.sampled_from(list(SHAPES)))
def test_damaged_rows_are_kept_or_counted(tmp_path_factory, data, shape):
    row = SHAPES[shape]()
    for _ in range(data.draw(st.integers(1, 2))):
        key = data.draw(st.sampled_from(sorted(row)))
        if isinstance(row[key], list) and row[key] and data.draw(st.booleans()):
            place = data.draw(st.integers(0, len(row[key]) - 1))
            item = row[key][place]
            changed = (
                item | {data.draw(st.sampled_from(sorted(item))): data.draw(VALUES)}
                if item and isinstance(item, dict)
                else ...
            )
            row[key] = [*row[key][:place], data.draw(VALUES) if changed is ... else changed, *row[key][place + 1 :]]
        else:
            row[key] = data.draw(VALUES)
    with suppress(UserError):
        of_format("conll04", written(tmp_path_factory.mktemp("damaged"), SHAPES[shape](), row))


@given(cut=st.integers(0, 600), byte=st.binary(max_size=2))
def test_damaged_bytes_are_kept_or_counted(tmp_path_factory, cut, byte):
    path = written(tmp_path_factory.mktemp("bytes"), by_number(), by_number(), lines=True)
    content = path.read_bytes()
    path.write_bytes(content[:cut] + byte + content[cut + 1 :])
    with suppress(UserError):
        of_format("conll04", path)
