"""Odd JSON lines are read, rejected row by row, or refused in one line; no row is lost."""

from tests.hostile import json_lines

CASES = list(json_lines.cases())


def test_json_lines(case, hold, record_property):
    verdict, wrong = hold(case)
    record_property("hostile", f"{case.kind}: {verdict}")
    assert verdict != "failed", wrong
