"""Stage two with features that are computed once: what it saves, that it changes nothing, and what can go wrong."""

import os
import shutil
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from launching import records
from meddling import (
    a_disk_of_its_own,
    every,
    full_disk_in_filling,
    little_space,
    no_encoder_in_stage_two,
    record_filling,
    signal_before_update,
    signal_in_filling,
    somebody_elses_folder,
)
from outcomes import assert_same_results, metrics
from ranks import run_ranks

from mere_ds.config import TrainConfig
from mere_ds.shards.manifest import Manifest
from mere_ds.training.feature_cache import why_not

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def train(small_shards, zero, tmp_path_factory):
    """train(ranks=2, run=..., ...): three epochs of stage two over the same stage one."""
    knobs = {
        "shards": small_shards, "deepspeed_config": zero(1), "epochs": 1, "epochs_stage_two": 3, "patience": 3,
        "batch_size": 8, "learning_rate": 1e-3, "bottleneck": 64, "log_every": 1, "save_steps": 5,
    }  # fmt: skip
    one = tmp_path_factory.mktemp("stage_one") / "run"
    run_ranks(2, run=one, stage="1", **knobs).ended(0)

    def train(ranks: int = 2, *, run: Path, **other):
        if not run.exists():
            shutil.copytree(one, run, symlinks=True)
        return run_ranks(ranks, run=run, **{**knobs, "stage": "2", **other})

    return train


@pytest.fixture(scope="module")
def cached(train, tmp_path_factory) -> Path:
    """A run whose encoder would fail if stage two's updates or dev scores ran it."""
    run = tmp_path_factory.mktemp("cached") / "run"
    train(run=run, meddle=no_encoder_in_stage_two).ended(0)
    return run


