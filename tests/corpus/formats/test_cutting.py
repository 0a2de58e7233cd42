"""Documents are cut where their sentences end, but never through a relation."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.example import Triple
from mere_ds.corpus.formats.cutting import bounds_of, pieces_of
from mere_ds.corpus.graphemes import BLANK, trim

LETTERS = "ab \n\u200b."


@st.composite
def documents(draw):
    """A text, triples of trimmed spans, and places where it may be cut."""
    text = draw(st.text(LETTERS, min_size=1, max_size=40))
    words = sorted({trim(text, (a, b)) for a in range(len(text)) for b in (a + 1, a + 3) if b <= len(text)})
    words = [span for span in words if text[slice(*span)].strip(BLANK)]
    spans = st.sampled_from(words) if words else st.nothing()
    triples = draw(st.lists(st.builds(Triple, spans, st.sampled_from("xy"), spans), max_size=5)) if words else []
    bounds = draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
    return text, list(dict.fromkeys(triples)), bounds


@given(documents())
def test_every_triple_is_in_one_piece_and_nothing_but_blanks_is_left_out(document):
    text, triples, bounds = document
    pieces = list(pieces_of(text, triples, bounds))
    moved = [
        Triple((a + start, b + start), label, (c + start, d + start))
        for (start, _), its in pieces
        for (a, b), label, (c, d) in its
    ]
    assert sorted(moved) == sorted(triples)
    for (start, end), its in pieces:
        piece = text[start:end]
        assert piece and piece == piece.strip(BLANK)
        assert all(0 <= a < b <= len(piece) for (a, b) in [span for head, _, tail in its for span in (head, tail)])
    assert all(before[1] <= after[0] for (before, _), (after, _) in pairwise(pieces))
    kept = [text[start:end] for (start, end), _ in pieces]
    assert "".join("".join(kept).split()).replace("\u200b", "") == "".join(text.split()).replace("\u200b", "")


@given(documents())
def test_pieces_end_at_all_bounds_that_no_relation_spans(document):
    text, triples, bounds = document
    pieces = [span for span, _ in pieces_of(text, triples, bounds)]
    for bound in bounds:
        ends = [(min(head[0], tail[0]), max(head[1], tail[1])) for head, _, tail in triples]
        cuts = any(start < bound < end for start, end in ends)
        inside = any(start < bound < end for start, end in pieces)
        assert not inside or cuts


def test_pieces_of_a_text_in_order_with_their_triples():
    text = "One. Two \n\n Three. Four. Five."
    across = Triple((18, 22), "x", (12, 17))
    inside = Triple((5, 8), "y", (5, 8))
    assert [text[18:22], text[12:17], text[5:8]] == [" Fou", "Three", "Two"]
    pieces = list(pieces_of(text, [across, inside], [4, 9, 10, 11, 18, 24, 30]))
    assert [text[start:end] for (start, end), _ in pieces] == ["One.", "Two", "Three. Four.", "Five."]
    assert [its for _, its in pieces] == [[], [Triple((0, 3), "y", (0, 3))], [Triple((6, 10), "x", (0, 5))], []]


def test_texts_may_be_cut_at_their_lines_and_sentences():
    text = "A b. C d.\nE\r\n\nf"
    assert bounds_of(text, "de", lambda language, part: [4, len(part)]) == [4, 10, 13, 14, 15]


def test_a_text_of_blanks_has_no_piece():
    assert list(pieces_of(" \n\u200b", [], [1, 2])) == [] and list(pieces_of("", [], [])) == []
