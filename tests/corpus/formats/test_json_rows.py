"""JSON files of other tools: whatever they hold can be shown in the report of what was rejected."""

import json
import tracemalloc

import pytest

from mere_ds.corpus.formats.json_rows import json_files, json_rows, shown, whole_json
from mere_ds.corpus.formats.stated import Unreadable
from mere_ds.corpus.rows import MOST_ROW_BYTES
from mere_ds.errors import UserError
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


def test_lines_end_at_line_feeds_alone(tmp_path):
    odd = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    lines = [json.dumps({"text": odd, "n": n}, ensure_ascii=False) for n in (1, 2)]
    (tmp_path / "a.jsonl").write_bytes("\r\n".join(lines).encode())
    assert [(row.place, row.value["text"]) for row in json_rows(tmp_path / "a.jsonl")] == [(1, odd), (2, odd)]


def test_each_line_is_an_object_or_rejected_with_its_reason(tmp_path):
    lines = [b'\xef\xbb\xbf{"a": 1}', b"[1]", b"", b" \t", b'{"a": NaN}', b'{"a": "\xff"}', b"[" * 100_000]
    lines += [b'{"a": ' + b"1" * 5000 + b"}", b'{"b": 2}', b'{"a": "cut o']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    rows = list(json_rows(tmp_path / "a.jsonl"))
    reasons = [row.reason if isinstance(row, Unreadable) else row.value for row in rows]
    bad = ["invalid_json", "empty_row", "empty_row", "invalid_json", "invalid_utf8", "invalid_json", "invalid_json"]
    assert reasons == [{"a": 1}, *bad, {"b": 2}, "cut_row"]
    assert [row.place for row in rows] == list(range(1, len(lines) + 1))
    assert sum(row.size for row in rows) == (tmp_path / "a.jsonl").stat().st_size


def test_an_object_with_a_key_twice_is_none(tmp_path):
    """Python would take the last value: relations that the first one has would be lost without a word."""
    rows = ['{"a": [1], "a": []}', '{"a": [{"b": 1, "b": 2}]}', '{"a": 3}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "a.json").write_text(f"[{', '.join(rows)}]")
    for name in ("a.jsonl", "a.json"):
        first, inner, last = json_rows(tmp_path / name)
        assert first.reason == "invalid_json" and "[1]" in first.raw
        assert not isinstance(inner.value["a"][0], dict) and "twice" in str(inner.value["a"][0])
        assert last.value == {"a": 3}


def test_a_line_that_is_too_long_is_rejected_in_bounded_memory(tmp_path):
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(b'{"a": 1}\n{"a": "')
        for _ in range(40):
            file.write(b"x" * MOST_ROW_BYTES)
        file.write(b'"}\n{"a": 2}\n')
    tracemalloc.start()
    first, long, last = json_rows(tmp_path / "a.jsonl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (first.value, last.value, last.place) == ({"a": 1}, {"a": 2}, 3)
    assert long.reason == "too_long_line" and len(long.raw) < 5000 and long.size > 40 * MOST_ROW_BYTES
    assert peak < 8 * MOST_ROW_BYTES


@pytest.mark.parametrize(
    "content", [b"", b"text\tlabel\n", b'"a"\n', b'{\n"a": 1\n}\n', b"[{}, ", b"[1] [2]", b"[\xff]"]
)
def test_a_file_of_another_kind_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: (must be JSON lines|is not valid JSON)"):
        list(json_rows(tmp_path / "a.json"))


def test_what_is_nested_too_deep_is_an_error_or_shown_as_that(tmp_path):
    (tmp_path / "a.json").write_bytes(b"[" * 100_000)
    with pytest.raises(UserError, match="is not valid JSON"):
        whole_json(tmp_path / "a.json")
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "nested too deep to be shown"
    assert len(shown(["x" * 10_000])) < 5000


def test_a_table_of_names_is_no_data_of_a_folder_unless_it_is_asked_for(tmp_path):
    contents = {
        "a.json": [{"text": "a"}],
        "b.jsonl": {"text": "b", "relations": []},
        "c.jsonl": {"input": "c", "output": {"relations": []}},
        "descriptions.json": {"P1": ["country", "a long description"]},
        "names.json": {"P1": "country"},
        "types.json": {"entities": {"Loc": {"short": "L"}}},
        "c.txt": {},
        ".hidden.json": [],
    }
    for name, value in contents.items():
        (tmp_path / name).write_text(json.dumps(value))
    assert [path.name for path in json_files(tmp_path)] == ["a.json", "b.jsonl", "c.jsonl"]
    assert list(json_files(tmp_path / "names.json")) == [tmp_path / "names.json"]
