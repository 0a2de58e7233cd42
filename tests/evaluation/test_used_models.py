"""What the commands say of a run whose training continues, and of shards that hold nothing to score."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.encoders.sources import load_encoder, load_tokenizer
from mere_ds.encoders.tokens import save_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.predictions import read_predictions
from mere_ds.evaluation.recording import Recorder
from mere_ds.evaluation.run import evaluate_runs
from mere_ds.evaluation.scoring import batches
from mere_ds.files import digest_file, write_json
from mere_ds.model import packing
from mere_ds.model.loading import load_model
from mere_ds.model.mere import MereModel
from mere_ds.model.parts import MereParts
from mere_ds.sums import STATE, SUMS, write_sums
from tests.evaluation.made_up_runs import ingredients_of, make_checkpoint, train
from tests.model.samples import tiny_config
from tests.shards.toy_corpus import make_shards, write_corpus


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Without a single test row."""
    corpus = write_corpus(tmp_path_factory.mktemp("corpus"), sizes={"de": (60, 0), "fr": (30, 0)})
    return make_shards(corpus, tmp_path_factory.mktemp("shards") / "out")


@pytest.fixture
def run(shards, tmp_path):
    """run(finished): a run folder with an untrained model for these shards."""

    def leave(finished: bool):
        ingredients = ingredients_of(1, shards.sha256, system="mERE-LS")
        folder = make_checkpoint(tmp_path / "run", 1, ingredients, finished=finished)
        languages = shards.languages
        config = tiny_config(
            languages=languages,
            labels=shards.labels,
            label_mask=[[1] * len(shards.labels)] * len(languages),
            language_token_ids=[shards.encoder.language_token_ids[language] for language in languages],
            submodule_layers=[1],
            top_k=1,
            max_length=shards.max_length,
        )
        MereModel.from_encoder(load_encoder(shards.encoder_folder, shards.encoder), config).save_pretrained(folder)
        save_tokenizer(load_tokenizer(shards.encoder_folder), folder)
        (folder / SUMS).unlink()
        write_sums(folder)
        return tmp_path / "run"

    return leave


@pytest.mark.parametrize("finished", [True, False])
def test_answers_of_an_unfinished_stage_say_so(run, finished, capsys):
    folder = run(finished)
    capsys.readouterr()  # of saving the model
    flags.run(COMMANDS, ["extract", str(folder), "berlin gau dorf stein", "--lang=DE"], "mere-ds")
    out, err = capsys.readouterr()
    assert json.loads(out)["lang"] == "de"
    assert err == ("" if finished else f"{folder}: stage 1 is not finished: using its model at step 10\n")


def test_an_empty_test_set_is_refused(run, shards, capsys):
    folder = run(finished=True)
    capsys.readouterr()  # of saving the model
    with pytest.raises(SystemExit, match="2"):
        flags.run(COMMANDS, ["evaluate", str(folder), f"--shards={shards.source}"], "mere-ds")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "contains no test sentence in fr, de, so there is nothing to score" in said
    assert not (folder / "evaluation").exists()


