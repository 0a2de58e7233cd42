"""Samples of texts of several lengths, and what is counted of the answers."""

import json

from benchmarks.language_detection import CANDIDATES, Sample, cut, eldc, samples_of, shares, texts_of

TEXTS = {
    "de": ["Eins zwei drei vier fünf sechs.", "Zu kurz.", "Sechs fünf vier drei zwei eins."],
    "zh": ["一二三四五六七八九十百千", "一二三四五六七八九百"],
}


def test_all_lengths_are_of_the_same_sentences():
    samples = samples_of(TEXTS, 2)
    assert [its.length for its in samples] == ["whole", "5 words", "3 words"] * 4
    for whole, five, three in zip(samples[::3], samples[1::3], samples[2::3], strict=True):
        assert whole.text.startswith(five.text) and five.text.startswith(three.text)
    assert {its.text for its in samples if its.length == "3 words"} >= {"Eins zwei drei", "一二三四五六"}
    assert "Zu kurz." not in {its.text for its in samples}
    assert cut("一二三四五六七", "zh", 2) == "一二三四" and cut(" a  b c ", "de", 2) == "a b"


def test_shares_are_of_a_language_and_length():
    samples = [
        Sample("de", "whole", "a"),
        Sample("de", "whole", "b"),
        Sample("de", "3 words", "a"),
        Sample("fr", "whole", "c"),
    ]
    found = shares(samples, [True, False, True, False])
    assert found == {("de", "whole"): 50, ("de", "3 words"): 100, ("fr", "whole"): 0}


def test_real_sentences_come_first_and_synthetic_ones_fill_up(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.language_detection.SMILER_LANGUAGES", ("de", "ko"))
    (tmp_path / "de.dev.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS["de"]))
    (tmp_path / "fr.test.jsonl").write_text(json.dumps({"text": "Un."}) + "\n")
    texts, synthetic = texts_of(tmp_path, "dev", 20)
    assert texts["de"] == TEXTS["de"] and synthetic == ["ko"] and len(texts["ko"]) >= 40 and "fr" not in texts


def test_the_candidate_that_is_used_answers():
    assert "eldc" in CANDIDATES and eldc(["de", "fr"])("Le roi est mort, vive le roi.") == "fr"
