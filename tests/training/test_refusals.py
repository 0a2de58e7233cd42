"""A training continues only with what decides its result unchanged; the difference is shown. The rest may change."""

import hashlib
import json
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from launching import REPOSITORY
from meddling import little_memory, signal_before_update
from outcomes import assert_same_tensors, checkpoint, starts, tensors

from mere_ds.shards.sealing import seal

pytestmark = pytest.mark.slow

MISUSE = 2
ONE_RANK = {"stage": "1", "batch_size": 16}


@pytest.fixture(scope="module")
def stopped(train, tmp_path_factory) -> Path:
    """A run folder whose stage one, on one rank, was stopped after 6 updates."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    train(1, run=run, meddle=partial(signal_before_update, signal.SIGTERM, 1, 6, 0), **ONE_RANK).ended(85)
    return run


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"learning_rate": 2e-3}, "--learning_rate was 0.001, is 0.002"),
        ({"seed": 1}, "--seed was 0, is 1"),
        ({"word_dropout": 0.2}, "--word_dropout was 0.1, is 0.2"),
        ({"epochs": 3}, "--epochs was 2, is 3"),
        ({"concatenate": 4}, "--concatenate was 2, is 4"),
        ({"system": "mERE-LS-LA"}, "--system was mERE, is mERE-LS-LA"),
        ({"batch_size": 8}, "global batch was 16, is 8"),
    ],
)
def test_another_knob_is_refused(train, stopped, change, shown):
    before = tensors(stopped, 1)
    refused = train(1, run=stopped, **ONE_RANK | change).ended(MISUSE)
    assert shown in refused.stderr[0].splitlines()[-1] and refused.stderr[0].count("\n") == 1, refused
    assert_same_tensors(tensors(stopped, 1), before)


def test_other_data_is_refused(train, stopped, dropout_shards, tmp_path):
    shards = shutil.copytree(dropout_shards, tmp_path / "shards")
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["splits"]["train"]["shards"][0]["sha256"] = "0" * 64
    (shards / "manifest.json").write_bytes(seal(manifest))
    refused = train(1, run=stopped, shards=shards, **ONE_RANK).ended(MISUSE)
    said = refused.stderr[0]
    assert "data (sha256 of manifest.json) was " in said and said.count("\n") == 1, refused
    assert f"pass the same options and shards as at its first start (--shards={dropout_shards})" in said, refused


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"gradient_clipping": 0.5}, "gradient_clipping was 1.0, is 0.5"),
        ({"bf16": {"enabled": True}}, "precision was fp32, is bf16"),
        ({"optimizer": {"type": "AdamW", "params": {"torch_adam": True, "betas": [0.9, 0.99]}}}, "betas was None, is"),
    ],
)
def test_another_deepspeed_config_is_refused(train, stopped, zero, tmp_path, change, shown):
    (tmp_path / "ds.json").write_text(json.dumps(json.loads(zero(1).read_text()) | change))
    refused = train(1, run=stopped, deepspeed_config=tmp_path / "ds.json", **ONE_RANK).ended(MISUSE)
    assert shown in refused.stderr[0], refused


@pytest.mark.parametrize(
    ("ds", "says"),
    [
        ((REPOSITORY / "ds_configs" / "a100_h100.json").read_text(), "use --deepspeed_config=cpu"),
        ('{"zero_optimisation": {"stage": 2}}', "did you mean zero_optimization?"),
        ('{"optimizer": {"params": {"torch_adam": true, "lr": "x"}}}', 'optimizer.params.lr = "x": must be a number'),
    ],
)
def test_a_refused_deepspeed_config_leaves_nothing_behind(train, tmp_path, ds, says):
    (tmp_path / "ds.json").write_text(ds)
    refused = train(2, run=tmp_path / "run", deepspeed_config=tmp_path / "ds.json", **ONE_RANK).ended(MISUSE)
    assert all(says in told and told.count("\n") == 1 for told in refused.stderr), refused
    assert not (tmp_path / "run").exists()


def test_without_the_flag_a_stage_keeps_its_config_and_a_new_one_takes_the_devices(train, stopped, zero, tmp_path):
    new = train(1, run=tmp_path / "new", deepspeed_config=None, max_steps=1, **ONE_RANK).ended(0)
    assert "--deepspeed_config=cpu: torch finds no GPU here" in new.stderr[0]
    assert json.loads((tmp_path / "new" / "config.json").read_text())["stage1"]["deepspeed_config"] == "cpu"
    again = train(1, run=stopped, deepspeed_config=None, seed=1, **ONE_RANK).ended(MISUSE)  # the seed ends it soon
    assert f"--deepspeed_config={zero(1)}: this stage started with it" in again.stderr[0]


def test_buckets_beyond_the_memory_are_one_line(train, zero, tmp_path):
    ds = json.loads(zero(2).read_text())
    ds["zero_optimization"]["reduce_bucket_size"] = 10**10
    (tmp_path / "ds.json").write_text(json.dumps(ds))
    meddle = partial(little_memory, 32 << 30)
    ended = train(2, run=tmp_path / "run", deepspeed_config=tmp_path / "ds.json", meddle=meddle, **ONE_RANK).ended(1)
    said = "".join(ended.stderr)
    assert "out of memory (could not allocate 40000000000 bytes)" in said and "reduce_bucket_size" in said, ended
    assert "Traceback" not in said, ended


def test_a_stage_that_began_before_clipping_was_recorded_goes_on_to_the_same_bits(train, stopped, zero, tmp_path):
    """DeepSpeed clipped at 1 then too, in ZeRO 1. Nor did it record by which versions it was made."""
    same, old = (shutil.copytree(stopped, tmp_path / name, symlinks=True) for name in ("same", "old"))
    told = json.loads((old / "config.json").read_text())
    del told["stage1"]["gradient_clipping"]
    (old / "config.json").write_text(json.dumps(told))
    state = (old / "checkpoints/stage1/latest").resolve() / "training.json"
    then = json.loads(state.read_text())
    then["ingredients"]["gradient_clipping"] = None
    del then["start"]
    (old / "starts.jsonl").unlink()
    state.write_text(json.dumps(then))
    sums = [line.split("  ")[1] for line in (state.parent / "SHA256SUMS").read_text().splitlines()]
    digests = {name: hashlib.sha256((state.parent / name).read_bytes()).hexdigest() for name in sums}
    (state.parent / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    silent = {key: value for key, value in json.loads(zero(1).read_text()).items() if key != "gradient_clipping"}
    (tmp_path / "ds.json").write_text(json.dumps(silent))
    train(1, run=same, **ONE_RANK).ended(0)
    went_on = train(1, run=old, deepspeed_config=tmp_path / "ds.json", **ONE_RANK).ended(0)
    assert "resumes from step-00000006" in went_on.stderr[0]
    assert_same_tensors(tensors(same, 1), tensors(old, 1))
    assert [start["step"] for start in starts(same)] == [0, 6]
    assert [start["step"] for start in starts(old)] == [6]


def test_each_start_of_a_stage_records_what_it_is_made_by(stopped):
    (start,) = starts(stopped)
    assert (start["stage"], start["step"], start["hardware"]["ranks"]) == (1, 0, 1)
    assert start["versions"]["torch"] == torch.__version__
    assert json.loads((checkpoint(stopped, 1) / "training.json").read_text())["start"] == start


def test_what_decides_nothing_may_change(train, stopped, dropout_shards, tmp_path):
    same, changed = (shutil.copytree(stopped, tmp_path / name, symlinks=True) for name in ("same", "changed"))
    free = {
        "log_every": 3, "save_minutes": 0, "save_steps": None, "keep": 5, "prefetch": False, "timeout": 77,
        "on_nonfinite": "stop", "nonfinite_limit": 9, "top_k": 2, "patience": 1,
        "shards": shutil.copytree(dropout_shards, tmp_path / "moved"),
    }  # fmt: skip
    for run, knobs in ((same, {}), (changed, free)):
        assert "resumes from step-00000006" in train(1, run=run, **ONE_RANK | knobs).ended(0).stderr[0]
    assert checkpoint(same, 1).resolve().name == checkpoint(changed, 1).resolve().name
    assert_same_tensors(tensors(same, 1), tensors(changed, 1))


def test_stage_two_is_bound_to_the_stage_one_it_began_with(train, tmp_path):
    knobs = {"run": tmp_path / "run", "batch_size": 16, "epochs": 1}
    stop = partial(signal_before_update, signal.SIGTERM, 2, 6, 0)
    train(1, meddle=stop, **knobs).ended(85)
    train(1, stage="1", overwrite=True, seed=5, **knobs).ended(0)
    refused = train(1, stage="2", **knobs).ended(MISUSE)
    assert "stage one's model" in refused.stderr[0], refused
