"""Precisions, ZeRO stages, numbers of ranks and refusals, through the real launcher."""

import json
import math
import shutil
import subprocess
import sys

import pytest
import torch
from launching import REPOSITORY, deepspeed_config, deepspeed_train, records, succeeded, weights

STEPS = 20


def train(shards, tmp_path, *flags, stage="1", zero=1, precision="fp32", ranks=2, name="run"):
    run = tmp_path / name
    succeeded(deepspeed_train(
        f"--stage={stage}", f"--shards={shards}", f"--run={run}",
        f"--deepspeed_config={deepspeed_config(tmp_path, zero, precision)}", f"--max_steps={STEPS}", "--log_every=1",
        "--learning_rate=1e-3", "--bottleneck=192", *flags, ranks=ranks,
    ))  # fmt: skip
    return run


def loss_fell(rows: list[dict]) -> bool:
    """Single batches vary with their sentences' length, so a few at a time."""
    losses = [r["loss_terms"]["relation"] for r in rows]
    return sum(losses[-5:]) < sum(losses[:5])


def test_zero_stages_agree_on_the_loss_over_20_steps(shards, tmp_path):
    """fp32 on 2 ranks: relative difference of each step's loss below 1e-4."""
    losses = {}
    for zero in range(4):
        run = train(shards, tmp_path, zero=zero, name=f"zero{zero}")
        losses[zero] = [r["loss"] for r in records(run)]
        assert len(losses[zero]) == STEPS
        assert (run / "checkpoints/stage1/best/model.safetensors").exists()
        assert all(r["gradient_norm"] > 0 for r in records(run))
    for zero in (1, 2, 3):
        assert losses[zero] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_bf16_trains_in_both_stages(shards, tmp_path, zero):
    run = train(shards, tmp_path, stage="all", zero=zero, precision="bf16")
    assert loss_fell(records(run))
    assert len(records(run, stage=2)) == STEPS
    assert all(math.isfinite(r["loss"]) and r["gradient_norm"] > 0 for r in records(run, stage=2))
    before, after = weights(run, 1), weights(run, 2)
    for name in before:  # the engine rounds its own copy to 16 bits, what is saved of the frozen part must not be
        if name.startswith(("encoder.", "aggregator.")):
            assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["relation.weight"], after["relation.weight"])
    assert {w.dtype for w in after.values()} == {torch.float32}


def test_one_rank_and_accumulation_see_the_same_global_batches(shards, tmp_path):
    """1 rank x 2 accumulation steps of 16 = 2 ranks of 16: dropout aside, the same training."""
    two = train(shards, tmp_path, name="two")
    one = train(shards, tmp_path, "--accumulation=2", ranks=1, name="one")
    first = [records(run)[0] for run in (one, two)]
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-2)
    last = [records(run)[-1] for run in (one, two)]
    assert last[0]["loss"] == pytest.approx(last[1]["loss"], rel=0.1)


@pytest.mark.parametrize("system", ["mERE-LS", "mERE-LS-LA"])
def test_other_systems_have_stage_one_only(shards, tmp_path, system):
    run = train(shards, tmp_path, f"--system={system}", stage="all", ranks=1)
    assert not (run / "checkpoints/stage2").exists()
    assert loss_fell(records(run))


def direct(*flags) -> subprocess.CompletedProcess:
    """train.py started by its path, without a launcher."""
    return subprocess.run(
        [sys.executable, REPOSITORY / "mere_ds" / "train.py", *map(str, flags)], capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--sede=1"], "unknown flag --sede (did you mean seed?)"),
        (["--epochs=many"], "a whole number is wanted"),
        (["--epochs"], "--epochs wants a value"),
        ([], "--shards=... is missing"),
    ],
)
def test_misuse_ends_before_any_work(flags, says):
    result = direct(*flags)
    assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1


def test_contradictions_and_missing_things_are_one_line(shards, tmp_path):
    ds = json.loads(deepspeed_config(tmp_path).read_text()) | {"gradient_accumulation_steps": 4}
    (tmp_path / "ds4.json").write_text(json.dumps(ds))
    base = [f"--shards={shards}", f"--run={tmp_path / 'r'}"]
    clash = direct(*base, f"--deepspeed_config={tmp_path / 'ds4.json'}", "--accumulation=2")
    assert clash.returncode == 2 and "contradicts gradient_accumulation_steps = 4" in clash.stderr
    fp16 = direct(*base, f"--deepspeed_config={deepspeed_config(tmp_path, precision='fp16')}")
    assert fp16.returncode == 2 and "fp16 needs a GPU" in fp16.stderr
    no_stage_one = direct(*base, f"--deepspeed_config={deepspeed_config(tmp_path)}", "--stage=2")
    assert no_stage_one.returncode == 2 and "train stage one first" in no_stage_one.stderr
    other_encoder = direct(*base, f"--deepspeed_config={deepspeed_config(tmp_path)}", "--encoder=e5-small")
    assert other_encoder.returncode == 2 and "made with the encoder tiny, not e5-small" in other_encoder.stderr
    no_shards = direct(f"--shards={tmp_path}", base[1], f"--deepspeed_config={deepspeed_config(tmp_path)}")
    assert no_shards.returncode == 2 and "mere-ds shard" in no_shards.stderr


def test_a_missing_or_damaged_shard_stops_training_by_name(shards, tmp_path):
    broken = shutil.copytree(shards, tmp_path / "shards")
    shard = broken / "train-00000.tar"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    flags = [f"--shards={broken}", f"--run={tmp_path / 'r'}", f"--deepspeed_config={deepspeed_config(tmp_path)}"]
    damaged = direct("--stage=1", *flags)
    assert damaged.returncode == 2 and "train-00000.tar" in damaged.stderr.splitlines()[-1]
    shard.unlink()
    missing = direct("--stage=1", *flags, "--overwrite")
    assert missing.returncode == 2 and "train-00000.tar: this shard is missing" in missing.stderr
