"""`--start`: a training of other labels, languages, tokens or triples begins with what fits of a trained run."""

import json
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from meddling import signal_before_update
from outcomes import assert_same_results, checkpoint, starts, tensors
from ranks import run_ranks

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.config import TrainConfig
from mere_ds.encoders.sources import TinySize, load_tokenizer
from mere_ds.encoders.weights import word_embeddings
from mere_ds.errors import UserError
from mere_ds.evaluation.scoring import batches
from mere_ds.model.loading import load_model
from mere_ds.runs.trained import used_model
from mere_ds.shards.manifest import Manifest
from mere_ds.training.stages import model_of_stage_one, open_shards
from mere_ds.training.starting import find_start
from tests.shards.toy_corpus import make_shards, write_corpus, write_json_lines
from tests.small_model import model_alone

pytestmark = pytest.mark.slow

SHORT = {
    "batch_size": 8, "learning_rate": 1e-3, "max_steps": 4, "epochs": 1, "epochs_stage_two": 1, "bottleneck": 8,
    "submodule_layers": "1,2", "top_k": 1, "log_every": 1, "save_steps": 2, "keep": 9,
}  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """German, French and Ukrainian: born-in, made-of, wrote."""
    folder = tmp_path_factory.mktemp("start")
    corpus = write_corpus(folder / "corpus", {"de": (90, 9), "fr": (50, 6), "uk": (30, 4)})
    make_shards(corpus, folder / "shards", dev_share=0.2)
    return folder / "shards"


@pytest.fixture(scope="module")
def other_shards(tmp_path_factory) -> Path:
    """Korean and French: born-in, painted, of another vocabulary."""
    folder = tmp_path_factory.mktemp("other")
    corpus = write_corpus(folder / "corpus", {"ko": (60, 4), "fr": (60, 4)}, seed=1)
    for path in corpus.iterdir():
        path.write_text(path.read_text(encoding="utf-8").replace("\twrote\t", "\tpainted\t"), encoding="utf-8")
    make_shards(corpus, folder / "shards", dev_share=0.2)
    return folder / "shards"


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    make_shards(write_json_lines(folder / "lines", {"de": (60, 12, 6)}), folder / "shards")
    return folder / "shards"


@pytest.fixture(scope="module")
def short(zero):
    """short(ranks, run=..., shards=..., ...): a few steps."""
    return partial(run_ranks, deepspeed_config=zero(1), **SHORT)


@pytest.fixture(scope="module")
def run(short, shards, tmp_path_factory) -> Path:
    """Both stages of mERE."""
    folder = tmp_path_factory.mktemp("run") / "run"
    short(1, run=folder, shards=shards, stage="all").ended(0)
    return folder


def begun(shards: Path, start: Path | None, **knobs):
    """(manifest, model before the first update)"""
    config = TrainConfig(shards=str(shards), run="", deepspeed_config="", start=start and str(start), **knobs)
    manifest = open_shards(config)
    torch.manual_seed(1)
    return manifest, model_of_stage_one(config, manifest, find_start(config.start)).eval()


@torch.no_grad()
def answers(model, manifest: Manifest, split: str = "dev") -> list[dict]:
    given = ("token_ids_BM", "mask_BM", "languages_B")
    found = [dict(model(**{x: getattr(b, x) for x in given})) for b in batches(manifest, split, CPU)]
    assert found
    return found


def same(one: list[dict], other: list[dict]) -> bool:
    return all(
        a.keys() == b.keys() and all(map(torch.equal, a.values(), b.values())) for a, b in zip(one, other, strict=True)
    )


def test_on_the_same_shards_it_answers_as_the_run_did_bit_for_bit(run, shards):
    manifest, model = begun(shards, run)
    trained = load_model(checkpoint(run, 1, "best")).eval()
    assert same(answers(model, manifest), answers(trained, manifest))
    assert not same(answers(model, manifest), answers(begun(shards, None)[1], manifest))
    differing = [name for name, x in trained.state_dict().items() if not torch.equal(x, model.state_dict()[name])]
    assert not differing


