"""The beginning of a file, from which its format is recognised."""

import json

import pytest

from mere_ds.corpus.formats.samples import Sample

ONE, TWO = {"text": "a{}[", "n": [1]}, {"text": "b"}
LINES = json.dumps(ONE) + "\n" + json.dumps(TWO) + "\n"


def sample(folder, content):
    path = folder / "any"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Sample(path)


@pytest.mark.parametrize(
    ("content", "layout", "first"),
    [
        (LINES, "lines", ONE),
        ("\ufeff" + LINES.replace("\n", "\r\n"), "lines", ONE),
        ("\n \n" + LINES, "lines", ONE),
        (json.dumps(ONE), "lines", ONE),
        (LINES[5:], "lines", TWO),
        ("not JSON\n" + LINES, "lines", ONE),
        ('{"text": "cut off\n' + LINES, "lines", ONE),
        ("{" * 100_000 + "\n" + LINES, "lines", ONE),
        (b'{"text": "\xff\n' + LINES.encode(), "lines", ONE),
        (json.dumps(ONE) + json.dumps(TWO) + "\n", "object", ONE),
        (json.dumps(ONE, indent=1), "object", ONE),
        ('{\n"text": ', "object", {}),
        (json.dumps([ONE, TWO]), "array", ONE),
        (" [\n" + json.dumps(ONE, indent=1) + ",\n", "array", ONE),
        ("[", "array", {}),
        ("[7, 8]", "array", {}),
        ("text\tlabel\n", None, {}),
        ("", None, {}),
        ("7\n", None, {}),
    ],
)
def test_how_a_file_of_json_is_laid_out_and_its_first_object(tmp_path, content, layout, first):
    its = sample(tmp_path, content)
    assert (its.json, its.first) == (layout, first)
    assert its.has(*first) and not its.has("other")


def test_a_first_line_that_is_longer_than_what_is_looked_at_is_a_line(tmp_path):
    long = json.dumps({"text": "x" * 300_000})
    its = sample(tmp_path, f"{long}\n{LINES}")
    assert (its.json, its.first, its.is_one_value) == ("lines", {}, False)
    assert len(its.head) < len(long) and its.lines == [its.text]


def test_only_whole_lines_and_letters_of_a_long_file_are_looked_at(tmp_path):
    for start in ("", "a", "aa", "aaa", "\ufeff"):
        its = sample(tmp_path, start + "é🍵\n" * 100_000)
        assert "\ufffd" not in its.text and set(its.lines[1:]) == {"é🍵"}


def test_a_short_file_of_one_value_is_told(tmp_path):
    assert sample(tmp_path, json.dumps(ONE, indent=1) + "\n").is_one_value
    assert not sample(tmp_path, LINES).is_one_value


def test_of_a_folder_only_its_path_is_looked_at(tmp_path):
    its = Sample(tmp_path)
    assert (its.head, its.json, its.first) == (b"", None, {})
