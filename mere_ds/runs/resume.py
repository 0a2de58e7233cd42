"""Continuing where a stage stopped: what must be as it was, and how the same global batch fits other ranks."""

import math
from typing import Any

from mere_ds.config import TrainConfig, knobs_of_stage
from mere_ds.errors import UserError
from mere_ds.knobs import deepspeed_keys, defaults_of

DATA, STAGE_ONE = "data (sha256 of manifest.json)", "stage one's model (sha256)"
WEIGHTS = "--encoder_weights (sha256)"

CLIPPING = "gradient_clipping"
DEFAULT_CLIPPING = 1.0
"""Where the JSON doesn't say, in all ZeRO stages: DeepSpeed's own default."""

_ADVICE = "start it as before, or take another --run, or --overwrite it"


def precision_of(ds: dict) -> str:
    """fp32, bf16, fp16, or "bf16 autocast" and "fp16 autocast": fp32 weights and 16-bit products."""
    autocast = ds.get("torch_autocast", {})
    if autocast.get("enabled"):
        return f"{'bf16' if 'bf' in str(autocast.get('dtype')) else 'fp16'} autocast"
    return next((p for p in ("fp16", "bf16") if ds.get(p, {}).get("enabled")), "fp32")


def is_plain(ds: dict) -> bool:
    """Whether DeepSpeed lets torch's optimizer work on the model's own weights: ZeRO 0 in fp32."""
    halves = any(ds.get(precision, {}).get("enabled") for precision in ("fp16", "bf16"))
    return not halves and ds.get("zero_optimization", {}).get("stage", 0) == 0


def ingredients(
    config: TrainConfig, ds: dict, stage: int, data: str, stage_one: str | None, weights: str | None = None
) -> dict:
    """All that decides a stage's result, to be kept in its checkpoints: flat, comparable, JSON.

    `data` is the digest of the shards' manifest, `stage_one` that of the model that stage two starts from, `weights`
    that of an encoder that isn't the shards' own.
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
        "optimizer": optimizer["type"],
        **{f"optimizer's {name}": value for name, value in settings.items()},
        "precision": precision_of(ds),
        CLIPPING: ds["gradient_clipping"],
    }


def unrecorded_clipping(ds: dict) -> float:
    """What clipped the gradients of a stage that began with no `gradient_clipping` in its JSON, before it was recorded.

    DeepSpeed did, at its default; torch's optimizer didn't.
    """
    return 0.0 if is_plain(ds) else DEFAULT_CLIPPING


def check_same(then: dict, now: dict, stage: int, run: str, advice: str = _ADVICE) -> None:
    """Raises UserError that shows what differs between the first start of a stage and this one.

    A knob that was not there at the first start had its default.
    """
    defaults = {f"--{name}": value for name, value in defaults_of(TrainConfig).items() if f"--{name}" in now}
    then = defaults | then
    changed = [
        f"{name} was {_short(then.get(name))}, is {_short(now.get(name))}"
        for name in then | now
        if _plain(then.get(name)) != _plain(now.get(name))
    ]
    if changed:
        raise UserError(f"stage {stage} of {run} can't resume: {'; '.join(changed)}: {advice}")


def fit_batch(global_batch: int, ranks: int, most: int, multiple: int) -> tuple[int, int]:
    """(sentences a rank and micro-step, accumulation) that make `global_batch` on `ranks` ranks.

    The former is as large as it can be, at most `most`, and a multiple of `multiple` (LA's groups stay whole). Raises
    UserError that names the numbers of ranks that would do.
    """
    for size in range(most - most % multiple, 0, -multiple):
        if global_batch % (size * ranks) == 0:
            return size, global_batch // (size * ranks)
    fitting = [n for n in range(1, global_batch // multiple + 1) if global_batch % (n * multiple) == 0]
    raise UserError(
        f"this run's global batch of {global_batch} sentences, in LA groups of {multiple}, can't be shared by {ranks} "
        f"ranks; {', '.join(map(str, fitting))} ranks would do"
    )


def batch_multiple(config: TrainConfig) -> int:
    return math.lcm(config.concatenate, config.concatenate_stage_two)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(_plain(value))
