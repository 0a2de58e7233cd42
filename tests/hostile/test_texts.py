"""Each line of text gets one answer, whatever its bytes, or the line is named."""

from tests.hostile import texts

CASES = list(texts.cases())


def test_text(case, hold, record_property):
    verdict, wrong = hold(case)
    record_property("hostile", f"{case.kind}: {verdict}")
    assert verdict != "failed", wrong
