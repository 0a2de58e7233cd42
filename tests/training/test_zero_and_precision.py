"""Every ZeRO stage, fp32 and bf16: they train, agree, and continue exactly."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from launching import records, weights
from outcomes import assert_same_tensors, checkpoint, state, tensors
from ranks import run_ranks

pytestmark = pytest.mark.slow

STEPS = 20
BF16_STEPS = 10  # they are slow where a CPU has no bf16 products
KNOBS = {"max_steps": STEPS, "batch_size": 8, "learning_rate": 1e-3, "bottleneck": 64, "log_every": 1, "keep": 9}


@pytest.fixture(scope="module")
def train(small_shards, zero):
    """train(run, ZeRO stage, precision, ranks=2, ...): 20 steps of each stage."""

    def train(run: Path, zero_stage: int | str = 1, precision: str = "fp32", ranks: int = 2, **knobs) -> Path:
        ds = zero(zero_stage, precision)
        run_ranks(ranks, shards=small_shards, run=run, deepspeed_config=ds, **(KNOBS | knobs)).ended(0)
        return run

    return train


def loss_fell(rows: list[dict]) -> bool:
    """Single batches vary with their sentences' length, so a few at a time."""
    losses = [r["loss_terms"]["relation"] for r in rows]
    return sum(losses[-5:]) < sum(losses[:5])


@pytest.fixture(scope="module")
def stage_one(train, tmp_path_factory) -> list[Path]:
    """Runs of stage one by ZeRO stage, fp32 on 2 ranks."""
    folder = tmp_path_factory.mktemp("stage_one")
    return [train(folder / str(zero_stage) / "run", zero_stage, stage="1", save_steps=7) for zero_stage in range(4)]


def test_zero_stages_agree_on_the_loss_over_20_steps(stage_one):
    """Relative difference of each step's loss below 1e-4."""
    losses = [[r["loss"] for r in records(run)] for run in stage_one]
    assert len(losses[0]) == STEPS
    assert all(r["gradient_norm"] > 0 for run in stage_one for r in records(run))
    for others in losses[1:]:
        assert others == pytest.approx(losses[0], rel=1e-4)


@pytest.fixture(scope="module")
def fp32_losses(train, tmp_path_factory) -> list[float]:
    """Of the first steps of stage one, on 2 ranks."""
    run = train(tmp_path_factory.mktemp("fp32") / "run", stage="1", max_steps=BF16_STEPS)
    return [r["loss"] for r in records(run)]


@pytest.mark.parametrize(
    ("zero_stage", "precision"), [(0, "bf16"), ("a100_h100", "bf16"), (2, "bf16"), (3, "bf16"), (0, "bf16 autocast")]
)
def test_bf16_trains_as_fp32_does_and_goes_on_exactly(train, fp32_losses, tmp_path, zero_stage, precision):
    run = train(tmp_path / "run", zero_stage, precision, save_steps=7, max_steps=BF16_STEPS)
    assert [r["loss"] for r in records(run)] == pytest.approx(fp32_losses, rel=0.01)
    assert len(records(run, stage=2)) == BF16_STEPS
    assert all(math.isfinite(r["loss"]) and r["gradient_norm"] > 0 for r in records(run, stage=2))
    before, after = weights(run, 1), weights(run, 2)
    for name in before:  # the engine rounds its own copy to 16 bits, what is saved of the frozen part must not be
        if name.startswith(("encoder.", "aggregator.")):
            assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["relation.weight"], after["relation.weight"])
    assert {w.dtype for w in after.values()} == {torch.float32}
    goes_on_from_step_7(train, run, zero_stage, precision, max_steps=BF16_STEPS)


def test_zero_0_in_bf16_begins_without_an_update(train, tmp_path):
    """DeepSpeed makes one on zero gradients, which shrinks the weights and makes Adam's first real one smaller."""
    knobs = {"precision": "bf16", "ranks": 1, "stage": "1", "max_steps": 1, "languages": "de"}
    runs = [train(tmp_path / f"zero{zero_stage}", zero_stage, **knobs) for zero_stage in (0, 1)]
    assert [state(run, 1)["counters"]["updates"] for run in runs] == [1, 1]
    ours, theirs = (weights(run, 1) for run in runs)
    worst = max((ours[name] - theirs[name]).abs().max().item() for name in ours)
    assert worst < 0.01 * KNOBS["learning_rate"], "of an update, which is the rate for each weight"


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_fp32_goes_on_exactly(train, stage_one, zero_stage):
    goes_on_from_step_7(train, stage_one[zero_stage], zero_stage, "fp32")


def goes_on_from_step_7(train, run: Path, zero_stage: int | str, precision: str, **knobs) -> None:
    """Stage one once more, from the checkpoint of step 7 on, must come to the same bits."""
    other = shutil.copytree(run, run.with_name("other"), symlinks=True)
    for path in (other / "checkpoints/stage1").glob("step-*"):
        if path.name > "step-00000007":
            shutil.rmtree(path)
    train(other, zero_stage, precision, stage="1", save_steps=7, **knobs)
    assert checkpoint(other, 1).resolve().name == checkpoint(run, 1).resolve().name
    assert "stage 1 resumes from step-00000007\n" in (other / "log.txt").read_text()
    assert_same_tensors(tensors(other, 1), tensors(run, 1))
    assert state(other, 1) == state(run, 1)


def test_one_rank_and_accumulation_see_the_same_global_batches(train, stage_one, tmp_path):
    """1 rank x 2 accumulation steps of 8 = 2 ranks of 8."""
    one = train(tmp_path / "one", ranks=1, accumulation=2, stage="1")
    losses = [[r["loss"] for r in records(run)] for run in (one, stage_one[1])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("system", ["mERE-LS", "mERE-LS-LA"])
def test_other_systems_have_stage_one_only(train, tmp_path, system):
    run = train(tmp_path / "run", ranks=1, system=system, batch_size=16)
    assert not (run / "checkpoints/stage2").exists()
    assert loss_fell(records(run))
