"""Spans of whole graphemes and the way between a text and its composed form, for text of any shape."""

import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.graphemes import BLANK, compose, trim, whole_graphemes

MARKS = "\u0301\u0323\u0308\u064b\u0651\u0670\u05b8\u093f\u094d\u302e\u20e3\ufe0f\u1160\u11a8"
LETTERS = "aéKÅ½ﬁعلשक김각ᄀ가ｶﾞ北🇩🇪👩👍🏽❤\u212b\u0958\uf900\u0600"
TEXT = st.text(
    st.sampled_from(MARKS + LETTERS + "\u200d\u200c\u200b\u200e\u061c\u2067\u2069\ufeff\u00ad \r\n"), max_size=20
)


def bounds(text: str) -> set[int]:
    return {0, *(found.end() for found in regex.finditer(r"\X", text))}


@st.composite
def texts_with_spans(draw):
    text = draw(TEXT)
    start = draw(st.integers(0, len(text)))
    return text, (start, draw(st.integers(start, len(text))))


@given(texts_with_spans())
def test_whole_graphemes_are_the_least_span_between_bounds(case):
    text, (start, end) = case
    expected = max(b for b in bounds(text) if b <= start), min(b for b in bounds(text) if b >= end)
    assert whole_graphemes(text, (start, end)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "\u1100\u1161\u11a8",
        "e\u0301",
        "ｶﾞ",
        "❤\ufe0f",
        "👩\u200d👩\u200d👧",
        "👍🏽",
        "🇩🇪",
        "1\ufe0f\u20e3",
        "ع\u064e\u0651",
        "שָ",
    ],
)
def test_what_is_seen_as_one_is_never_cut(text):
    around = f"x{text}y"
    for place in range(1, len(text)):
        assert whole_graphemes(around, (place + 1, place + 1)) == (1, len(text) + 1)


@given(texts_with_spans())
def test_trimming_takes_blanks_and_nothing_else(case):
    text, span = case
    start, end = trim(text, span)
    assert span[0] <= start <= end <= span[1]
    if text[slice(*span)].strip(BLANK):
        assert text[start] not in BLANK and text[end - 1] not in BLANK
        assert not (text[span[0] : start] + text[end : span[1]]).strip(BLANK)
    else:
        assert (start, end) == span


def test_what_counts_as_blank():
    zero_width = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
    directions = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    text = f" \t\u00a0\u3000{zero_width}علی{directions}\n"
    assert text[slice(*trim(text, (0, len(text))))] == "علی"


@given(texts_with_spans())
def test_there_and_back(case):
    text, span = case
    composed, alignment = compose(text)
    assert composed == unicodedata.normalize("NFC", text)
    start, end = alignment.to_composed(span)
    assert 0 <= start <= end <= len(composed)
    back = alignment.to_given((start, end))
    if span[0] < span[1]:
        assert back[0] <= span[0] and span[1] <= back[1], "nothing is lost"
        assert unicodedata.normalize("NFC", text[slice(*back)]) == composed[start:end]
    assert alignment.to_composed(back) == (start, end)
    if composed == text:
        assert (start, end) == span


def test_composing_never_joins_two_graphemes():
    """Of all of Unicode: what combines with a character before it is of its grapheme."""
    for character in map(chr, range(0x110000)):
        decomposition = unicodedata.decomposition(character)
        if decomposition and not decomposition.startswith("<"):
            assert regex.fullmatch(r"\X", unicodedata.normalize("NFD", character)), ascii(character)
        if unicodedata.combining(character):
            assert regex.fullmatch(r"\X", f"a{character}"), ascii(character)
