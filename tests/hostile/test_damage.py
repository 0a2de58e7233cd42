"""No damaged file of a run, of shards, of features or of a pretraining changes a result or gives a traceback."""

from tests.hostile import damage

CASES = list(damage.cases())


def test_damaged_file(case, hold, record_property):
    verdict, wrong = hold(case)
    record_property("hostile", f"{case.kind}: {verdict}")
    assert verdict != "failed", wrong
