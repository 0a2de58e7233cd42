"""Small shards and a short training of both stages, made once, to compare interrupted ones with."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from launching import deepspeed_config, mere_ds, succeeded
from ranks import run_ranks

from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import describe
from tests.shards.toy_corpus import make_shards, write_corpus

SENTENCES = 200
SHORT = {
    "stage": "all", "epochs": 2, "epochs_stage_two": 2, "batch_size": 8, "learning_rate": 1e-3, "word_dropout": 0.1,
    "bottleneck": 64, "submodule_layers": "1,2", "top_k": 1, "log_every": 1, "save_steps": 4,
}  # fmt: skip


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    languages = "--languages=de,en,ko"
    succeeded(mere_ds("synthesize", folder / "corpus", f"--sentences={SENTENCES}", languages, "--seed=3"))
    succeeded(mere_ds("shard", folder / "corpus", folder / "shards", "--encoder=tiny"))
    return folder / "shards"


@pytest.fixture(scope="session")
def toy_shards(tmp_path_factory) -> Path:
    """Smaller ones, made in this process."""
    folder = tmp_path_factory.mktemp("toy")
    make_shards(write_corpus(folder / "corpus"), folder / "shards")
    return folder / "shards"


@pytest.fixture(scope="session")
def dropout_shards(small_shards) -> Path:
    """The same with an encoder that has dropout, so that a resumed run must draw the same."""
    shards = shutil.copytree(small_shards, small_shards.with_name("dropout"))
    path = shards / "encoder" / "config.json"
    chances = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    path.write_text(json.dumps(json.loads(path.read_text()) | chances))
    manifest = Manifest.load(shards)
    replace(manifest, encoder_files=[describe(path) for path in sorted(path.parent.iterdir())]).save(shards)
    return shards


@pytest.fixture(scope="session")
def zero(tmp_path_factory) -> Callable[..., Path]:
    """zero(stage, precision="fp32"): DeepSpeed's config."""
    folder = tmp_path_factory.mktemp("ds_configs")
    return lambda stage, precision="fp32": deepspeed_config(folder, stage, precision)


@pytest.fixture(scope="session")
def train(dropout_shards, zero) -> Callable:
    """train(ranks, run=..., ...): a short training of both stages with dropout; any knob may be given again."""
    return partial(run_ranks, shards=dropout_shards, deepspeed_config=zero(1), **SHORT)


@pytest.fixture(scope="session")
def reference(train, tmp_path_factory) -> Path:
    """The run folder of the short training on 2 ranks, never interrupted."""
    run = tmp_path_factory.mktemp("reference") / "run"
    train(2, run=run).ended(0)
    return run
