"""Command lines end in an answer or in one line."""

from tests.hostile import lines

CASES = list(lines.cases())


def test_command_line(case, hold, record_property):
    verdict, wrong = hold(case)
    record_property("hostile", f"{case.kind}: {verdict}")
    assert verdict != "failed", wrong
