"""Costs against what the shards, the model and the checkpoints really are."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel

from mere_ds.config import TrainConfig
from mere_ds.reproduction import cost
from mere_ds.reproduction.place import Workspace
from mere_ds.reproduction.plan import Job, Setting, make_plan
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.training.cost import hours, stage_cost


@pytest.fixture(scope="session")
def manifest(shards) -> Manifest:
    return Manifest.load(shards)


def config(**knobs) -> TrainConfig:
    return TrainConfig(shards="s", run="r", deepspeed_config="d", keep=1, **knobs)


def sentences(manifest: Manifest, *splits: str) -> int:
    return sum(manifest.splits[split].sentences for split in splits)


def test_stage_one(manifest):
    found = stage_cost(config(epochs=3), 1, manifest, ranks=2)
    train, dev = sentences(manifest, "train"), sentences(manifest, "dev")
    assert found.sentences == found.passes_with_gradient == 3 * train and found.passes == 3 * dev
    assert found.updates == 3 * -(-train // 32)


@settings(max_examples=20)
@given(batch=st.integers(1, 20), accumulation=st.integers(1, 3), ranks=st.integers(1, 4), epochs=st.integers(1, 3))
def test_updates_are_those_of_the_batch_plan(manifest, batch, accumulation, ranks, epochs):
    knobs = {"batch_size": batch, "accumulation": accumulation, "concatenate": 1, "epochs": epochs}
    found = stage_cost(config(**knobs), 1, manifest, ranks)
    plan = EpochPlan(
        manifest.index_of("train"),         batch * accumulation * ranks,
    )  # fmt: skip
    assert found.updates == epochs * plan.steps


def triples_of(manifest: Manifest) -> int:
    return sum(n for by_label in manifest.splits["train"].counts.values() for n in by_label.values())


def test_sentences_count_not_their_triples(many_shards):
    many = Manifest.load(many_shards)
    assert many.triples == "many" and triples_of(many) > sentences(many, "train")
    found = stage_cost(config(epochs=3, concatenate=1, batch_size=4), 1, many, ranks=2)
    assert found.updates == 3 * EpochPlan(many.index_of("train"), 8).steps
    assert found.sentences == 3 * sentences(many, "train") and found.passes == 3 * sentences(many, "dev")


def test_a_limit_of_steps_limits_all(manifest):
    found = stage_cost(config(max_steps=2), 1, manifest, ranks=2)
    assert (found.updates, found.sentences, found.passes) == (2, 64, sentences(manifest, "dev"))
    assert stage_cost(config(max_steps=10**6), 1, manifest, ranks=2).updates < 10**6


def test_without_the_number_of_ranks_updates_are_unknown(manifest):
    found = stage_cost(config(epochs=2), 1, manifest, ranks=None)
    assert found.updates is None and found.sentences == 2 * sentences(manifest, "train")


def test_a_switcher_sees_the_encoder_once(manifest):
    once = stage_cost(config(epochs_stage_two=4), 2, manifest, ranks=2)
    train, dev = sentences(manifest, "train"), sentences(manifest, "dev")
    assert once.sentences == 4 * train and once.passes_with_gradient == 0 and once.passes == train + dev
    assert stage_cost(config(epochs_stage_two=4), 2, manifest, ranks=2, features=True).passes == 0
    again = stage_cost(config(epochs_stage_two=4, word_dropout=0.1), 2, manifest, ranks=2)
    assert again.passes == 4 * (train + dev)


def test_one_of_the_stage_twos_over_a_stage_one_computes_its_features(manifest, tmp_path):
    place = Workspace(tmp_path, manifest, {"shards": "s", "deepspeed_config": "d"})
    jobs = make_plan("figure 7", Setting(manifest.languages), seeds=2).jobs
    passes = {name: stage.passes for name, (stage,) in cost.costs(jobs, place, ranks=2).items()}
    once = sentences(manifest, "train", "dev")
    assert [passes[f"{system}-seed{seed}"] for seed in (0, 1) for system in ("mERE", "mERE14")] == [once, 0, once, 0]
    own = Workspace(tmp_path, manifest, place.common | {"feature_cache": "/disk"})
    assert cost.costs(jobs, own, ranks=2)["mERE14-seed0"][0].passes == once, "each removes what it made"


def test_herbertas_second_stage_trains_an_encoder(manifest):
    one, two = (stage_cost(config(system="HERBERTa", epochs=2), stage, manifest, 2) for stage in (1, 2))
    assert two.passes_with_gradient == one.passes_with_gradient == 2 * sentences(manifest, "train")
    assert one.disk < two.disk < 2 * one.disk, "the weights of two encoders, the moments of one"


def test_disk_is_that_of_weights_and_moments(manifest):
    encoder = AutoModel.from_config(AutoConfig.from_pretrained(manifest.encoder_folder))
    numbers = sum(p.numel() for p in encoder.parameters())
    assert stage_cost(config(), 1, manifest, 2).disk == pytest.approx(2 * 4 * 3 * numbers, rel=0.02)
    layers = torch.nn.Linear(manifest.encoder.hidden_size, 64, bias=False).weight.numel() * 2 * 9
    stage_two = stage_cost(config(bottleneck=64), 2, manifest, 2).disk
    assert stage_two == pytest.approx(2 * 4 * (numbers + 3 * layers), rel=0.02)
    each_language = stage_cost(config(bottleneck=64, system="mERE14"), 2, manifest, 2).disk
    assert each_language - stage_two == 2 * 4 * 3 * (14 * 2 - 9) * layers / 9


def test_hours_come_from_what_runs_have_recorded(manifest, tmp_path):
    job = Job("a", {"system": "mERE", "stage": "all", "seed": 0})
    place = Workspace(tmp_path, manifest, {"shards": "s", "deepspeed_config": "d"})
    stages = [stage_cost(place.config(job), stage, manifest, 2) for stage in (1, 2)]
    assert hours(stages, cost.speeds([job], place)) is None
    rows = [(1, "train", 10.0), (1, "train", 30.0), (1, "train", 20.0), (2, "train", 100.0), (1, "dev", 0.0)]
    run = place.run("a").root
    run.mkdir(parents=True)
    lines = [json.dumps({"stage": s, "kind": kind, "sentences_per_second": speed}) for s, kind, speed in rows]
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"stage": 1, "ki']))
    assert cost.speeds([job], place) == {"encoder": 20.0, "switcher": 100.0}
    wanted = stages[0].sentences / 20 + stages[1].sentences / 100
    assert hours(stages, cost.speeds([job], place)) == pytest.approx(wanted / 3600)
