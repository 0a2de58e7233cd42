"""`train --dry_run` tells what a training really has: its parameters, steps, bytes; and leaves nothing."""

import json
import re
from dataclasses import replace

import pytest
import torch
from launching import deepspeed_config

from mere_ds.config import PRESETS, TrainConfig
from mere_ds.encoders.loading import encoder_shapes
from mere_ds.errors import UserError
from mere_ds.shards.manifest import Manifest
from mere_ds.train import run
from mere_ds.training.cost import optimizer_bytes, traffic, weight_bytes, zero_bytes
from mere_ds.training.dry_run import shapes
from mere_ds.training.stages import begin_stage_two, model_config, model_of_stage_one, starting_encoder


@pytest.mark.parametrize(("stage", "a_parameter"), [(0, 16), (1, 4 + 12 / 8), (2, 2 + 14 / 8), (3, 16 / 8)])
def test_mixed_precision_state_is_that_of_the_zero_paper(stage, a_parameter):
    assert sum(zero_bytes(stage, ranks=8, trained=1000)) == 1000 * a_parameter
    assert sum(zero_bytes(stage, ranks=1, trained=1000)) == 16000


@pytest.mark.parametrize(("stage", "a_parameter"), [(0, 16), (1, 14), (2, 12), (3, 10)])
def test_fp32_state_with_a_master_copy_on_two_ranks(stage, a_parameter):
    assert sum(zero_bytes(stage, 2, trained=10, weight=4, optimizer=12 if stage else 8)) == 10 * a_parameter


def test_frozen_parameters_cost_their_weights_alone():
    assert sum(zero_bytes(2, ranks=4, trained=8, frozen=100)) == sum(zero_bytes(2, ranks=4, trained=8)) + 200
    assert sum(zero_bytes(3, ranks=4, trained=8, frozen=100)) == sum(zero_bytes(3, ranks=4, trained=8)) + 50


@pytest.mark.parametrize(
    ("stage", "reduce", "passes"),
    [(0, False, 2), (1, False, 3), (1, True, 2), (2, False, 9), (2, True, 5), (3, False, 8)],
)
def test_traffic_of_four_micro_steps(stage, reduce, passes):
    assert traffic(stage, ranks=4, values=100, accumulation=4, reduce=reduce) == passes * 200 * 3 / 4
    assert traffic(stage, ranks=1, values=100, accumulation=4, reduce=reduce) == 0


def test_bytes_of_weights_and_optimizer_by_precision():
    assert [weight_bytes(p) for p in ("fp32", "bf16 autocast", "bf16", "fp16")] == [4, 4, 2, 2]
    assert [optimizer_bytes("fp32", stage) for stage in range(4)] == [8, 12, 12, 12]
    assert {optimizer_bytes(p, stage) for p in ("bf16", "fp16") for stage in range(4)} == {12}


SMALL = {"submodule_layers": (1, 2), "top_k": 1, "bottleneck": 8, "batch_size": 4}


@pytest.mark.parametrize("system", PRESETS)
def test_the_shapes_are_those_of_the_real_model(toy_shards, system):
    manifest = Manifest.load(str(toy_shards))
    config = TrainConfig(
        shards=str(toy_shards), run="r", system=system, **SMALL | {"encoder_weights": str(toy_shards / "encoder")}
    )
    for stage in (1, 2) if PRESETS[system].get("use_ls", system == "HERBERTa") else (1,):
        real = model_of_stage_one(config, manifest, None)
        if stage == 2:
            begin_stage_two(real, model_config(config, manifest), lambda: starting_encoder(config, manifest))
        planned = shapes(config, manifest, stage)
        assert {parameter.device.type for parameter in planned.parameters()} == {"meta"}
        for model in (real, planned):
            model.sizes = {n: (p.shape, p.requires_grad) for n, p in model.named_parameters()}
        assert planned.sizes == real.sizes


def test_a_hub_s_encoder_has_the_rows_of_new_tokens(toy_shards):
    manifest = Manifest.load(str(toy_shards))
    more = replace(manifest.encoder, vocab_size=manifest.encoder.vocab_size + 5)
    words = encoder_shapes(manifest.encoder_folder, more).get_input_embeddings()
    assert words.num_embeddings == more.vocab_size and words.weight.is_meta


