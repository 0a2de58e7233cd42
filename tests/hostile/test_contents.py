"""Shards, checkpoints and answers whose digests hold and whose contents are wrong are refused in one line."""

from tests.hostile import contents

CASES = list(contents.cases())


def test_wrong_content(case, hold, record_property):
    verdict, wrong = hold(case)
    record_property("hostile", f"{case.kind}: {verdict}")
    assert verdict != "failed", wrong
