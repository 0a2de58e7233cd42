"""JSON files of other tools: whatever they hold can be shown in the report of what was rejected."""

import json

from mere_ds.corpus.formats.json_rows import json_rows, shown
from mere_ds.corpus.formats.stated import Unreadable
from mere_ds.files import json_line


def test_half_a_surrogate_pair_is_shown_as_its_escape():
    assert json_line({"raw": shown(["a\ud800", "é"])}) == b'{"raw": "[\\"a\\\\ud800\\", \\"\xc3\xa9\\"]"}\n'


def test_items_of_an_array_that_are_no_objects_are_rejected_one_by_one(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"a": 1}, "\ud800", [[]]]), encoding="utf-8")
    first, *others = json_rows(tmp_path / "a.json")
    assert first.value == {"a": 1}
    assert [(type(row), row.place, row.reason, row.raw) for row in others] == [
        (Unreadable, 2, "invalid_json", '"\\ud800"'),
        (Unreadable, 3, "invalid_json", "[[]]"),
    ]
    assert sum(row.size for row in [first, *others]) == (tmp_path / "a.json").stat().st_size
