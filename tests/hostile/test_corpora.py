"""Odd corpora are read, rejected row by row, or refused in one line; no row is lost."""

from tests.hostile import corpora

CASES = list(corpora.cases())


def test_corpus(case, hold, record_property):
    verdict, wrong = hold(case)
    record_property("hostile", f"{case.kind}: {verdict}")
    assert verdict != "failed", wrong
