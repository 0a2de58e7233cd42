"""Kinds of overlap of the triples of a sentence."""

from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.example import Triple
from mere_ds.corpus.overlaps import overlaps
from mere_ds.evaluation.triple_sets import Named

A, B, C, INSIDE = (0, 5), (6, 9), (10, 12), (1, 3)
ONE = Triple(A, "wrote", B)


def of_first(*triples: Triple) -> set[str]:
    """Of the first one, which must be the same whether triples know their tokens or not."""
    kinds = overlaps(triples)
    assert kinds == overlaps([Named(relation, head, tail, (0, 1), (2, 3)) for head, relation, tail in triples])
    return kinds[0]


def test_kinds_of_overlap():
    assert of_first(ONE) == of_first(ONE, ONE) == {"normal"}
    assert of_first(ONE, Triple(C, "made-of", (13, 14))) == {"normal"}
    assert of_first(ONE, Triple(A, "made-of", B)) == of_first(ONE, Triple(B, "wrote", A)) == {"same pair"}
    assert of_first(ONE, Triple(A, "wrote", C)) == {"same entity"}
    assert of_first(ONE, Triple(INSIDE, "wrote", C)) == {"nested"}
    assert of_first(Triple(A, "wrote", INSIDE)) == of_first(Triple(A, "wrote", (4, 7))) == {"nested"}
    assert of_first(Triple(A, "wrote", A)) == of_first(Triple(A, "wrote", (5, 7))) == {"normal"}
    assert of_first(Triple(A, "wrote", A), ONE) == of_first(ONE, Triple(A, "wrote", A)) == {"same entity"}
    many = (ONE, Triple(A, "x", B), Triple(B, "x", C), Triple(C, "x", INSIDE))
    assert of_first(*many) == {"same pair", "same entity", "nested"}
    assert overlaps([]) == []


def by_definition(triples, one) -> set[str]:
    own, kinds = {one.head, one.tail}, set()
    for other in triples:
        if other != one:
            its = {other.head, other.tail}
            kinds |= {"same pair"} if its == own else {"same entity"} if its & own else set()
    entities = {entity for triple in triples for entity in (triple.head, triple.tail)}
    if any(a != b and a[0] < b[1] and b[0] < a[1] for a in own for b in entities):
        kinds.add("nested")
    return kinds or {"normal"}


spans = st.tuples(st.integers(0, 12), st.integers(1, 5)).map(lambda pair: (pair[0], sum(pair)))


@given(st.lists(st.builds(Triple, spans, st.sampled_from("xy"), spans), max_size=8))
def test_kinds_are_those_of_the_definition(triples):
    assert overlaps(triples) == [by_definition(triples, one) for one in triples]
