"""Any number of triples a sentence, from JSON lines over both stages to scores and answers."""

import json
import random
import re
import signal
from functools import partial
from pathlib import Path

import pytest
from launching import mere_ds, succeeded
from meddling import signal_before_update
from outcomes import assert_same_results, checkpoint, metrics

from mere_ds import documents, flags
from mere_ds.cli import COMMANDS
from mere_ds.errors import UserError
from mere_ds.evaluation.run import evaluate_runs
from mere_ds.files import read_json
from mere_ds.inference import Extractor
from mere_ds.model.calibration import CALIBRATION
from mere_ds.runs.checkpoint import checkpoints_in
from mere_ds.shards.manifest import Manifest
from mere_ds.sums import damage

pytestmark = pytest.mark.slow

OWN = {"epochs": 6, "epochs_stage_two": 1, "batch_size": 4, "learning_rate": 3e-3, "word_dropout": 0.0, "keep": 20}
NAMES = ("Anna", "Berg", "Dora", "Emil", "Fritz", "Gerda")


def row(number: int, draw: random.Random) -> dict:
    """One, none or two triples, by what is said between the names."""
    one, other, third = draw.sample(NAMES, 3)
    words, pairs = (
        ([one, "schrieb", other, "."], [(0, 2)]),
        ([one, "sah", other, "."], []),
        ([one, "schrieb", other, "und", third, "."], [(0, 2), (0, 4)]),
    )[number % 3]
    text = " ".join(words)
    spans = [(m.start(), m.end()) for m in re.finditer(r"\S+", text)]
    triples = [{"head": spans[head], "relation": "wrote", "tail": spans[tail]} for head, tail in pairs]
    return {"id": str(number), "lang": "de", "text": text, "triples": triples}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder, draw = tmp_path_factory.mktemp("lines"), random.Random(0)
    for split, sentences in (("train", 150), ("test", 30)):
        lines = "".join(json.dumps(row(number, draw)) + "\n" for number in range(sentences))
        (folder / f"de.{split}.jsonl").write_text(lines, encoding="utf-8")
    out = tmp_path_factory.mktemp("many_shards") / "shards"
    succeeded(mere_ds("shard", folder, out, "--encoder=tiny"))
    return out


@pytest.fixture(scope="module")
def run(shards, train, tmp_path_factory) -> Path:
    """Both stages on two ranks, which find their threshold and their curve together."""
    folder = tmp_path_factory.mktemp("many") / "run"
    train(2, run=folder, shards=shards, **OWN).ended(0)
    return folder


def test_threshold_and_curve_are_kept_with_the_weights_of_each_epoch(run):
    dev = [record for record in metrics(run) if record["kind"] == "dev"]
    at_ends = [
        path for stage in (1, 2) for path in reversed(checkpoints_in(checkpoint(run, stage).parent))
        if "epoch" in path.name
    ]  # fmt: skip
    assert len(at_ends) == len(dev) == 7
    for record, path in zip(dev, at_ends, strict=True):
        assert read_json(path / CALIBRATION, "") == record["calibration"]
        assert CALIBRATION in (path / "SHA256SUMS").read_text() and damage(path) is None
    between = [path for path in checkpoints_in(checkpoint(run, 1).parent) if "epoch" not in path.name]
    assert between and not any((path / CALIBRATION).exists() for path in between), "dev was not scored there"


def test_records_name_the_losses_that_there_are(run):
    names = {frozenset(record["loss_terms"]) for record in metrics(run) if record["kind"] == "train"}
    assert names == {frozenset(("heads", "tails", "links", "relation"))}


def test_killed_in_both_stages_it_ends_with_the_same_bits(run, train, shards, tmp_path):
    for stage, step, rank in ((1, 8, 1), (2, 8, 0)):
        meddle = partial(signal_before_update, signal.SIGKILL, stage, step, rank)
        killed = train(2, run=tmp_path, shards=shards, meddle=meddle, **OWN)
        assert killed.codes[rank] == -signal.SIGKILL, killed
    resumed = train(2, run=tmp_path, shards=shards, **OWN).ended(0)
    assert "stage 2 resumes from step-" in resumed.stderr[0]
    assert_same_results(tmp_path, run)
    best = [checkpoint(folder, 2, "best") / CALIBRATION for folder in (tmp_path, run)]
    assert best[0].read_bytes() == best[1].read_bytes()


def test_zero_stages_agree_on_the_losses(shards, train, zero, tmp_path):
    losses = {}
    for zero_stage in (1, 2, 3):
        folder = tmp_path / str(zero_stage)
        knobs = OWN | {"max_steps": 6, "log_every": 1}
        train(2, run=folder, shards=shards, deepspeed_config=zero(zero_stage), **knobs).ended(0)
        losses[zero_stage] = [record["loss"] for record in metrics(folder) if record["kind"] == "train"]
    assert len(losses[1]) == 12
    for zero_stage in (2, 3):
        assert losses[zero_stage] == pytest.approx(losses[1], rel=1e-4), zero_stage


