"""From batches to records: characters, order, misses, and scores equal to training's counts."""

from dataclasses import replace
from unicodedata import normalize

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import XLMRobertaConfig, XLMRobertaModel

from mere_ds.corpus.graphemes import Alignment
from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation import scoring
from mere_ds.evaluation.many import scores_of_many
from mere_ds.evaluation.metrics import BY_CHARACTERS, METRICS
from mere_ds.evaluation.recording import NOT_READ, Recorder
from mere_ds.evaluation.summary import scores_of
from mere_ds.model.calibration import Calibration
from mere_ds.model.triple import MereOutput
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.reading import TextReader
from tests.encoders.conftest import unigram_files
from tests.shards.toy_corpus import HEADER, make_shards, row, write_corpus

LONG = 80  # words, more tokens than max_length


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    """Toy shards whose German test file has a sentence cut off and one without marks."""
    corpus = write_corpus(tmp_path_factory.mktemp("corpus"))
    bad = [
        row(998, "de", "wrote", f"<e1>berlin</e1> {'gau ' * LONG}<e2>stein</e2>"),
        row(999, "de", "wrote", "<e1>berlin</e1> gau <e2>stein</e2>").replace("<e2>", ""),
        row(1000, "de", "wrote", "<e1>berlin </e1> gau <e2>stei</e2>n ."),
    ]
    path = corpus / "de_corpora_test.tsv"
    path.write_text(HEADER + path.read_text(encoding="utf-8").removeprefix(HEADER) + "".join(bad), encoding="utf-8")
    return make_shards(corpus, tmp_path_factory.mktemp("shards") / "out", max_length=64)


@pytest.fixture(scope="module")
def tokenizer(manifest):
    return load_tokenizer(manifest.encoder_folder)


def batches(manifest):
    return list(scoring.batches(manifest, "test", torch.device("cpu")))


def output(relation_B: torch.Tensor, positions_B4: torch.Tensor, cuts_B4: torch.Tensor | None = None) -> MereOutput:
    half_B = torch.full(relation_B.shape, 0.5)
    return MereOutput(
        sentence_F=torch.arange(len(relation_B)),
        relation_F=relation_B,
        positions_F4=positions_B4,
        relation_probability_F=half_B,
        score_F=half_B / 3,
        cuts_F4=torch.zeros_like(positions_B4) if cuts_B4 is None else cuts_B4,
    )


def test_gold_predictions_give_gold_characters(manifest, tokenizer):
    recorder = Recorder(manifest, "test", tokenizer)
    for batch in batches(manifest):
        recorder.add(batch, output(batch.labels_T, batch.positions_T4))
    *records, missed = recorder.records()
    texts = TextReader(manifest, "test").texts_of(range(manifest.splits["test"].sentences))
    assert [(r["id"], r["lang"], r["text"]) for r in records] == [(t["id"], t["lang"], t["text"]) for t in texts]
    by_id = {r["id"]: r for r in records}
    for record in records:
        gold, predicted = record["gold"], record["predicted"]
        assert predicted["relation"] == gold["relation"]
        assert (predicted["probability"], predicted["score"]) == (0.5, 0.166667)
        assert "relation" in record["right"]
        if "triple_characters" in record["right"]:
            assert [_stripped(record, s) for s in ("head", "tail")] == [predicted["head"], predicted["tail"]]
    cut, inside = by_id["998"], by_id["1000"]
    assert cut["predicted"]["tail"] is None, "no token, no answer"
    assert cut["right"] == ["relation", "head", "head_characters"]
    assert inside["right"] == ["relation", "pair", "head", "tail", "triple", "head_characters"]
    assert inside["predicted"]["head"] == [0, 6]
    assert inside["text"][slice(*inside["predicted"]["tail"])] == "stein"
    assert missed == {"lang": "de", "text": None, "gold": None, "predicted": None, "right": [], "reason": NOT_READ}


def test_gold_tokens_with_gold_cuts_are_right_by_characters(manifest, tokenizer):
    recorder, inexact = Recorder(manifest, "test", tokenizer), 0
    for batch in batches(manifest):
        recorder.add(batch, output(batch.labels_T, batch.positions_T4, batch.cuts_T4))
        inexact += (batch.cuts_T4 > 0).any(1).sum()
    whole = [r for r in recorder.answers() if r["predicted"]["head"] and r["predicted"]["tail"]]  # nothing cut off
    assert inexact and len(whole) > 10
    assert all(record["right"] == list(METRICS) for record in whole)


