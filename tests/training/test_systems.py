"""Every system of the paper trains, is evaluated and extracts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from outcomes import assert_same_tensors, checkpoint, metrics, state, tensors
from ranks import run_ranks
from transformers import AutoModel, BertForMaskedLM

from mere_ds import flags
from mere_ds.backends.with_torch import TorchBackend
from mere_ds.cli import COMMANDS
from mere_ds.config import PRESETS, TWO_STAGES, TrainConfig
from mere_ds.errors import UserError
from mere_ds.evaluation.run import evaluate_runs
from mere_ds.evaluation.scoring import EVALUATION_BATCH
from mere_ds.evaluation.table import format_evaluation
from mere_ds.inference import Extractor
from mere_ds.model.loading import load_model
from mere_ds.model.parts import MereParts
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.sealing import seal
from mere_ds.training.stages import model_config
from tests.shards.test_contents import npz, rewrite

pytestmark = pytest.mark.slow

SHORT = {
    "max_steps": 20, "batch_size": 8, "bottleneck": 32, "submodule_layers": "1,2", "top_k": 1, "log_every": 5,
    "learning_rate": 1e-3, "save_minutes": 0,
}  # fmt: skip
LANGUAGES = ["de", "en", "ko"]


@pytest.fixture(scope="module")
def short(small_shards, zero):
    """short(ranks, run=..., ...): 20 steps of every stage."""

    def train(ranks=1, zero_stage=0, **knobs):
        return run_ranks(ranks, **{"shards": small_shards, "deepspeed_config": zero(zero_stage)} | SHORT | knobs)

    return train


@pytest.fixture(scope="module")
def masked_words(small_shards, tmp_path_factory) -> Path:
    """Weights of the shards' encoder as a masked language model saves them, without tokenizer or language symbols."""
    folder = tmp_path_factory.mktemp("masked_words")
    shards_own = AutoModel.from_pretrained(small_shards / "encoder")
    torch.manual_seed(1)
    model = BertForMaskedLM(shards_own.config)
    model.resize_token_embeddings(shards_own.config.vocab_size - len(LANGUAGES), mean_resizing=False)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(short, masked_words, tmp_path_factory):
    """trained(system): the run folder of its short training; mERE14 starts from stage one of mERE-LS."""
    runs = {}

    def run_of(system: str) -> Path:
        if system not in runs:
            own = {
                "MTMB": lambda: {"encoder_weights": masked_words},
                "mERE14": lambda: {"stage": "2", "stage_one_run": run_of("mERE-LS")},
            }.get(system, dict)
            runs[system] = tmp_path_factory.mktemp(system) / "run"
            short(run=runs[system], system=system, **own()).ended(0)
        return runs[system]

    return run_of


def last_stage(system: str) -> int:
    return 2 if system in TWO_STAGES else 1


@pytest.mark.parametrize("system", PRESETS)
def test_it_trains_is_evaluated_and_extracts(system, trained, small_shards):
    run = trained(system)
    for stage in {1, last_stage(system)} - ({1} if system == "mERE14" else set()):
        assert state(run, stage)["step"] == 20 and state(run, stage)["finished"]
        first, *_, last = [r["loss"] for r in metrics(run) if (r["kind"], r["stage"]) == ("train", stage)]
        assert last < first
    assert checkpoint(run, 2).exists() == (system in TWO_STAGES)
    (result,) = evaluate_runs([str(run)], None, "test")
    manifest = json.loads((small_shards / "manifest.json").read_text())
    assert {x: row["sentences"] for x, row in result["languages"].items()} == {
        x: sum(manifest["splits"]["test"]["counts"][x].values()) + manifest["missed_test"].get(x, 0) for x in LANGUAGES
    }
    assert (result["router"] is not None) == (system == "mERE")
    extractor = Extractor.load(checkpoint(run, last_stage(system), "best"))
    (answer,) = extractor.extract(["Anna Berg wurde in Köln geboren."], "de")
    (triple,) = answer["triples"]
    assert 0 < triple["score"] <= 1 and triple["relation"] in extractor.labels
    assert all(triple[part]["text"] for part in ("head", "tail"))
    with torch.no_grad():  # finite weights, as a model may have learned them, but too large for what is made of them
        next(p for name, p in extractor.backend.model.named_parameters() if "relation" in name).fill_(3e38)
    with pytest.raises(UserError, match="the model's scores aren't finite"):
        list(extractor.extract(["Anna Berg wurde in Köln geboren."], "de"))


