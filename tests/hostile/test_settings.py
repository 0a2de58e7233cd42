"""DeepSpeed settings that are odd train soundly or are refused in one line."""

from tests.hostile import settings
from tests.hostile.cases import ANSWERED

CASES = list(settings.cases())


def test_setting(case, hold, record_property):
    verdict, wrong = hold(case)
    record_property("hostile", f"{case.kind}: {verdict}")
    assert verdict != "failed", wrong


def test_what_the_settings_are_made_from_trains(hold):
    assert hold(settings.good()) == (ANSWERED, "")