def test_a_half_right_span_is_wrong(manifest, tokenizer):
    recorder = Recorder(manifest, "test", tokenizer)
    for batch in batches(manifest):
        further = torch.tensor([0, 1, -1, 0])  # the head's end, the tail's start
        recorder.add(batch, output(batch.labels_T, batch.positions_T4 + further))
    assert all(record["right"] == ["relation"] for record in recorder.answers())


def test_characters_can_be_right_where_tokens_are_not(tmp_path):
    """A character may be two tokens, as a word's first letter and the mark before it that XLM-R's tokenizer makes: a
    span that begins with the second has the same characters."""
    encoder, corpus = tmp_path / "encoder", tmp_path / "corpus"
    encoder.mkdir()
    corpus.mkdir()
    letters = unigram_files(encoder)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = XLMRobertaModel(XLMRobertaConfig(vocab_size=letters, **sizes, max_position_embeddings=130, pad_token_id=1))
    model.save_pretrained(encoder)
    for split in ("train", "test"):
        sentence = row(1, "de", "wrote", "hier <e1>berlin</e1> gau <e2>stein</e2>")
        (corpus / f"de_corpora_{split}.tsv").write_text(HEADER + sentence, encoding="utf-8")
    shards = make_shards(corpus, tmp_path / "shards", encoder=str(encoder), max_length=60)
    recorder = Recorder(shards, "test", load_tokenizer(shards.encoder_folder))
    for batch in batches(shards):
        recorder.add(batch, output(batch.labels_T, batch.positions_T4 + torch.tensor([1, 0, 0, 0])))
    (record,) = recorder.records()
    assert record["predicted"]["head"] == record["gold"]["head"]
    assert record["right"] == ["relation", "tail", *BY_CHARACTERS]


def test_shards_of_decomposed_text_from_before_it_was_composed_are_refused(tmp_path, monkeypatch):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for split in ("train", "test"):
        sentence = row(1, "ko", "wrote", "<e1>서울</e1> 강 <e2>남북</e2>")
        (corpus / f"ko_corpora_{split}.tsv").write_text(HEADER + normalize("NFD", sentence), encoding="utf-8")
    monkeypatch.setattr("mere_ds.shards.encoding.compose", lambda text: (text, Alignment()))
    shards = make_shards(corpus, tmp_path / "shards")
    monkeypatch.undo()
    recorder = Recorder(shards, "test", load_tokenizer(shards.encoder_folder))
    for batch in batches(shards):
        recorder.add(batch, output(batch.labels_T, batch.positions_T4))
    with pytest.raises(UserError, match="normalising texts to Unicode NFC: make them again"):
        list(recorder.records())


def _stripped(record: dict, side: str) -> list[int]:
    start, end = record["gold"][side]
    inner = record["text"][start:end]
    start += len(inner) - len(inner.lstrip())
    return [start, start + len(inner.strip())]


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_scores_of_records_are_those_of_trainings_counts(manifest, tokenizer, seed):
    random = np.random.default_rng(seed)

    def answer(batch) -> MereOutput:
        """Gold in most of the places."""
        wrong = [torch.from_numpy(random.random(gold.shape) < 0.2) for gold in (batch.labels_T, batch.positions_T4)]
        words_B1 = batch.mask_BM.sum(1, keepdim=True) - 3
        guess_B4 = 2 + torch.from_numpy(random.integers(99, size=batch.positions_T4.shape)) % words_B1.clamp(min=1)
        relation_B = torch.where(wrong[0], (batch.labels_T + 1) % len(manifest.labels), batch.labels_T)
        return output(relation_B, torch.where(wrong[1] | (batch.positions_T4 < 0), guess_B4, batch.positions_T4))

    recorder, answers = Recorder(manifest, "test", tokenizer), []
    for batch in batches(manifest):
        answers.append(answer(batch))
        recorder.add(batch, answers[-1])
    given_answers = iter(answers)
    counted = scoring.score_split(
        lambda *_, **__: next(given_answers), manifest, "test", tokenizer, torch.device("cpu")
    )
    recorded = scores_of(recorder.records())
    assert counted == {name: recorded[name] for name in counted}
    assert recorded["languages"]["de"]["missed"] == 1


def test_a_split_without_sentences_has_its_misses_alone(manifest, tokenizer):
    recorder = Recorder(manifest, "test", tokenizer)
    assert [r["reason"] for r in recorder.records()] == [NOT_READ]
    assert list(Recorder(manifest, "dev", tokenizer).records()) == []