@pytest.fixture(scope="module")
def computed_anew(train, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("again") / "run"
    result = train(run=run, feature_cache_gib=0).ended(0)
    assert "computed in every epoch: --feature_cache_gib=0" in result.stderr[0]
    return run


def test_features_in_fp16_change_the_loss_by_rounding_alone(cached, computed_anew):
    """fp32 training: the loss of every step within 2e-3 relative, and the same dev scores within a sentence or two."""
    pairs = list(zip(records(cached, stage=2), records(computed_anew, stage=2), strict=True))
    assert len(pairs) > 20
    for here, there in pairs:
        assert here["loss"] == pytest.approx(there["loss"], rel=2e-3)
    dev = [
        [row["pooled"]["relation"] for row in metrics(run) if row["kind"] == "dev"] for run in (cached, computed_anew)
    ]
    assert dev[0] == pytest.approx(dev[1], abs=5)
    assert not list(cached.glob("features*")), "removed when stage two was done"


def test_interrupted_it_goes_on_to_the_same_bits(train, cached, tmp_path):
    run = tmp_path / "run"
    told_to_stop = partial(signal_before_update, signal.SIGUSR1, 2, 9, 1)
    train(run=run, meddle=told_to_stop).ended(85)
    kept = sorted(path.name for path in run.glob("features/*/*"))
    assert kept == ["dev-000000.features", "train-000000.features"]
    killed = partial(signal_before_update, signal.SIGKILL, 2, 17, 0)
    again = train(run=run, meddle=partial(every, killed, partial(record_filling, tmp_path)))
    assert again.codes[0] == -signal.SIGKILL and not list(tmp_path.glob("blocks-*")), "nothing is computed twice"
    train(run=run).ended(0)
    assert_same_results(run, cached, stages=(2,))


def test_a_signal_while_features_are_computed(train, cached, tmp_path):
    run = tmp_path / "run"
    train(run=run, meddle=partial(signal_in_filling, signal.SIGTERM, 0, 0)).ended(85)
    assert [path.name for path in run.glob("features/*/*")] == ["train-000000.features"]
    (run / "features/mere-ds-of-before").mkdir()
    train(run=run, meddle=partial(record_filling, tmp_path)).ended(0)
    assert [path.read_text() for path in tmp_path.glob("blocks-*")] == ["dev 0\n"]
    assert not (run / "features").exists()
    assert_same_results(run, cached, stages=(2,))


@pytest.mark.parametrize(
    ("meddle", "knobs", "reason"),
    [
        (None, {"feature_cache_gib": 1e-4}, "they need 0.0 GiB, more than --feature_cache_gib=0.0001"),
        (little_space, {}, "has 0.0 GiB free"),
        (partial(full_disk_in_filling, 0), {}, "No space left on device"),
        (None, {"feature_cache": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
def test_where_they_do_not_fit_training_goes_on_without(train, computed_anew, tmp_path, meddle, knobs, reason):
    run = tmp_path / "run"
    result = train(run=run, meddle=meddle, **knobs).ended(0)
    assert "features are not cached but computed in every epoch: " in result.stderr[0] and reason in result.stderr[0]
    assert_same_results(run, computed_anew, stages=(2,))
    assert not list(run.glob("features*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder to another user needs root")
def test_a_folder_of_somebody_else_is_neither_used_nor_removed(train, tmp_path):
    run, disk = tmp_path / "run", tmp_path / "disk"
    result = train(run=run, feature_cache=disk, max_steps=12, meddle=somebody_elses_folder).ended(0)
    assert "belongs to another user" in result.stderr[0]
    assert [path.name for path in disk.glob("*/*")] == ["theirs"]


def test_a_folder_that_the_user_named_stays(train, tmp_path):
    run, disk = tmp_path / "run", tmp_path / "disk"
    disk.mkdir()
    train(run=run, feature_cache=disk, max_steps=12, meddle=partial(record_filling, tmp_path)).ended(0)
    assert list(tmp_path.glob("blocks-*")) and disk.exists() and not list(disk.iterdir())


def test_kept_features_serve_another_stage_two(train, cached, tmp_path):
    """Also one of a single epoch; what it learns is what it would learn from features of its own."""
    disk, knobs = tmp_path / "disk", {"feature_cache": tmp_path / "disk", "keep_features": True}
    train(run=tmp_path / "a", seed=1, epochs_stage_two=1, **knobs).ended(0)
    blocks = {path: path.stat().st_mtime_ns for path in disk.glob("*/*")}
    assert sorted(path.name for path in blocks) == ["dev-000000.features", "train-000000.features"]
    train(run=tmp_path / "b", meddle=partial(record_filling, tmp_path), **knobs).ended(0)
    assert not list(tmp_path.glob("blocks-*")), "nothing is computed twice"
    assert {path: path.stat().st_mtime_ns for path in disk.glob("*/*")} == blocks
    assert_same_results(tmp_path / "b", cached, stages=(2,))


def test_kept_features_that_are_damaged_or_of_an_older_version_are_made_anew(train, cached, tmp_path):
    disk, knobs = tmp_path / "disk", {"feature_cache": tmp_path / "disk", "keep_features": True}
    train(run=tmp_path / "a", seed=1, epochs_stage_two=1, **knobs).ended(0)
    dev, split = sorted(disk.glob("*/*"))
    whole = {path: path.read_bytes() for path in (dev, split)}
    dev.write_bytes(whole[dev][:-32])  # as they were before blocks had seals
    spoilt = bytearray(whole[split])
    spoilt[len(spoilt) // 2] ^= 1
    split.write_bytes(spoilt)
    again = train(run=tmp_path / "b", meddle=partial(record_filling, tmp_path), **knobs).ended(0)
    assert again.stderr[0].count("damaged or from an older version") == 2
    assert {path: path.read_bytes() for path in whole} == whole
    assert_same_results(tmp_path / "b", cached, stages=(2,))


def test_nodes_that_share_no_disk_compute_all_for_themselves(train, cached, tmp_path):
    disks, run = tmp_path / "disks", tmp_path / "run"
    meddle = partial(every, partial(a_disk_of_its_own, disks), partial(record_filling, tmp_path))
    train(run=run, meddle=meddle).ended(0)
    assert {path.read_text() for path in tmp_path.glob("blocks-*")} == {"train 0\ndev 0\n"}
    assert not list(disks.glob("*/*"))
    for here, there in zip(records(run, stage=2), records(cached, stage=2), strict=True):
        assert here["loss"] == there["loss"]


@pytest.mark.parametrize(("zero_stage", "precision"), [(3, "bf16"), (0, "bf16 autocast")])
def test_16_bits(train, zero, tmp_path, zero_stage, precision):
    """A 16-bit training rounds nothing: only the padded width of a sentence's neighbours differs."""
    ds, losses = zero(zero_stage, precision), []
    for gib in (64, 0):
        run = tmp_path / str(gib)
        train(run=run, deepspeed_config=ds, feature_cache_gib=gib, max_steps=12).ended(0)
        losses.append([row["loss"] for row in records(run, stage=2)])
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({}, None),
        ({"word_dropout": 0.1}, "--word_dropout changes the sentences"),
        ({"concatenate_stage_two": 2}, "depend on its partners"),
        ({"feature_cache_gib": 0.0}, "--feature_cache_gib=0"),
        ({"epochs_stage_two": 1}, "stage two trains for at most one epoch"),
        ({"max_steps": 2}, "stage two trains for at most one epoch"),
    ],
)
def test_they_are_not_used_where_they_would_be_wrong_or_of_no_use(small_shards, knobs, reason):
    config = TrainConfig(shards="", run="", deepspeed_config="", **knobs)
    told = why_not(
        SimpleNamespace(config=config, deepspeed_config={"train_batch_size": 16}), Manifest.load(small_shards)
    )
    assert told is None if reason is None else reason in told
