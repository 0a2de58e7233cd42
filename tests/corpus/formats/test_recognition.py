"""Which format a file of sentences with one relation each is taken for: one alone, whatever its name."""

import json

import pytest

from mere_ds.corpus.formats.registry import recognised
from mere_ds.errors import UserError
from tests.corpus.formats.reading import convert

TOKENS = ["Anna", "Berg", "leads", "Northlight"]
TACRED = {"token": TOKENS, "subj_start": 0, "subj_end": 1, "obj_start": 3, "obj_end": 3, "relation": "leads"}
ENTITIES = {
    "subject_entity": {"word": "A", "start_idx": 0, "end_idx": 0},
    "object_entity": {"start_idx": 3, "end_idx": 3},
}
KLUE = {"sentence": "A, B", **ENTITIES, "label": "with"}
KLUE_CSV = "id,sentence,subject,object,label\n7,A b,\"{'text': 'A'}\",\"{'text': 'b'}\",with\n"
FEWREL = {"tokens": TOKENS, "h": ["anna", "Q1", [[0]]], "t": ["northlight", "Q2", [[3]]]}
OPENNRE = {"token": TOKENS, "h": {"pos": [0, 1]}, "t": {"pos": [3, 4]}, "relation": "NA"}
OPENNRE_TEXT = {"text": "A b", "h": {"pos": [0, 1]}, "t": {"pos": [2, 3]}, "relation": "NA"}
MARKED = '1\t"<e1>Anna</e1> leads <e2>Northlight</e2>"\nLeads(e1,e2)\nComment:\n\n'


def lines(row):
    return json.dumps(row) + "\n" + json.dumps(row) + "\n"


SAMPLES = [
    *(("tacred", content) for content in (json.dumps([TACRED]), json.dumps([TACRED], indent=2), lines(TACRED))),
    *(("klue", content) for content in (json.dumps([KLUE]), lines(KLUE), json.dumps([KLUE], indent=2), KLUE_CSV)),
    *(
        ("fewrel", content)
        for content in (json.dumps({"P1": [FEWREL]}), json.dumps({"P1": [], "P2": [FEWREL]}, indent=1))
    ),
    *(("fewrel", content) for content in (json.dumps([FEWREL]), json.dumps({"P1": [FEWREL] * 3000}))),
    *(("opennre", content) for content in (lines(OPENNRE), lines(OPENNRE_TEXT), lines({**OPENNRE, "text": "A b c d"}))),
    *(("marked-text", content) for content in (MARKED, MARKED * 9000, MARKED.replace("\n", "\r\n"))),
]
SUFFIXES = {
    "fewrel": [".json"],
    "klue": [".json", ".jsonl", ".csv"],
    "marked-text": [".txt", ".TXT"],
    "opennre": [".txt", ".json", ".jsonl"],
    "tacred": [".json", ".jsonl"],
}


@pytest.mark.parametrize(("name", "content"), SAMPLES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(SAMPLES)])
def test_a_file_is_taken_for_one_format_by_its_content(tmp_path, name, content):
    for suffix in SUFFIXES[name]:
        path = tmp_path / f"semeval_fewrel_klue{suffix}"
        path.write_text(content)
        assert list(recognised(path)) == [name]


@pytest.mark.parametrize(
    "content",
    [
        lines({"tokens": TOKENS, "h": ["anna", "Q1", [[0]]], "t": ["x", "Q2", [[3]]], "relation": "P1"}),
        lines({"text": "A b", "h": "A", "t": "b", "relation": "NA"}),
        lines({"sentence": "A b", "subject": "A", "object": "b", "label": "with"}),
        json.dumps({"P1": ["author", "who wrote it"]}),
        json.dumps({"data": [{"tokens": TOKENS}]}),
        "{",
        "",
        "{}",
        "[]",
    ],
)
def test_what_only_resembles_them_is_taken_for_none_of_them(tmp_path, content):
    for suffix in (".json", ".jsonl", ".txt", ".csv"):
        path = tmp_path / f"any{suffix}"
        path.write_text(content)
        assert not {*recognised(path)} & {*SUFFIXES}


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (json.dumps([KLUE]), {"relations": ["with", "no_relation"], "num": 2}),
        (json.dumps({"P1": [FEWREL]}), {"P1": ["author", "who wrote it"]}),
        (lines(OPENNRE), {"NA": 0, "leads": 1}),
        (json.dumps([TACRED]), {"leads": 1}),
    ],
)
def test_a_file_of_labels_beside_the_data_is_not_read(tmp_path, content, labels):
    (tmp_path / "any.json").write_text(content)
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    assert len(convert(tmp_path).examples) >= 1


def test_a_damaged_file_beside_the_data_is_not_passed_over(tmp_path):
    (tmp_path / "any.json").write_text(json.dumps([KLUE]))
    (tmp_path / "other.json").write_text(json.dumps([KLUE])[:-9])
    with pytest.raises(UserError, match="--format=klue fits all but other.json"):
        convert(tmp_path)