def test_rows_go_by_name_into_another_vocabulary_with_other_labels_and_languages(run, other_shards, caplog):
    with caplog.at_level("INFO", "mere_ds"):
        manifest, model = begun(other_shards, run)
    fresh, trained = begun(other_shards, None)[1], load_model(checkpoint(run, 1, "best"))
    ours, theirs = (load_tokenizer(x).get_vocab() for x in (manifest.encoder_folder, checkpoint(run, 1, "best")))
    both = [token for token in ours if token in theirs]
    assert "[fr]" in both and "[ko]" in ours.keys() - theirs.keys() and "[de]" in theirs.keys() - ours.keys()
    assert any(ours[token] != theirs[token] for token in both)
    words = [word_embeddings(x.encoder.model).weight for x in (model, trained, fresh)]
    for token, row in ours.items():
        wanted = words[1][theirs[token]] if token in theirs else words[2][row]
        assert torch.equal(words[0][row], wanted), token
    assert (model.config.labels, trained.config.labels) == (["born-in", "painted"], ["born-in", "made-of", "wrote"])
    for of in (lambda x: x.relation.weight, lambda x: x.heads.relations.weight):
        assert torch.equal(of(model)[0], of(trained)[0]) and torch.equal(of(model)[1], of(fresh)[1])
    assert torch.equal(model.aggregator.qkv.weight, trained.aggregator.qkv.weight)
    assert f"tokens: {len(both)} taken over; {len(ours) - len(both)} new here (" in caplog.text
    assert "languages: 1 taken over (fr); 1 new here (ko); 2 not used (de, uk)" in caplog.text
    assert "labels: 1 taken over (born-in); 1 new here (painted); 2 not used (made-of, wrote)" in caplog.text
    assert "taken over (encoder, aggregator, relation, heads); 0 new here; 0 not used" in caplog.text


def test_a_run_of_one_triple_starts_one_of_many_and_the_reverse(run, shards, many_shards, short, tmp_path, caplog):
    with caplog.at_level("INFO", "mere_ds"):
        _, model = begun(many_shards, run)
    trained = load_model(checkpoint(run, 1, "best"))
    for name in ("token_half.weight", "relation_half.weight", "index_4D"):
        assert torch.equal(model.heads.state_dict()[name], trained.heads.state_dict()[name])
    assert "new here (heads.pairing_4DR, heads.bias); 0 not used" in caplog.text
    short(1, run=tmp_path / "many", shards=many_shards, stage="1", start=run).ended(0)
    caplog.clear()
    with caplog.at_level("INFO", "mere_ds"):
        _, back = begun(shards, tmp_path / "many")
    assert torch.equal(back.heads.index_4D, load_model(checkpoint(tmp_path / "many", 1, "best")).heads.index_4D)
    assert "0 new here; 2 not used (heads." in caplog.text


def test_a_run_begins_at_its_stage_one_and_a_checkpoint_at_itself(run, shards, caplog):
    best = used_model(run, "stage1")
    assert find_start(str(run)) == best and best.stage == 1
    two = checkpoint(run, 2, "best")
    with caplog.at_level("INFO", "mere_ds"):
        manifest, model = begun(shards, two)
    assert f"started from {two.resolve()}: stage 2, step 4, sha256 " in caplog.text
    assert "not used (switcher)" in caplog.text
    trained = load_model(two)
    assert torch.equal(model.relation.weight, trained.relation.weight)
    assert not torch.equal(trained.relation.weight, load_model(best.folder).relation.weight)


def test_a_stage_two_alone_serves_too(run, shards, tmp_path):
    alone = shutil.copytree(run, tmp_path / "alone", symlinks=True)
    shutil.rmtree(alone / "checkpoints/stage1")
    with pytest.raises(UserError, match="stage1/best is missing"):
        find_start(str(alone))  # its stage one is lost
    told = json.loads((alone / "config.json").read_text())
    (alone / "config.json").write_text(json.dumps({"stage2": told["stage2"] | {"stage_one_run": str(run)}}))
    start = find_start(str(alone))
    assert start is not None and start.stage == 2


def test_other_systems_take_what_they_have(run, shards, caplog):
    trained = load_model(checkpoint(run, 1, "best"))
    for system, unused in {"mERE-LS-LA": "aggregator", "HERBERTa": "aggregator, heads"}.items():
        caplog.clear()
        with caplog.at_level("INFO", "mere_ds"):
            _, model = begun(shards, run, system=system)
        assert "0 new here; " in caplog.text and f"not used ({unused})" in caplog.text
        assert torch.equal(model.relation.weight, trained.relation.weight)


def test_it_is_recorded_in_config_and_starts(run, other_shards, short, tmp_path):
    said = short(2, run=tmp_path / "new", shards=other_shards, stage="all", start=run, max_steps=2).ended(0).stderr[0]
    best = used_model(run, "stage1")
    wanted = {"path": str(best.folder), "sha256": best.sha256, "stage": 1, "step": 4}
    told = json.loads((tmp_path / "new/config.json").read_text())
    assert told["stage1"]["started_from"] == wanted and "started_from" not in told["stage2"]
    assert told["stage1"]["start"] == str(run)
    assert [line.get("started_from") for line in starts(tmp_path / "new")] == [wanted, None]
    assert said.count("started from ") == 1 and "labels: 1 taken over (born-in)" in said
    assert "weights are random" not in said
    assert "labels: 1 taken over" in (tmp_path / "new/log.txt").read_text()