def test_it_is_evaluated_at_the_threshold_and_extracts_any_number(run):
    (result,) = evaluate_runs([str(run)], None, "test")
    best = checkpoint(run, 2, "best")
    kept = read_json(best / CALIBRATION, "")
    assert {name: result["calibration"][name] for name in ("min_score", "pooled")} == {
        name: kept[name] for name in ("min_score", "pooled")
    }
    assert result["pooled"]["triple"] > 80 and result["without_triples"]["sentences"] == 10
    (scored,) = evaluate_runs([str(run)], None, "dev")
    last = [record for record in metrics(run) if record["kind"] == "dev"][-1]
    assert scored["average"] == pytest.approx(last["average"]), "as training scored it"
    extractor = Extractor.load(best)
    texts = ["Anna schrieb Berg .", "Emil sah Dora .", "Dora schrieb Anna und Fritz ."]
    answers = list(extractor.extract(texts, "de"))
    assert sum(len(answer["triples"]) for answer in answers) >= 2
    for answer, own in zip(answers, (1, 0, 2), strict=True):
        scores = [triple["score"] for triple in answer["triples"]]
        assert scores == sorted(scores, reverse=True) and len(scores) <= own + 1
        assert all(score >= kept["min_score"] for score in scores)
    assert all(len(a["triples"]) <= 1 for a in Extractor.load(best, max_triples=1).extract(texts, "de"))


def test_windows_of_long_sentences_are_trained_and_a_long_sentence_is_read_in_them(train, tmp_path):
    corpus, draw = tmp_path / "corpus", random.Random(1)
    corpus.mkdir()
    for split, sentences in (("train", 60), ("test", 10)):
        with (corpus / f"de.{split}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(sentences):
                text, triples = "", []
                for part in (row(n, draw) for n in range(9)):
                    for triple in part["triples"]:
                        moved = {side: [n + len(text) for n in triple[side]] for side in ("head", "tail")}
                        triples.append(triple | moved)
                    text += part["text"].removesuffix(".")
                file.write(json.dumps({"id": str(number), "lang": "de", "text": text, "triples": triples}) + "\n")
    told = mere_ds("shard", corpus, tmp_path / "shards", "--encoder=tiny", "--max_length=24", "--windows")
    succeeded(told)
    manifest = Manifest.load(tmp_path / "shards")
    sentences, windows, _ = (counts["de"] for counts in manifest.windows.values())
    assert f"windows: {sentences} training sentences of more than 24 tokens became {windows};" in told.stdout
    assert manifest.splits["train"].sentences == windows > 2 * sentences
    knobs = OWN | {"epochs": 2}
    train(1, run=tmp_path / "run", shards=tmp_path / "shards", **knobs).ended(0)
    losses = [record["loss"] for record in metrics(tmp_path / "run") if record["kind"] == "train"]
    assert len(losses) >= 3 * (windows // knobs["batch_size"]) and losses[-1] < losses[0] / 2
    extractor = Extractor.load(checkpoint(tmp_path / "run", 2, "best"), min_score=0.0)
    text = json.loads((corpus / "de.test.jsonl").read_text(encoding="utf-8").splitlines()[0])["text"]
    triples = list(documents.extract_document(extractor, text, "de", lambda language, text: [len(text)]))
    assert max(triple["head"]["start"] for triple in triples) > len(text) // 2, "also behind the first window"


def test_a_document_is_read_sentence_by_sentence(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(documents, "with_sentencex", lambda: lambda language, text: [text.index(".") + 1, len(text)])
    file = tmp_path / "document"
    file.write_bytes("\ufeffAnna schrieb Berg .\n\nGerda schrieb Emil .\n".encode())
    command = ["extract", str(run), "--lang=de", "--document", "--min_score=0.01"]
    flags.run(COMMANDS, [*command, f"--file={file}"], "mere-ds")
    triples = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    text = file.read_text(encoding="utf-8-sig")
    assert {triple["head"]["start"] >= text.index("Gerda") for triple in triples} == {False, True}
    for triple in triples:
        assert triple["lang"] == "de" and triple["relation"] == "wrote"
        assert all(text[triple[s]["start"] : triple[s]["end"]] == triple[s]["text"] for s in ("head", "tail"))
    file.write_bytes(b"Anna \xff")
    with pytest.raises(SystemExit):
        flags.run(COMMANDS, [*command, f"--file={file}"], "mere-ds")
    assert capsys.readouterr().err == f"mere-ds: {file}: not UTF-8: byte 6 is 0xff: convert it to UTF-8\n"


def test_shards_of_one_triple_do_not_fit(run, small_shards):
    with pytest.raises(UserError, match="does not fit the model|made with --triples=one, but the model"):
        evaluate_runs([str(run)], str(small_shards), "test")
