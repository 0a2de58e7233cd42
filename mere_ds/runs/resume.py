"""Resuming a stage: which settings must be unchanged, and how to split the same global batch over other ranks."""

import math
from typing import Any

from mere_ds.config import TrainConfig, knobs_of_stage
from mere_ds.errors import UserError
from mere_ds.knobs import deepspeed_keys, defaults_of

DATA, STAGE_ONE = "data (sha256 of manifest.json)", "stage one's model (sha256)"
WEIGHTS, START = "--encoder_weights (sha256)", "--start (sha256)"

CLIPPING = "gradient_clipping"
DEFAULT_CLIPPING = 1.0
"""Used if DeepSpeed's JSON doesn't set it, in all ZeRO stages: DeepSpeed's own default."""

_OR_ANEW = "choose another --run, or start again with --overwrite"


def precision_of(ds: dict) -> str:
    """fp32, bf16, fp16, or "bf16 autocast" or "fp16 autocast": fp32 weights with 16-bit matrix products."""
    autocast = ds.get("torch_autocast", {})
    if autocast.get("enabled"):
        return f"{'bf16' if 'bf' in str(autocast.get('dtype')) else 'fp16'} autocast"
    return next((p for p in ("fp16", "bf16") if ds.get(p, {}).get("enabled")), "fp32")


def is_plain(ds: dict) -> bool:
    """Whether torch's optimizer updates the model's own weights directly: ZeRO 0 in fp32."""
    halves = any(ds.get(precision, {}).get("enabled") for precision in ("fp16", "bf16"))
    return not halves and ds.get("zero_optimization", {}).get("stage", 0) == 0


def ingredients(
    config: TrainConfig,
    ds: dict,
    stage: int,
    data: str,
    stage_one: str | None,
    weights: str | None = None,
    start: str | None = None,
) -> dict:
    """Everything that determines a stage's result, saved in its checkpoints as a flat JSON object.

    `data` is the digest of the shards' manifest, `stage_one` of the model that stage two starts from, `weights` of the
    encoder's weights if they aren't the shards' own, and `start` of the trained model that stage one starts from.
    """
    optimizer = ds["optimizer"]
    knobs = deepspeed_keys(config)
    settings = {k: v for k, v in optimizer.get("params", {}).items() if f"optimizer.params.{k}" not in knobs}
    return {
        **{f"--{name}": value for name, value in knobs_of_stage(config, stage).items()},
        "global batch": ds["train_batch_size"],
        DATA: data,
        STAGE_ONE: stage_one,
        WEIGHTS: weights,
        START: start,
        "optimizer": optimizer["type"],
        **{f"optimizer's {name}": value for name, value in settings.items()},
        "precision": precision_of(ds),
        CLIPPING: ds["gradient_clipping"],
    }


def unrecorded_clipping(ds: dict) -> float:
    """The clipping of a stage started without `gradient_clipping` in its JSON by a version that didn't record it.

    DeepSpeed's optimizers clipped at DeepSpeed's default, torch's own did not clip.
    """
    return 0.0 if is_plain(ds) else DEFAULT_CLIPPING


def check_same(then: dict, now: dict, stage: int, run: str, advice: str | None = None) -> None:
    """Raises UserError that shows what differs between the first start of a stage and this one.

    A knob that did not exist at the first start had its default. `advice` says what to do instead of the usual.
    """
    defaults = {f"--{name}": value for name, value in defaults_of(TrainConfig).items() if f"--{name}" in now}
    then = defaults | then
    changed = [name for name in then | now if _plain(then.get(name)) != _plain(now.get(name))]
    if changed:
        what = "; ".join(f"{name} was {_short(then.get(name))}, is {_short(now.get(name))}" for name in changed)
        advice = advice or f"pass the same options as at its first start, {_OR_ANEW}"
        raise UserError(f"stage {stage} of {run} can't resume: {what}: {advice}")


def other_shards(recorded: str | None, given: str) -> str:
    """What to do where a stage's shards are not those that it started with, which were in the folder `recorded`."""
    if recorded == given:
        return f"restore the shards in {given} as they were, {_OR_ANEW}"
    return f"pass the same options and shards as at its first start (--shards={recorded or '...'}), {_OR_ANEW}"


def fit_batch(global_batch: int, ranks: int, most: int, multiple: int) -> tuple[int, int]:
    """(sentences per rank and micro-step, accumulation steps) that give `global_batch` on `ranks` ranks.

    The first is the largest possible multiple of `multiple` (LA's groups stay whole) up to `most`. Raises UserError,
    which lists the numbers of ranks that work.
    """
    for size in range(most - most % multiple, 0, -multiple):
        if global_batch % (size * ranks) == 0:
            return size, global_batch // (size * ranks)
    fitting = [n for n in range(1, global_batch // multiple + 1) if global_batch % (n * multiple) == 0]
    raise UserError(
        f"this run's global batch of {global_batch} sentences, in LA groups of {multiple}, can't be split over {ranks} "
        f"ranks: use {', '.join(map(str, fitting))} ranks"
    )


def batch_multiple(config: TrainConfig) -> int:
    return math.lcm(config.concatenate, config.concatenate_stage_two)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(_plain(value))
