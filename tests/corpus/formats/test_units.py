"""Offsets of other units, compared with Python's own encoders, and tokens."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mere_ds.corpus.formats.units import join_tokens, occurrences, span_of_tokens, to_code_points, units_differ

ODD = ["a", "é", "e\u0301", "\r\n", "\n", "🍵", "👩\u200d🔬", "🇳🇴", "กำ", "각", "\u0301", "\ud83c", "न", "\u200b"]
texts = st.lists(st.sampled_from(ODD) | st.characters(), max_size=12).map("".join)
ENCODERS = {"char": ("utf-32-le", 4), "utf16": ("utf-16-le", 2), "byte": ("utf-8", 1)}


@given(text=texts, unit=st.sampled_from(sorted(ENCODERS)))
@example(text="Zoë🍵 naïve", unit="utf16")
def test_offsets_are_those_of_pythons_encoders(text, unit):
    encoding, size = ENCODERS[unit]
    sizes = [len(text[:place].encode(encoding, "surrogatepass")) // size for place in range(len(text) + 1)]
    if any("\ud800" <= character <= "\udfff" for character in text) and unit == "utf16":
        sizes = [sum(1 + (character > "\uffff") for character in text[:place]) for place in range(len(text) + 1)]
    found = to_code_points(text, unit)
    assert [found(offset) for offset in sizes] == list(range(len(text) + 1))
    inside = set(range(-2, sizes[-1] + 3)) - set(sizes)
    assert all(found(offset) is None for offset in inside)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("ab", [0, 1, 2]),
        ("ae\u0301b", [0, 1, 3, 4]),
        ("a\r\nb", [0, 1, 3, 4]),
        ("a\n\rb", [0, 1, 2, 3, 4]),
        ("👩\u200d🔬!", [0, 3, 4]),
        ("🇳🇴🇳", [0, 2, 3]),
        ("", [0]),
    ],
)
def test_graphemes_keep_marks_and_crlf_together(text, places):
    found = to_code_points(text, "grapheme")
    assert [found(n) for n in range(len(places))] == places
    assert found(-1) is found(len(places)) is None


@pytest.mark.parametrize(
    ("text", "differ"),
    [("plain\n", False), ("Zoé", False), ("Zoe\u0301", True), ("a\r\nb", True), ("é\r\n", True), ("🍵", True)],
)
def test_whether_the_unit_matters(text, differ):
    assert units_differ(text) == differ


@given(texts)
def test_where_units_do_not_differ_all_of_them_give_the_same_place(text):
    if not units_differ(text):
        units = [to_code_points(text, unit) for unit in ("char", "utf16", "grapheme")]
        assert all({unit(place) for unit in units} == {place} for place in range(len(text) + 1))


@given(st.lists(st.text(max_size=4), max_size=6), st.sampled_from(["", " ", "\u3000 "]))
def test_tokens_stand_at_their_spans(tokens, blank):
    text, spans = join_tokens(tokens, blank)
    assert [text[slice(*span)] for span in spans] == tokens and text == blank.join(tokens)


def test_spans_of_tokens_are_none_where_there_are_no_such_tokens():
    spans = [(0, 1), (2, 4), (5, 9)]
    assert span_of_tokens(spans, 1, 3) == (2, 9) and span_of_tokens(spans, 0, 1) == (0, 1)
    outside = [(-1, 1), (0, 0), (2, 1), (0, 4), (3, 4), (0, 10**400), (-(10**400), 1)]
    assert [span_of_tokens(spans, first, end) for first, end in outside] == [None] * len(outside)
    assert span_of_tokens([], 0, 1) is None


@pytest.mark.parametrize(
    ("text", "surface", "found"),
    [
        ("Art or art, Arto, start: art", "art", [7, 25]),
        ("art", "art", [0]),
        ("aa aa", "aa", [0, 3]),
        ("a.a.a", "a.a", [0, 2]),
        ("C++ and C", "C", [0, 8]),
        ("(art)", "(art)", [0]),
        ("x1 1x 1", "1", [6]),
        ("any", "", []),
        ("", "a", []),
    ],
)
def test_where_a_surface_stands_without_cutting_a_word(text, surface, found):
    assert list(occurrences(text, surface)) == [(at, at + len(surface)) for at in found]
