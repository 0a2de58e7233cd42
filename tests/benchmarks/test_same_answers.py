"""The comparison of two forms of a model sees every triple, and a difference where there is one."""

import re

import pytest

from benchmarks import same_answers
from mere_ds.files import json_line

TEXTS = ["Anna Berg wurde in Köln geboren.", "In Kiel lebt Jan Ohm.", "Am Rhein."]


class Model:
    """Answers with a triple for each word of a text, scored by its place."""

    languages = ("de",)

    def __init__(self, shift: float, own: str):
        self.shift, self.own = shift, own

    def extract(self, texts, languages):
        assert set(languages) == {"de"}, "a language that it doesn't know is read as its first"
        for text in texts:
            spans = [{"start": m.start(), "end": m.end()} for m in re.finditer(r"\w+", text)]
            yield {
                "triples": [
                    {"head": span, "relation": self.own, "tail": spans[0], "score": 0.5 + self.shift} for span in spans
                ]
            }


@pytest.mark.parametrize(
    ("other", "alone", "by", "by_rank"),
    [
        (Model(0, "a"), False, "0.0e+00", "0.0e+00"),
        (Model(0.25, "a"), False, "2.5e-01", "2.5e-01"),
        (Model(0, "b"), True, "0.0e+00", "0.0e+00"),
        (Model(0.125, "b"), True, "0.0e+00", "1.2e-01"),
    ],
)
def test_all_texts_are_compared(tmp_path, monkeypatch, capsys, other, alone, by, by_rank):
    for language in ("de", "fr"):
        rows = [{"id": str(n), "lang": language, "text": text, "triples": []} for n, text in enumerate(TEXTS)]
        (tmp_path / f"{language}.test.jsonl").write_bytes(
            b"".join(map(json_line, rows[: 3 if language == "de" else 1]))
        )
    models = {"model": Model(0, "a"), "other": other}
    monkeypatch.setattr(same_answers.Extractor, "load", lambda folder, **_: models[folder])
    monkeypatch.setattr(same_answers, "AT_ONCE", 1)
    same_answers.main("model", "other", (str(tmp_path),))
    words = 6 + 5 + 2 + 6
    assert capsys.readouterr().out == (
        f"4 texts, {words} triples, {2 * words * alone} of only one model; scores differ by {by} at most, "
        f"n-th best ones by {by_rank}\n"
    )
