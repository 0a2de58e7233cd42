"""The JSON lines on disk."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from mere_ds.errors import UserError
from mere_ds.evaluation.metrics import METRICS
from mere_ds.evaluation.predictions import PredictionsWriter, evaluation_name, read_predictions
from mere_ds.files import digest_of
from tests.evaluation.records import many_record, record, records

AGAIN = "run mere-ds evaluate RUN"


def written(path: Path, content: list[dict]) -> dict:
    """What proves the records that it writes to `path`."""
    file = io.BytesIO()
    writer = PredictionsWriter(file)
    assert list(writer.through(content)) == content
    path.write_bytes(file.getvalue())
    return writer.facts()


def test_names():
    assert (evaluation_name("test", None), evaluation_name("dev", 2)) == ("test", "dev-k2")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records())
def test_what_is_written_is_read(tmp_path, given_records):
    given_records[0]["text"] = "one\u2028line\n أهلا"
    path = tmp_path / "test.jsonl"
    facts = written(path, given_records)
    assert list(read_predictions(path, facts["predictions"], AGAIN)) == given_records
    assert len(path.read_bytes().splitlines()) == len(given_records) == facts["predictions"]["lines"]
    assert sum(asked["count"] for asked in facts["sentences"].values()) == len(given_records)


def test_what_was_asked_is_known_by_its_digest_whatever_the_order_and_the_answers(tmp_path):
    right, wrong, other = (
        record("de", "wrote", answer, id=id) for answer, id in (("wrote", "1"), (None, "1"), ("wrote", "2"))
    )
    digests = [
        written(tmp_path / "test.jsonl", content)["sentences"]["de"]["sha256"]
        for content in ([right, other], [other, wrong], [right, right])
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: b"", ": empty: "),
        (lambda content: content[:-1], "has 2 lines and an incomplete one, but the scores were made from 3"),
        (lambda content: content[: content.index(b"\n") + 1], "has 1 lines, but the scores were made from 3"),
        (lambda content: content.replace(b"wrote", b"wrotf", 1), "changed since the scores were made from it"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_refused(tmp_path, change, says):
    path = tmp_path / "test.jsonl"
    proof = written(path, [record("de", "wrote", "wrote", id=str(n)) for n in range(3)])["predictions"]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=says) as refused:
        list(read_predictions(path, proof, AGAIN))
    assert str(refused.value).endswith(AGAIN) and "\n" not in str(refused.value)
    path.unlink()
    with pytest.raises(UserError, match="No such file"):
        list(read_predictions(path, proof, AGAIN))


TRIPLE = {"relation": "wrote", "head": [0, 1], "tail": [2, 3]}


def changed(**fields) -> str:
    return json.dumps(record("de", "wrote", "wrote", "ht") | fields)


@pytest.mark.parametrize(
    "line",
    [
        *("{", '"text"', '{"lang": "de"}', "[]", "\ufeff{}", "[" * 20000),
        *(changed(lang=1), changed(id=None), changed(text=3), changed(right="triple"), changed(right=["best"])),
        *(changed(right=[[]]), changed(text=None), changed(gold=None), changed(gold=[]), changed(predicted=4)),
        *(changed(gold=TRIPLE | {"head": span}) for span in (None, [0], [0, 9], [1.0, 2], [2, 1], "ab")),
        *(changed(predicted=TRIPLE | {"score": 0.1, "probability": p}) for p in (None, 2, float("nan"), "0.5")),
    ],
)  # fmt: skip
def test_other_lines_are_refused_by_number(tmp_path, line):
    path = tmp_path / "test.jsonl"
    content = (changed() + "\n" + line + "\n").encode()
    path.write_bytes(content)
    proof = {"sha256": digest_of(content), "lines": 2}
    with pytest.raises(UserError, match=f"line 2: .*{AGAIN}$"):
        list(read_predictions(path, proof, AGAIN))


def many_changed(**fields) -> str:
    sentence = {"gold": [TRIPLE | {"tokens": [(0, 0), (1, 1)]}], "found": [TRIPLE | {"tokens": [(0, 0), (1, 1)]}]}
    return json.dumps(many_record(sentence) | fields)


NONE = dict.fromkeys(METRICS, 0)


@pytest.mark.parametrize(
    "line",
    [
        *(many_changed(gold=gold) for gold in (None, TRIPLE, [TRIPLE | {"head": None}], [[]], [{}])),
        *(many_changed(predicted=found) for found in (None, TRIPLE, [TRIPLE], [TRIPLE | {"score": 2}])),
        *(many_changed(right=right) for right in ([], {"triple": 1}, NONE | {"best": 0}, NONE | {"triple": -1})),
        *(many_changed(right=NONE | {"triple": n}) for n in (2, 0.5, "1")),
        *(many_changed(right={}), many_changed(text=None)),
    ],
)  # fmt: skip
def test_other_lines_with_any_number_of_triples_are_refused(tmp_path, line):
    path = tmp_path / "test.jsonl"
    missed = {"lang": "de", "text": None, "gold": None, "predicted": None, "right": {}, "reason": "not read"}
    whole = [json.loads(many_changed()), json.loads(many_changed(gold=[], predicted=[], right=NONE)), missed]
    proof = written(path, whole)["predictions"]
    assert list(read_predictions(path, proof, AGAIN)) == whole
    content = (many_changed() + "\n" + line + "\n").encode()
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"line 2: .*{AGAIN}$"):
        list(read_predictions(path, {"sha256": digest_of(content), "lines": 2}, AGAIN))


def test_answers_that_are_not_finite_are_never_written(tmp_path):
    strange = record("de", "wrote", "wrote")
    strange["predicted"]["score"] = float("nan")
    with pytest.raises(UserError, match="aren't finite numbers"):
        written(tmp_path / "test.jsonl", [strange])
