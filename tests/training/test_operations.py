"""Operations of an update against those that torch counts while the real model trains."""

import json
import signal
from functools import partial

import pytest
import torch
from meddling import signal_before_update
from outcomes import checkpoint
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from mere_ds.config import PRESETS, TrainConfig
from mere_ds.model.loading import load_model
from mere_ds.shards.manifest import Manifest
from mere_ds.training.operations import Operations, Tokens, _of_encoder, counted, operations
from mere_ds.training.stages import begin_stage_two, model_config, model_of_stage_one, starting_encoder

KNOBS = {"submodule_layers": (1, 2, 2), "top_k": 1, "bottleneck": 24}
B, M = 24, 40  # tokens enough that what is left out is little


def test_an_encoder_s_are_those_of_the_papers():
    """2 for each parameter and token, 4 D m^2 for attention, by hand for mBERT's size."""
    D, layers = 768, 12
    token, square = _of_encoder(AutoConfig.for_model("bert", hidden_size=D, num_hidden_layers=layers))
    assert (token, square) == (2 * layers * 12 * D**2, 4 * D * layers)


@pytest.mark.parametrize(("kind", "counts"), [("albert", True), ("t5", True), ("modernbert", True), ("deberta", False)])
def test_encoders_that_share_layers_or_have_other_shapes(kind, counts):
    config = AutoConfig.for_model(kind)
    found = _of_encoder(config)
    assert (found is not None) == counts and (not found or min(found) > 0)


def test_a_batch_s_tokens():
    mask_BM = torch.arange(4) < torch.tensor([[1], [4], [2], [3]])
    assert counted(mask_BM, 1) == Tokens(4, 10, 1 + 16 + 4 + 9, 30)
    assert counted(mask_BM, 2) == Tokens(4, 10, 30, 25 + 25)
    assert Operations(1000, 100, 10, 1).of(Tokens(1, 2, 3, 4)) == 1234


OTHERS: dict = {"characters": 5, "pooler": "mean"}
TUNED = [system for system in PRESETS if PRESETS[system].get("use_ls")]
CASES = [
    *((system, 1, False, {}) for system in PRESETS),
    *((system, 2, cached, knobs) for system in TUNED for cached in (True, False) for knobs in ({}, OTHERS)),
    ("mERE", 1, False, OTHERS),
    ("HERBERTa", 2, False, {}),
]


@pytest.mark.parametrize(("system", "stage", "cached", "knobs"), CASES)
def test_they_are_those_that_torch_counts(toy_shards, system, stage, cached, knobs):
    manifest = Manifest.load(str(toy_shards))
    given = {"encoder_weights": str(toy_shards / "encoder"), **KNOBS, **knobs}
    config = TrainConfig(shards=str(toy_shards), run="r", system=system, **given)
    model = model_of_stage_one(config, manifest, None)
    if stage == 2:
        begin_stage_two(model, model_config(config, manifest), lambda: starting_encoder(config, manifest))
    model.train()
    s = 2 if stage == 1 else 1
    mask_BM, zeros_B = torch.ones(B, M, dtype=torch.bool), torch.zeros(B, dtype=torch.int64)
    gold = {"labels_T": zeros_B, "positions_T4": torch.full((B, 4), 3), "concatenate": s}
    gold |= {"cuts_T4": torch.zeros(B, 4, dtype=torch.int64)} if system != "HERBERTa" else {}
    batch = (torch.randint(20, 200, (B, M)), mask_BM, torch.arange(B) % len(manifest.languages))
    with torch.no_grad():
        features = model.unify(*batch[:2], s) if cached else None
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*batch, **gold, features=features).loss_B.sum().backward()
    found = operations(model, cached)
    assert found is not None
    assert found.of(counted(mask_BM, s)) == pytest.approx(counter.get_total_flops(), rel=0.02)


def per_token(run) -> list[float]:
    """Operations of a token in each record of stage one: speeds are the clock's, this is not."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [1e12 * r["tflops_per_second"] / r["tokens_per_second"] for r in rows if r["kind"] == "train"]


@pytest.mark.slow
def test_records_tell_speed_memory_and_the_slowest_rank(train, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    knobs = {"stage": "1", "epochs": 1, "log_every": 5, "save_steps": 100, "peak_tflops": 0.5}
    train(2, run=whole, **knobs).ended(0)
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    for row in (row for row in rows if row["kind"] == "train"):
        assert row["peak_share"] == pytest.approx(row["tflops_per_second"] / (0.5 * 2))
        assert row["slowest_rank"] in (0, 1) and 100 < row["memory_mib"] < 10_000
        assert row["waiting_share"] <= row["slowest_rank_waiting_share"] + 1e-9 <= 2 * row["waiting_share"] + 1e-8
    train(2, run=stopped, meddle=partial(signal_before_update, signal.SIGTERM, 1, 4, 0), **knobs).ended(85)
    train(1, run=stopped, **knobs).ended(0)
    assert per_token(stopped) == pytest.approx(per_token(whole)), "other ranks, a resumed tally: the same work"
    found = operations(load_model(checkpoint(whole, 1)), cached=False)
    assert all(found.token < each < 1.5 * found.token for each in per_token(whole))
