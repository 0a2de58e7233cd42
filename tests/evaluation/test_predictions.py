"""The JSON lines on disk."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from mere_ds.errors import UserError
from mere_ds.evaluation.predictions import evaluation_name, read_predictions
from mere_ds.files import write_json_lines
from tests.evaluation.records import records


def test_names():
    assert (evaluation_name("test", None), evaluation_name("dev", 2)) == ("test", "dev-k2")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(records())
def test_what_is_written_is_read(tmp_path, given_records):
    given_records[0]["text"] = "one\u2028line\n أهلا"
    path = tmp_path / "evaluation" / "test.jsonl"
    write_json_lines(path, given_records)
    assert list(read_predictions(path)) == given_records
    assert len(path.read_bytes().splitlines()) == len(given_records)


def test_an_interrupted_writer_leaves_the_old_lines(tmp_path: Path):
    path = tmp_path / "test.jsonl"
    write_json_lines(path, [])

    def broken():
        yield {"lang": "de"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_json_lines(path, broken())
    assert path.read_text() == ""


@pytest.mark.parametrize("line", ["{", '"text"', '{"lang": "de"}', "[]"])
def test_other_files_are_refused(tmp_path, line):
    path = tmp_path / "test.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match="holds no predictions"):
        list(read_predictions(path))
