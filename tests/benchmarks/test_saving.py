"""What saving.py writes of its figures."""

import json

import pytest

from benchmarks.saving import MARKS, MEASURED, write_saving


@pytest.mark.parametrize("against", [True, False])
def test_ratios_are_of_turns_and_the_page_s_other_text_stays(tmp_path, against):
    before = {"before": [2.0, 4.0, 8.0]} if against else {}
    figures = {name: before | {"now": [1.0, 0.4, 0.2]} for name in MEASURED}
    page = tmp_path / "RESULTS.md"
    page.write_text(f"text\n\n{MARKS[0]}\nold\n\n{MARKS[1]}\n\nmore text\n")
    write_saving(figures, "a machine", 54_000_000, tmp_path)
    written = page.read_text()
    assert written.startswith("text\n") and written.endswith("more text\n") and "old" not in written
    row = "2.00 / 4.00 / 8.00 | 0.20 / 0.40 / 1.00 | 0.03 / 0.10 / 0.50" if against else " | 0.20 / 0.40 / 1.00 | "
    assert f"| s that training stands still | {row} |" in written and "54.0 M parameters" in written
    stall, _ = json.loads((tmp_path / "results.json").read_text())
    assert stall["name"] == "save/stall" and stall["value"] == [0.2, 0.4, 1.0]
    assert stall.get("to before") == ([0.025, 0.1, 0.5] if against else None)