def test_it_tells_the_steps_bytes_and_time_and_leaves_nothing(toy_shards, tmp_path, capsys, monkeypatch):
    zero = str(deepspeed_config(tmp_path, 2, "fp32"))
    given = {
        "shards": str(toy_shards),
        "run": str(tmp_path / "run"),
        "deepspeed_config": zero,
        "dry_run": True,
        **SMALL,
    }
    given |= {"accumulation": 2, "epochs": 3, "epochs_stage_two": 2}
    monkeypatch.setattr(torch, "load", None)  # nor reads weights
    before = sorted(toy_shards.rglob("*"))
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "MASTER_ADDR": "x", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    run(given)
    said = capsys.readouterr().out
    assert not (tmp_path / "run").exists() and sorted(toy_shards.rglob("*")) == before
    manifest = Manifest.load(str(toy_shards))
    one, two = (
        [sum(p.numel() for p in shapes(TrainConfig(**given), manifest, s).parameters() if p.requires_grad is r)
         for r in (True, False)]
        for s in (1, 2)
    )  # fmt: skip
    train = manifest.splits["train"].sentences
    for (trained, frozen), epochs in ((one, 3), (two, 2)):
        assert f"{trained + frozen:,} parameters, {trained:,} of them trained, in fp32" in said
        assert f"{epochs * -(-train // 16):,} steps of 16 sentences = 4 x 2 ranks x 2 accumulation" in said
        assert f"{(12 * trained + 4 * frozen) / 2**20:,.1f} MiB of rank 0's main memory" in said
        assert f"{3 * (12 * trained + 4 * frozen) / 2**20:,.1f} MiB of checkpoints: the newest --keep=2" in said
        row = rf"2 \(chosen\) +{4 * (trained + frozen) / 2**20:,.1f} +{2 * trained / 2**20:,.1f} "
        assert re.search(row + rf"+{6 * trained / 2**20:,.1f}", said), said
    assert said.count("time: unknown") == 2
    (tmp_path / "run").mkdir()
    rows = [{"stage": 1, "kind": "train", "sentences_per_second": speed} for speed in (1.0, 2.0, 50.0)]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "[]\n{")
    run(given | {"stage": "1"})
    assert f"time: about {3 * train / 120:.1f} minutes at this run's 2.0 sentences a second" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "1")
    run(given)
    assert not capsys.readouterr().out, "one rank tells it"


def test_rows_that_wait_have_no_gradient_and_are_not_sent(toy_shards, tmp_path, capsys, monkeypatch):
    given = {"shards": str(toy_shards), "run": str(tmp_path / "run"), "dry_run": True, "stage": "1", **SMALL}
    given |= {"deepspeed_config": str(deepspeed_config(tmp_path, 0)), "embedding_rows": "touched"}
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "MASTER_ADDR": "x", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    run(given)
    model = shapes(TrainConfig(**given), Manifest.load(str(toy_shards)), 1)
    trained, words = model.num_parameters(), model.get_input_embeddings().weight.numel()
    mib = [f"{4 * n / 2**20:,.1f}" for n in (trained, trained - words, 2 * trained)]
    said = capsys.readouterr().out
    assert re.search(rf"0 \(chosen\) +{mib[0]} +{mib[1]} +{mib[2]} .* {mib[1]} ", said), said
    assert f"{4 * (3 * trained + words) / 2**20:,.1f} MiB of rank 0's main memory" in said
    with pytest.raises(UserError, match="--embedding_rows=touched needs ZeRO 0"):
        run(given | {"deepspeed_config": str(deepspeed_config(tmp_path, 2))})


def test_a_start_that_would_be_refused_is_refused_here(toy_shards, tmp_path):
    given = {"shards": str(toy_shards), "run": str(tmp_path / "run"), "dry_run": True, "start": "/nowhere", **SMALL}
    with pytest.raises(UserError, match="--start: /nowhere: no such folder"):
        run(given)
    run(given | {"stage": "2"})  # on which it has no effect
