"""Memory while files are read and written: that of a few units, however many there are."""

import json
import tracemalloc

import pytest

from mere_ds.bulk import reading
from tests.bulk.test_interruptions import OUTPUTS, make

AT_ONCE, UNITS = 128, 4


@pytest.mark.parametrize(("name", "to"), OUTPUTS)
def test_memory_does_not_grow_with_the_input(tmp_path, monkeypatch, name, to):
    monkeypatch.setattr(reading, "LINES_AT_ONCE", AT_ONCE)
    peaks = []
    for times in (1, 4):
        (folder := tmp_path / str(times)).mkdir()
        rows = (
            json.dumps({"id": n, "text": f"w{n} v{n % 7}", "more": "x" * 50}) + "\n"
            for n in range(times * UNITS * AT_ONCE)
        )
        (file := folder / "in.jsonl").write_text("".join(rows))
        if not peaks:
            make(file, folder / f"warm-{name}", to=to)  # loads what is loaded once
        tracemalloc.start()
        make(file, folder / name, to=to)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0], peaks