@torch.no_grad()
def test_triples_are_those_of_the_trained_model(run, shards):
    folder = run(finished=True)
    (result,) = evaluate_runs([str(folder)], str(shards.source), "dev")
    checkpoint = folder / "checkpoints/stage1/best"
    model, recorder = load_model(checkpoint).eval(), Recorder(shards, "dev", load_tokenizer(checkpoint))
    for batch in batches(shards, "dev", torch.device("cpu")):
        recorder.add(batch, model(batch.token_ids_BM, batch.mask_BM, batch.languages_B))
    expected = list(recorder.answers())
    written = list(read_predictions(folder / "evaluation/dev.jsonl", result["made_from"]["predictions"], ""))
    assert len(written) == len(expected) > 0
    for here, there in zip(written, expected, strict=True):
        for name in ("probability", "score"):
            assert here["predicted"].pop(name) == pytest.approx(there["predicted"].pop(name), abs=2e-6)
    assert written == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_models_with_one_encoder_share_its_pass_also_packed(precision, run, shards, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_LEAST", 1)
    runs = [str(run(finished=True)), str(shutil.copytree(tmp_path / "run", tmp_path / "copy", symlinks=True))]
    alone = [evaluate_runs([run], str(shards.source), "dev", precision=precision)[0] for run in runs]
    unify, passes = MereParts.unify, []
    monkeypatch.setattr(MereParts, "unify", lambda self, *given: passes.append(given) or unify(self, *given))
    assert evaluate_runs(runs, str(shards.source), "dev", precision=precision) == alone
    assert len(passes) == len(list(batches(shards, "dev", torch.device("cpu"))))


def test_evaluating_loads_neither_transformers_nor_a_compiler(run, shards):
    command = ["evaluate", str(run(finished=True)), f"--shards={shards.source}", "--split=dev"]
    code = (
        "import sys; from mere_ds import flags; from mere_ds.cli import COMMANDS; "
        f"flags.run(COMMANDS, {command!r}, 'mere-ds'); "
        "print(sorted({'transformers', 'torch._dynamo', 'sympy', 'deepspeed'} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout.endswith("\n[]\n"), told.stderr


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from mere_ds import flags
from mere_ds.cli import COMMANDS
for command in sys.argv[1:]:
    try:
        flags.run(COMMANDS, command.split("\\t"), "mere-ds")
    except SystemExit as stop:
        sys.stderr.write(f"{stop.code}\\n")
"""


def test_what_needs_no_torch_is_refused_before_it_is_loaded(tmp_path):
    """In a Python that has none: k, language and run of extract and evaluate, the runs of report and compare."""
    run = train(tmp_path / "run", (1, 2), system="mERE")
    one = train(tmp_path / "one", (1,), system="mERE-LS")
    for stage, folder in ((1, one), (2, run)):
        checkpoint = (folder / f"checkpoints/stage{stage}/best").resolve()
        config = {"languages": ["de"], "use_ls": stage == 2, "stage": stage, "submodule_layers": [1, 1, 2]}
        write_json(checkpoint / "config.json", config)
        with (checkpoint / SUMS).open("a") as sums:
            sums.write(f"{digest_file(checkpoint / 'config.json')}  config.json\n")
    outside = "must be between 1 and 3, the number of this model's sub-modules"
    cases = {
        **{("extract", run, "Ein Satz.", "--lang=de", f"--k={k}"): f"--k={k}: {outside}" for k in (9, 0)},
        ("extract", one, "Ein Satz.", "--lang=de", "--k=1"): "--k=1: this model has no Switcher: remove --k",
        ("extract", run, "Ein Satz.", "--lang=xx"): "--lang=xx: unknown to this model: pass one of de",
        ("evaluate", run, "--k=1,4"): f"--k=4: {outside}",
        ("evaluate", run, one, "--k=1"): "--k=1: this model has no Switcher: remove --k",
        ("evaluate", tmp_path / "nowhere"): f"{tmp_path}/nowhere: no such folder",
        ("report", run, f"--out={tmp_path}/out"): f"{run}/evaluation/test.json: missing",
        ("compare", run, one): f"{run}/evaluation/test.json: missing",
    }
    cases |= no_runs(one, tmp_path)
    commands = ["\t".join(map(str, command)) for command in cases]
    told = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *commands], capture_output=True, text=True)
    lines = told.stderr.splitlines()
    assert lines[1::2] == ["2"] * len(cases), told.stderr
    for line, shown in zip(lines[::2], cases.values(), strict=True):
        assert line.startswith(f"mere-ds: {shown}"), line


def no_runs(run, tmp_path) -> dict[tuple, str]:
    """Commands that need a run, given what is none, with what they say."""
    checkpoint = (run / "checkpoints/stage1/best").resolve()
    exported, alone, file = tmp_path / "exported", tmp_path / "alone", run / "config.json"
    for folder in (exported, alone):
        shutil.copytree(checkpoint, folder)
    state = json.loads((exported / STATE).read_text())
    write_json(exported / STATE, state | {"exported": {"from": "0" * 64, "to": "onnx", "precision": "int8"}})
    (alone / STATE).unlink()
    write_json(alone / "config.json", {"model_type": "mere"})
    said = {
        exported: "is an exported model, not a run: pass the run that it was exported from",
        checkpoint: "is a checkpoint, not a run: pass the folder of the run that it belongs to",
        alone: "is a model without training.json, not a run: pass the run that it is from",
        file: "a file, not a folder: pass the folder of a run",
    }
    cases = {("extract", alone, "Ein Satz.", "--lang=de"): f"{alone}: {said[alone]}"}
    for place, what in said.items():
        for command in (("evaluate", place), ("report", place, f"--out={tmp_path}/out"), ("compare", place, run)):
            cases[command] = f"{place}: {what}"
    return cases


def test_shards_that_do_not_fit_a_model_are_told_by_what_differs(run, tmp_path):
    folder = run(finished=True)
    (tmp_path / "corpus").mkdir()
    corpus = write_corpus(tmp_path / "corpus", sizes={"fr": (30, 3), "ko": (60, 3)})
    other = make_shards(corpus, tmp_path / "other")
    with pytest.raises(UserError) as refused:
        evaluate_runs([str(folder)], str(other.source), "test")
    assert f"{other.source} does not fit the model in {folder.resolve()}" in str(refused.value)
    assert str(refused.value).endswith(": it lacks the languages de; lacks the labels made-of")
    theirs = [f"label-{number}" for number in range(12)]
    shown = ", ".join(theirs[:8]) + " and 4 more"
    told = other.differences(["ko", "fr"], theirs, others_too=True)
    assert told == f"lacks the labels {shown} and has additional labels {', '.join(other.labels)}"
    assert other.differences(["ko", "fr"], other.labels) == "has the languages in another order"
    assert other.differences(["fr"], other.labels[1:]).split("; ") == [
        "has additional languages ko",
        f"has additional labels {other.labels[0]}",
    ]
    assert other.differences(["ko"], other.labels, others_too=True) is None


def test_shards_of_many_triples_do_not_fit_a_model_of_one(run, shards, tmp_path):
    folder = run(finished=True)
    corpus = write_corpus(tmp_path / "corpus", sizes={"de": (60, 3), "fr": (30, 3)})
    many = make_shards(corpus, tmp_path / "many", encoder=str(shards.encoder_folder), triples="many")
    with pytest.raises(UserError, match=r"was made with --triples=many, but .* of --triples=one: pass such --shards"):
        evaluate_runs([str(folder)], str(many.source), "test")