def test_a_job_script_may_pass_it_to_stage_two_as_well(run, other_shards, short, tmp_path):
    both, one_by_one = tmp_path / "both", tmp_path / "one_by_one"
    knobs = {"shards": other_shards, "start": run, "max_steps": 2}
    short(1, run=both, stage="all", **knobs).ended(0)
    short(1, run=one_by_one, stage="1", **knobs).ended(0)
    said = short(1, run=one_by_one, stage="2", **knobs).ended(0).stderr[0]
    assert f"--start={run} was for stage one, from which stage two starts" in said
    assert_same_results(one_by_one, both)


def test_killed_it_goes_on_to_the_same_bits_and_only_from_the_same_start(run, other_shards, short, tmp_path):
    knobs = {"shards": other_shards, "stage": "1", "start": run}
    short(2, run=tmp_path / "whole", **knobs).ended(0)
    for step in (1, 4):  # before there is a checkpoint, and after
        killed = short(
            2, run=tmp_path / "new", meddle=partial(signal_before_update, signal.SIGKILL, 1, step, 1), **knobs
        )
        assert killed.codes[1] == -signal.SIGKILL, killed
    other = checkpoint(run, 2, "best")
    refused = short(2, run=tmp_path / "new", **knobs | {"start": other}).ended(2).stderr[0].splitlines()[-1]
    assert "--start (sha256) was " in refused and ", is " in refused
    moved = shutil.copytree(checkpoint(run, 1, "best"), tmp_path / "moved")
    said = short(2, run=tmp_path / "new", **knobs | {"start": moved}).ended(0).stderr[0]
    assert "stage 1 resumes from step-00000002" in said and "started from" not in said
    assert_same_results(tmp_path / "new", tmp_path / "whole", (1,))


def test_zero_3_begins_with_the_same_weights(run, other_shards, short, zero, tmp_path):
    """An update at so low a rate rounds to none."""
    knobs = {"shards": other_shards, "stage": "1", "start": run, "learning_rate": 1e-30, "max_steps": 1}
    short(2, run=tmp_path / "new", deepspeed_config=zero(3), **knobs).ended(0)
    saved, trained = (load_model(checkpoint(x, 1, "best")) for x in (tmp_path / "new", run))
    assert torch.equal(saved.aggregator.qkv.weight, trained.aggregator.qkv.weight)
    assert torch.equal(saved.relation.weight[0], trained.relation.weight[0])


def damaged(run: Path, tmp_path: Path) -> Path:
    copy = shutil.copytree(checkpoint(run, 1, "best"), tmp_path / "damaged")
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    return copy


def wide(run: Path, tmp_path: Path) -> Path:
    corpus = write_corpus(tmp_path / "corpus", {"de": (40, 4)})
    tiny = TinySize(hidden=32, layers=1, heads=2, vocabulary=200)
    make_shards(corpus, tmp_path / "wide", dev_share=0.2, tiny=tiny)
    return run


def model_without_state(run: Path, tmp_path: Path) -> Path:
    return model_alone(run / "checkpoints" / "stage1" / "best", tmp_path / "alone")


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        (lambda run, _: Path("/nowhere"), "--start: /nowhere: no such folder"),
        (lambda run, there: there, "no trained model (checkpoints/stage1/best is missing): train it first"),
        (lambda run, _: run / "config.json", "--start: .*config.json: a file, not a folder"),
        (model_without_state, "--start: .*: is a model without training.json, not a run: pass the run that it is from"),
        (damaged, "damaged .model.safetensors does not match its sha256"),
    ],
)
def test_what_is_no_trained_model_is_refused(run, shards, tmp_path, start, shown):
    place = start(run, tmp_path)
    with pytest.raises(UserError, match=shown.replace("(", "[(]").replace(")", "[)]")):
        begun(shards, place)


def test_another_encoder_is_refused_in_one_line_and_leaves_nothing(run, short, tmp_path):
    wide(run, tmp_path)
    refused = short(1, run=tmp_path / "new", shards=tmp_path / "wide", stage="1", start=run).ended(2).stderr[0]
    assert "hidden_size is 16, but 32 in the shards'" in refused.splitlines()[-1]
    assert "Traceback" not in refused and not (tmp_path / "new").exists()


def test_a_run_does_not_start_from_itself(run, shards, short):
    before = tensors(run, 1)
    refused = short(1, run=run, shards=shards, stage="1", start=run, overwrite=True).ended(2).stderr[0]
    assert "are the same folder" in refused and refused.count("\n") == 1
    assert tensors(run, 1).keys() == before.keys()


@pytest.mark.parametrize("word", ["init_from", "from_run"])
def test_words_that_people_try_suggest_it(word, capsys):
    with pytest.raises(SystemExit):
        flags.run(COMMANDS, ["train", f"--{word}=runs/a", "--shards=s", "--run=r"], "mere-ds")
    assert "--start" in capsys.readouterr().err
