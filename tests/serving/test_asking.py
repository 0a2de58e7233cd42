"""Requests as bytes -> texts, languages and limits, or one line that says what is wrong."""

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mere_ds.serving.asking import Reader, Refused

READER = Reader(("de", "ko", "pt-BR"), max_text=20, max_texts=3, documents=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda its: (
        st.lists(its, max_size=3) | st.dictionaries(st.text() | st.sampled_from(["text", "lang"]), its, max_size=4)
    ),
    max_leaves=8,
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(max_size=25) | JSON,
        "document": st.text(max_size=25) | JSON,
        "texts": st.lists(st.text(max_size=25) | JSON | st.fixed_dictionaries({"text": st.text(), "lang": JSON}))
        | JSON,
        "lang": st.sampled_from(["de", "KO", "pt_br", "xx"]) | JSON,
        "min_score": st.floats() | JSON,
        "max_triples": st.integers() | JSON,
    },
)


def question(content):
    return READER.question(json.dumps(content).encode())


def refusal(content: object) -> Refused:
    with pytest.raises(Refused) as refused:
        READER.question(content if isinstance(content, bytes) else json.dumps(content).encode())
    assert refused.value.message.isprintable()
    return refused.value


def test_one_text_and_many():
    one = question({"text": "a b", "lang": "KO", "min_score": 0, "max_triples": 2})
    assert (one.texts, one.languages, one.limits, one.is_one) == (["a b"], ["ko"], (0.0, 2), True)
    many = question({"texts": ["a", {"text": "b", "lang": "pt_br"}, {"text": "c"}], "lang": "de"})
    assert (many.texts, many.languages, many.is_one) == (["a", "b", "c"], ["de", "pt-BR", "de"], False)
    assert question({"texts": [{"text": "b", "lang": "de"}]}).limits == (None, None)
    assert question({"texts": []}).texts == []
    assert not one.is_document and not many.is_document
    whole = question({"document": "a. b.", "lang": "de", "max_triples": 2})
    assert (whole.texts, whole.languages, whole.limits) == (["a. b."], ["de"], (None, 2))
    assert whole.is_one and whole.is_document


def test_documents_are_refused_where_they_cannot_be_cut():
    with pytest.raises(Refused, match=r"sentencex .* pip install 'mere-ds\[documents\]'") as refused:
        replace(READER, documents=False).question(b'{"document": "a", "lang": "de"}')
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "not JSON"),
        (b'{"text":', 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b"1" * 5000, 400, "not JSON"),
        (b'{"text": "a", "text": "b"}', 400, "'text' occurs twice"),
        (b'{"text": "a", "lang": "de", "min_score": NaN}', 400, "NaN"),
        (b'{"text": "\\ud800", "lang": "de"}', 422, "surrogate"),
        ([], 422, "the request must be a JSON object"),
        ({"lang": "de"}, 422, 'pass one of "text" (a text), "texts" (a list) and "document"'),
        ({"text": "a", "texts": ["b"], "lang": "de"}, 422, "pass one of"),
        ({"text": "a", "document": "b", "lang": "de"}, 422, "pass one of"),
        ({"document": "a"}, 422, '"document" has no language: pass "lang"'),
        ({"document": ["a"], "lang": "de"}, 422, '"document" must be a string'),
        ({"document": "a" * 21, "lang": "de"}, 413, '"document" has 21 characters: send at most 20'),
        ({"text": "a"}, 422, 'no language: pass "lang", one of de, ko, pt-BR'),
        ({"text": "a", "lang": "xx"}, 422, '"xx", which this model doesn\'t know: pass one of de, ko, pt-BR'),
        ({"texts": ["a", {"text": "b", "lang": "xx"}], "lang": "de"}, 422, '"lang" of text 2'),
        ({"texts": ["a", 7], "lang": "de"}, 422, "text 2 must be a string"),
        ({"texts": [{"lang": "de"}]}, 422, 'text 1 has no "text"'),
        ({"texts": [{"text": "a", "language": "de"}]}, 422, 'unknown field "language"'),
        ({"texts": "a", "lang": "de"}, 422, '"texts" must be a list'),
        ({"text": "a", "lang": "de", "file": "/etc/passwd"}, 422, 'unknown field "file"'),
        ({"text": "a", "lang": ["de"]}, 422, '"lang" must be a string'),
        ({"text": "a", "lang": "de", "min_score": 2}, 422, "from 0 to 1"),
        ({"text": "a", "lang": "de", "min_score": True}, 422, "from 0 to 1"),
        ({"text": "a", "lang": "de", "max_triples": 0}, 422, "at least 1"),
        ({"text": "a", "lang": "de", "max_triples": 1.5}, 422, "whole number"),
        ({"text": "a" * 21, "lang": "de"}, 413, "has 21 characters: send at most 20"),
        ({"texts": ["a"] * 4, "lang": "de"}, 413, "4 texts: send at most 3"),
    ],
)
def test_what_is_wrong_is_said(content, status, said):
    refused = refusal(content)
    assert refused.status == status and said in refused.message


@given(st.binary(max_size=100) | (JSON | NEARLY).map(lambda its: json.dumps(its).encode()))
@example(b'{"text": "a", "lang": "de", "max_triples": 1e400}')
def test_any_request_is_read_whole_or_refused_in_one_line(content):
    try:
        its = READER.question(content)
    except Refused as refused:
        assert refused.status in (400, 413, 422)
        assert refused.message.isprintable() and "Traceback" not in refused.message
        return
    asked = json.loads(content)
    given = [asked["document" if its.is_document else "text"]] if its.is_one else asked["texts"]
    assert its.texts == [text["text"] if isinstance(text, dict) else text for text in given]
    assert set(its.languages) <= set(READER.languages) and len(its.languages) == len(its.texts)
    assert all(len(text) <= 20 for text in its.texts)