def test_characters_within_tokens_are_learnt_in_both_stages_and_used(short, trained, small_shards, tmp_path):
    short(run=tmp_path, characters=6).ended(0)
    for stage in (1, 2):
        losses = [
            r["loss_terms"]["characters"] for r in metrics(tmp_path) if (r["kind"], r["stage"]) == ("train", stage)
        ]
        assert losses[-1] < losses[0]
    one, two, without = tensors(tmp_path, 1), tensors(tmp_path, 2), tensors(trained("mERE"), 1)
    added = {name for name in one.keys() - without.keys() if not name.startswith("exp_avg")}
    assert added == {"cuts.counts_4CD", "cuts.bias"} and not any(torch.equal(one[name], two[name]) for name in added)
    (result,) = evaluate_runs([str(tmp_path)], None, "test")
    assert result["pooled"]["sentences"] > 0
    model = load_model(checkpoint(tmp_path, 2, "best"))
    assert model.config.characters == 6
    with torch.no_grad():
        model.cuts.counts_4CD.zero_()
        model.cuts.bias.view(4, -1).copy_(torch.nn.functional.one_hot(torch.tensor([1, 0, 0, 0]), 7))
    encoder = Extractor.load(checkpoint(tmp_path, 2, "best")).encoder
    (cut,) = Extractor(TorchBackend(model.eval()), encoder).extract(["Anna Berg wurde in Köln geboren."], "de")
    model.cuts = None
    (whole,) = Extractor(TorchBackend(model), encoder).extract(["Anna Berg wurde in Köln geboren."], "de")
    (a,), (b,) = cut["triples"], whole["triples"]
    assert a["tail"] == b["tail"] and len(b["head"]["text"]) > 1
    assert a["head"]["text"] == b["head"]["text"][1:] and a["head"]["start"] == b["head"]["start"] + 1


def test_characters_need_shards_that_tell_them_and_the_same_heads_in_both_stages(
    short, trained, small_shards, tmp_path
):
    old = shutil.copytree(small_shards, tmp_path / "old")
    for shard in old.glob("*.tar"):
        rewrite(old, shard.name, lambda name, content: npz(content, _without_cuts) if "npz" in name else content)
    entries = json.loads((old / "manifest.json").read_text())
    del entries["cuts"]
    (old / "manifest.json").write_bytes(seal(entries))
    refused = short(run=tmp_path / "run", shards=old, stage="1", characters=6).ended(2).stderr[0]
    assert refused.count("\n") == 1 and "was made by an older mere-ds" in refused and "remove --characters" in refused
    short(run=tmp_path / "run", shards=old, stage="1", max_steps=1).ended(0)
    stage_one = {"stage": "2", "stage_one_run": trained("mERE-LS"), "characters": 6}
    refused = short(run=tmp_path / "other", **stage_one).ended(2).stderr[0]
    assert "was trained with characters = None, but it is 6 now" in refused


def _without_cuts(arrays: dict) -> None:
    """As in the shards of version 2."""
    arrays["exact"] = np.ones((len(arrays.pop("cuts")), 2), bool)


def test_several_k_in_one_pass_score_as_one_by_one(trained, monkeypatch):
    run, passes = str(trained("mERE")), []
    one_by_one = [evaluate_runs([run], None, "test", (k,))[0] for k in (1, 2)]
    unify = MereParts.unify
    monkeypatch.setattr(MereParts, "unify", lambda self, *given: passes.append(given) or unify(self, *given))
    assert evaluate_runs([run], None, "test", (1, 2)) == one_by_one
    assert [result["k"] for result in one_by_one] == [1, 2]
    sentences = sum(row["sentences"] for row in one_by_one[0]["languages"].values())
    assert len(passes) <= 1 + sentences // EVALUATION_BATCH, "the encoder runs once a batch"
    with pytest.raises(UserError, match="--k=3: must be between 1 and 2, the number"):
        evaluate_runs([run], None, "test", (1, 3))
    with pytest.raises(UserError, match="--k is empty: pass one number"):
        evaluate_runs([run], None, "test", ())


