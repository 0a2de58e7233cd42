import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import recognised
from mere_ds.corpus.rows import Tally
from mere_ds.errors import UserError

TEXT = "🜚 Ada Vik runs Polar Tea in Oslo"
WORDS = [(0, 1), (2, 5), (6, 9), (10, 14), (15, 20), (21, 24), (25, 27), (28, 32)]
TOKENS = [{"text": TEXT[a:b], "start": a, "end": b, "id": i, "ws": True} for i, (a, b) in enumerate(WORDS)]
ADA = {"start": 2, "end": 9, "token_start": 1, "token_end": 2, "label": "PER"}
TEA = {"start": 15, "end": 24, "token_start": 4, "token_end": 5, "label": "ORG"}


def task(*relations, spans=(ADA, TEA), **more):
    value = {"text": TEXT, "tokens": TOKENS, "spans": list(spans), "relations": list(relations), "answer": "accept"}
    return value | more


def read(path, *tasks):
    """(triples as text of each kept row, its counts)."""
    path.write_text("".join(json.dumps(value) + "\n" for value in tasks), encoding="utf-8")
    return read_file(path)


def read_file(path):
    corpus = open_corpus(path, options=SourceOptions(format="prodigy", lang="en", split="train"))
    tally = Tally(corpus.files[0])
    kept = [
        [(e.text[slice(*head)], label, e.text[slice(*tail)]) for head, label, tail in e.triples]
        for e in corpus.read(corpus.files[0], tally=tally)
    ]
    [counts] = tally.counts
    assert counts.rows == counts.kept + sum(counts.rejected.values())
    return kept, counts


RUNS = {"head": 2, "child": 5, "head_span": ADA, "child_span": TEA, "label": "RUNS"}


@pytest.mark.parametrize(
    ("relation", "spans", "expected"),
    [
        (RUNS, [ADA, TEA], ("Ada Vik", "RUNS", "Polar Tea")),
        ({"head": 5, "child": 7, "label": "IN"}, [ADA, TEA], ("Polar Tea", "IN", "Oslo")),
        ({"head": 4, "child": 1, "label": "BY"}, [ADA, TEA], ("Polar Tea", "BY", "Ada Vik")),
        ({"head": 4, "child": 0, "label": "BY"}, [], ("Polar", "BY", "🜚")),
        ({"head": 1, "child": 7, "label": "IN"}, [{"token_start": 1, "token_end": 2}], ("Ada Vik", "IN", "Oslo")),
        ({"head": 1, "child": 7, "label": "IN"}, [{"start": 2, "end": 9}], ("Ada Vik", "IN", "Oslo")),
    ],
    ids=["spans", "span-or-token", "from-child-to-head", "tokens", "token-numbers-only", "characters-only"],
)
def test_ends_of_tokens_are_inclusive_and_ends_of_characters_exclusive(tmp_path, relation, spans, expected):
    kept, counts = read(tmp_path / "x.jsonl", task(relation, spans=spans))
    assert kept == [[expected]] and not counts.left_out


@pytest.mark.parametrize(
    ("relation", "reason"),
    [
        (RUNS | {"head_span": ADA | {"token_end": 1}}, "places_differ"),
        (RUNS | {"head_span": ADA | {"end": 10}}, "places_differ"),
        ({"head": 1, "child": 8, "label": "IN"}, "span_out_of_text"),
        ({"head": -1, "child": 2, "label": "IN"}, "span_out_of_text"),
        ({"head": True, "child": 2, "label": "IN"}, "wrong_keys"),
        ({"head": 1, "child": 2, "label": None}, "wrong_keys"),
        ({"head": 1, "child": 7, "label": " "}, "empty_label"),
        ({"head": 1, "label": "IN"}, "wrong_keys"),
        ("IN", "wrong_keys"),
    ],
)
def test_a_relation_that_points_nowhere_is_left_out_with_its_reason(tmp_path, relation, reason):
    kept, counts = read(tmp_path / "x.jsonl", task(RUNS, relation))
    assert kept == [[("Ada Vik", "RUNS", "Polar Tea")]] and counts.left_out == {reason: 1}


def test_a_token_in_two_spans_needs_a_span_of_the_relation(tmp_path):
    nested = {"start": 6, "end": 9, "token_start": 2, "token_end": 2, "label": "NAME"}
    plain = {"head": 2, "child": 7, "label": "IN"}
    kept, counts = read(tmp_path / "x.jsonl", task(plain, plain | {"head_span": nested}, spans=[ADA, nested]))
    assert kept == [[("Vik", "IN", "Oslo")]] and counts.left_out == {"several_spans": 1}


def test_a_token_that_differs_from_the_text_is_told(tmp_path):
    shifted = [token | {"start": token["start"] - 1, "end": token["end"] - 1} for token in TOKENS[1:]]
    kept, counts = read(tmp_path / "x.jsonl", task({"head": 1, "child": 3, "label": "IN"}, spans=[], tokens=shifted))
    assert kept == [[]] and counts.left_out == {"surface_differs": 1}


def test_only_accepted_texts_are_kept_and_the_others_are_counted(tmp_path):
    unanswered = task(RUNS)
    del unanswered["answer"]
    answers = ["accept", "reject", "ignore", "ignore", 7]
    kept, counts = read(tmp_path / "x.jsonl", *(task(RUNS, answer=answer) for answer in answers), unanswered)
    assert len(kept) == 2 and counts.notes == {"no_answer": 1}
    assert counts.rejected == {"answer_reject": 1, "answer_ignore": 2, "wrong_keys": 1}
    assert counts.left_out == counts.rejected  # each has one relation


def test_the_format_is_recognised(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(task(RUNS)))
    assert "prodigy" in recognised(tmp_path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(["text", "tokens", "spans", "relations", "answer"]),
    st.sampled_from([None, "head", "child", "head_span", "child_span", "label"]),
    values,
)
def test_a_damaged_value_rejects_its_row_or_its_relation(tmp_path_factory, key, inner, value):
    damaged = task(RUNS) | {key: value} if inner is None else task(RUNS | {inner: value})
    kept, counts = read(tmp_path_factory.mktemp("damaged") / "x.jsonl", task(RUNS), damaged)
    assert counts.rows == 2
    links = len(damaged["relations"]) if isinstance(damaged["relations"], list) else 0
    assert sum(map(len, kept)) + sum(counts.left_out.values()) == 1 + links


@given(st.data())
def test_damaged_bytes_give_an_error_for_the_user_or_counted_rows(tmp_path_factory, data):
    content = bytearray((json.dumps(task(RUNS)) + "\n").encode() * 2)
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.jsonl"
    path.write_bytes(content)
    with suppress(UserError):
        read_file(path)