def many(found_F: list[tuple[int, list[int], float]], sentence_F: list[int]) -> MereOutput:
    """What a model that finds any number gives: (label, positions, raw score) of each triple."""
    positions_F4 = torch.tensor([positions for _, positions, _ in found_F]).reshape(-1, 4)
    score_F = torch.tensor([score for *_, score in found_F])
    return MereOutput(
        sentence_F=torch.tensor(sentence_F, dtype=torch.long),
        relation_F=torch.tensor([label for label, *_ in found_F], dtype=torch.long),
        positions_F4=positions_F4,
        relation_probability_F=score_F,
        score_F=score_F,
        cuts_F4=torch.zeros_like(positions_F4),
    )


def gold_and_more(batch) -> MereOutput:
    """Of every sentence first a wrong triple with a low score, then gold, if it is there."""
    found_F, sentence_F = [], []
    for b in range(int((batch.weights_B > 0).sum())):
        positions = batch.positions_T4[b].tolist()
        label = batch.labels_T[b].item()
        wrong = [max(2, position) for position in reversed(positions)]
        found_F.append((label, [min(wrong[:2]), max(wrong[:2]), min(wrong[2:]), max(wrong[2:])], 0.2))
        sentence_F.append(b)
        if min(positions) >= 0:
            found_F.append((label, positions, 0.7))
            sentence_F.append(b)
    return many(found_F, sentence_F)


def test_any_number_of_triples_is_recorded_highest_first_from_the_threshold_on(manifest, tokenizer):
    several = replace(manifest, triples="many")
    recorder = Recorder(several, "test", tokenizer)
    for batch in batches(several):
        recorder.add(batch, gold_and_more(batch))
    *at_half, missed = recorder.records()
    recorder.calibration = Calibration(0.1)
    *lower, _ = recorder.records()
    texts = TextReader(manifest, "test").texts_of(range(manifest.splits["test"].sentences))
    assert [r["id"] for r in at_half] == [r["id"] for r in lower] == [t["id"] for t in texts]
    cut = []
    for record, more, text in zip(at_half, lower, texts, strict=True):
        assert record["gold"] == more["gold"] == text["triples"]
        if not record["predicted"]:
            cut.append(record["id"])
            assert set(record["right"].values()) == {0}
            continue
        assert [triple["score"] for triple in record["predicted"]] == [0.7]
        assert [triple["score"] for triple in more["predicted"]] == [0.7, 0.2]
        assert record["right"]["triple"] == more["right"]["triple"] == 1
    assert "998" in cut and len(cut) < 4, "an entity was cut off, so nobody can find the triple"
    assert missed == {"lang": "de", "text": None, "gold": None, "predicted": None, "right": {}, "reason": NOT_READ}


def test_equal_triples_are_recorded_once(manifest, tokenizer):
    several = replace(manifest, triples="many")
    recorder = Recorder(several, "test", tokenizer)
    for batch in batches(several):
        own = [(0, [2, 2, 2, 2], 0.6), (0, [2, 2, 2, 2], 0.9), (1, [2, 2, 2, 2], 0.7)]
        recorder.add(batch, many(own, [0, 0, 0]))
        assert batch.weights_B[0] > 0
    first = next(record for record in recorder.answers() if record["predicted"])
    assert [(t["relation"], t["score"]) for t in first["predicted"]] == [
        (manifest.labels[0], 0.9),
        (manifest.labels[1], 0.7),
    ]


def test_no_triple_found_at_all(manifest, tokenizer):
    several = replace(manifest, triples="many")
    none = lambda *inputs, **_: many([], [])  # noqa: E731
    told = scoring.score_split(none, several, "test", tokenizer, torch.device("cpu"))
    assert told["average"]["triple"] == 0 and told["calibration"]["min_score"] == 0.5


def test_dev_is_scored_at_its_best_threshold(manifest, tokenizer):
    """And what it tells is what records at that threshold score, by the writer of evaluations."""
    several = replace(manifest, triples="many")
    answers = [gold_and_more(batch) for batch in batches(several)]
    given_answers = iter(answers)
    told = scoring.score_split(lambda *_, **__: next(given_answers), several, "test", tokenizer, torch.device("cpu"))
    calibration = told.pop("calibration")
    assert calibration["candidates"] == sum(len(answer.score_F) for answer in answers)
    assert calibration["error"]["calibrated"] < calibration["error"]["raw"]
    recorder = Recorder(several, "test", tokenizer, Calibration.from_dict(calibration, "here"))
    for batch, answer in zip(batches(several), answers, strict=True):
        recorder.add(batch, answer)
    recorded = scores_of_many(recorder.records())
    assert told == {name: recorded[name] for name in told}
    assert recorded["by_precision"]["pooled"]["precision"] == 100, "the wrong ones lie below the threshold"