def test_runs_over_one_stage_one_share_its_pass(trained, short, tmp_path, monkeypatch):
    """mERE over mERE-LS, and mERE-LS itself; mERE-LS-LA, by rows, and HERBERTa beside them have passes of their own."""
    short(run=tmp_path / "run", stage="2", stage_one_run=trained("mERE-LS")).ended(0)
    runs = [str(run) for run in (trained("HERBERTa"), trained("mERE-LS"), trained("mERE-LS-LA"), tmp_path / "run")]
    one_by_one = [evaluate_runs([run], None, "test")[0] for run in runs]
    unify, passes = MereParts.unify, []
    monkeypatch.setattr(MereParts, "unify", lambda self, *given: passes.append(given) or unify(self, *given))
    assert evaluate_runs(runs, None, "test") == one_by_one
    sentences = sum(row["sentences"] for row in one_by_one[0]["languages"].values())
    assert len(passes) == -(-sentences // EVALUATION_BATCH), "mERE-LS with mERE"
    with pytest.raises(UserError, match="no Switcher"):
        evaluate_runs(runs, None, "test", (2,))
    with pytest.raises(UserError, match="RUN is missing"):
        evaluate_runs([], None, "test")


def test_evaluation_in_16_bits_rounds_a_little(trained):
    run = str(trained("mERE"))
    whole, half = (evaluate_runs([run], None, "test", precision=precision)[0] for precision in ("fp32", "bf16"))
    assert (whole["precision"], half["precision"]) == ("fp32", "bf16")
    here, there = (np.array(x["router"]["probabilities"]) for x in (whole, half))
    assert 0 < np.abs(here - there).max() < 0.02, "it did compute in bf16"
    assert half["average"]["head"] == pytest.approx(whole["average"]["head"], abs=10)
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        evaluate_runs([run], None, "test", precision="fp16")


def test_mere14_has_a_sub_module_a_language_and_no_k(trained):
    folder = checkpoint(trained("mERE14"), 2)
    config = load_model(folder).config
    assert (config.submodule_layers, config.top_k) == ([2, 2, 2], 1)
    assert not [name for name in tensors(trained("mERE14"), 2) if "router" in name or "languages" in name]
    with pytest.raises(UserError, match="--k=2: must be 1, since"):
        Extractor.load(folder, 2)
    for without in ("mBERT", "HERBERTa"):
        with pytest.raises(UserError, match="no Switcher"):
            Extractor.load(checkpoint(trained(without), last_stage(without)), 1)


def test_mtmb_starts_from_the_weights_that_it_is_given(trained, masked_words, small_shards):
    """The same seed, so all that differs from mBERT are the weights; a step of 20 at 1e-3 is small beside them."""
    mtmb, mbert = (tensors(trained(system), 1) for system in ("MTMB", "mBERT"))
    assert mtmb.keys() == mbert.keys()
    name = "encoder.layer.0.intermediate.dense.weight"
    given = BertForMaskedLM.from_pretrained(masked_words).bert.state_dict()[name]
    own = AutoModel.from_pretrained(small_shards / "encoder").state_dict()[name]
    near = {key: (w[f"encoder.model.{name}"] - given).abs().mean() for key, w in (("MTMB", mtmb), ("mBERT", mbert))}
    assert near["MTMB"] < 0.01 < (given - own).abs().mean() and near["MTMB"] < near["mBERT"] / 2


def test_changed_weights_are_refused_when_training_goes_on(short, masked_words, tmp_path):
    weights = shutil.copytree(masked_words, tmp_path / "weights")
    knobs = {"run": tmp_path / "run", "system": "MTMB", "encoder_weights": weights, "stage": "1", "max_steps": 2}
    short(**knobs).ended(0)
    moved = shutil.copytree(weights, tmp_path / "moved")
    assert "is finished" in short(**knobs | {"encoder_weights": moved}).ended(0).stderr[0]
    BertForMaskedLM.from_pretrained(weights).half().save_pretrained(moved)
    assert "--encoder_weights (sha256) was" in short(**knobs | {"encoder_weights": moved}).ended(2).stderr[0]


def test_herberta_s_encoders_are_trained_apart(trained, small_shards):
    run = trained("HERBERTa")
    one, two = load_model(checkpoint(run, 1, "best")), load_model(checkpoint(run, 2))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name
    fresh = AutoModel.from_pretrained(small_shards / "encoder").state_dict()
    name = "encoder.layer.0.intermediate.dense.weight"
    apart = [
        (w - fresh[name]).abs().mean()
        for w in (one.encoder.model.state_dict()[name], two.tagger.encoder.state_dict()[name])
    ]
    assert all(0 < distance < 0.01 for distance in apart)
    assert "dev relation F1" in (run / "log.txt").read_text() and "dev triple F1" in (run / "log.txt").read_text()


def test_only_the_shards_of_the_training_are_scored_on_unless_others_are_named(trained, small_shards, tmp_path):
    run = shutil.copytree(trained("mBERT"), tmp_path / "run", symlinks=True)
    shards = shutil.copytree(small_shards, tmp_path / "shards")
    told = json.loads((run / "config.json").read_text())
    told["stage1"]["shards"] = str(shards)
    (run / "config.json").write_text(json.dumps(told))
    assert evaluate_runs([str(run)], None, "dev")[0]["made_from"]["shards"]["as_trained"], "they may be moved"
    entries = json.loads((shards / "manifest.json").read_bytes())
    (shards / "manifest.json").write_bytes(seal(entries | {"seed": entries["seed"] + 1}))
    for split in ("dev", "test"):
        with pytest.raises(UserError, match=f"not the shards that .* was trained on .* pass --shards={shards}"):
            evaluate_runs([str(run)], None, split)
    (scores,) = evaluate_runs([str(run)], str(shards), "dev")
    assert not scores["made_from"]["shards"]["as_trained"]
    assert format_evaluation(scores).endswith("note: not the shards of its training")


def test_stage_one_alone_says_so(trained, tmp_path, capsys):
    run = shutil.copytree(trained("mERE"), tmp_path / "run", symlinks=True)
    text = ["--lang=de", "Anna Berg wurde in Köln geboren."]
    flags.run(COMMANDS, ["extract", str(run), *text], "mere-ds")
    assert "stage" not in json.loads(capsys.readouterr().out)
    (run / "checkpoints" / "stage2" / "best").unlink()
    for command in (["evaluate", str(run)], ["extract", str(run), *text]):
        with pytest.raises(SystemExit, match="2"):
            flags.run(COMMANDS, command, "mere-ds")
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "--which=stage1" in said
        flags.run(COMMANDS, [*command, "--which=stage1"], "mere-ds")
        said = capsys.readouterr().out.strip()
        assert said.endswith("note: stage one only") or json.loads(said)["stage"] == 1


def test_herberta_s_first_stage_alone_is_scored_by_its_relations(trained, tmp_path):
    run = shutil.copytree(trained("HERBERTa"), tmp_path / "run", symlinks=True)
    shutil.rmtree(run / "checkpoints" / "stage2")
    with pytest.raises(UserError, match=r"stage two has no best checkpoint: finish stage two .* \(--which=stage1\)"):
        evaluate_runs([str(run)], None, "dev")
    (result,) = evaluate_runs([str(run)], None, "dev", which="stage1")
    scores, best = result["average"], state(run, 1, "best")["dev"]["average"]
    assert scores["relation"] == pytest.approx(best["relation"]) == pytest.approx(state(run, 1)["best_score"])
    assert scores["triple"] == scores["pair"] == 0 and (result["system"], result["stage"]) == ("HERBERTa", 1)
    with pytest.raises(UserError, match="only classifies relations"):
        Extractor.load(checkpoint(run, 1))


@pytest.mark.parametrize("system", ["mERE14", "HERBERTa", "mBERT"])
def test_ranks_and_zero_3_change_nothing_but_rounding(system, short, trained, tmp_path):
    """2 ranks of 4 sentences under ZeRO 3, each with languages that the other may lack, against 1 rank of 8."""
    stage = last_stage(system)
    one_run = {"mERE14": "mERE-LS"}.get(system, system)
    start = {"stage_one_run": trained(one_run)} if stage == 2 else {}
    short(2, 3, run=tmp_path, system=system, stage=stage, batch_size=4, **start).ended(0)
    ours, theirs = (
        [r["loss"] for r in metrics(run) if (r["kind"], r["stage"]) == ("train", stage)]
        for run in (tmp_path, trained(system))
    )
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_herberta_goes_on_where_its_second_stage_stopped(short, trained, tmp_path):
    run = shutil.copytree(trained("HERBERTa"), tmp_path / "run", symlinks=True)
    last = checkpoint(run, 2).resolve().name
    short(run=run, system="HERBERTa", stage="2", overwrite=True, save_steps=7, keep=9).ended(0)
    for path in (run / "checkpoints/stage2").glob("step-*"):
        if path.name > "step-00000007":
            shutil.rmtree(path)
    again = short(run=run, system="HERBERTa", stage="2").ended(0)
    assert "stage 2 resumes from step-00000007" in again.stderr[0] and checkpoint(run, 2).resolve().name == last
    assert_same_tensors(tensors(run, 2), tensors(trained("HERBERTa"), 2))


def test_herberta_needs_room_for_one_token_more(small_shards):
    config = TrainConfig(shards="s", run="r", deepspeed_config="d", system="HERBERTa")
    manifest = Manifest.load(small_shards)
    most = manifest.encoder.max_length
    assert model_config(config, replace(manifest, max_length=most - 1)).model_type == "herberta"
    with pytest.raises(UserError, match=f"--max_length={most - 1}"):
        model_config(config, replace(manifest, max_length=most))


def test_another_system_s_stage_one_is_refused(short, trained, tmp_path):
    for system, start in (("mERE", "mBERT"), ("HERBERTa", "mERE-LS"), ("mERE14", "HERBERTa")):
        refused = short(run=tmp_path / system, system=system, stage="2", stage_one_run=trained(start)).ended(2)
        assert "pass the same --system" in refused.stderr[0], refused
