"""Command lines end in an answer or in one line."""

import pytest

from tests.hostile import lines
from tests.hostile.cases import ANSWERED

CASES = list(lines.cases())


def test_command_line(case, hold, record_property):
    verdict, wrong = hold(case)
    record_property("hostile", f"{case.kind}: {verdict}")
    assert verdict != "failed", wrong


@pytest.mark.parametrize("command", lines.BASE)
def test_line_that_the_odd_ones_are_made_from_is_answered(command, hold):
    assert hold(lines.good(command)) == (ANSWERED, "")
