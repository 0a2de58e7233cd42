"""Combines DeepSpeed's JSON, which sets precision, ZeRO stage and optimizer, with our knobs; refuses contradictions."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import mere_ds
from mere_ds.config import TrainConfig
from mere_ds.errors import UserError
from mere_ds.files import read_json
from mere_ds.knobs import deepspeed_keys
from mere_ds.model.precision import BF16_CAPABILITY, check_available
from mere_ds.runs.resume import (
    CLIPPING,
    DEFAULT_CLIPPING,
    batch_multiple,
    fit_batch,
    is_plain,
    precision_of,
    unrecorded_clipping,
)
from mere_ds.training.deepspeed_keys import checked

BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")


READY = Path(mere_ds.__file__).parent / "ds_configs"
"""The configs that come with the package; in a checkout, a link to the folder at the top level."""


def choose_config(given: str | None, before: str | None, device: torch.device) -> tuple[str, str | None]:
    """Name or path of DeepSpeed's JSON: the `given` one, else the one the stage started with (`before`), else the
    default for `device`.

    Also returns the reason for the choice, None if it was given.
    """
    if given:
        return given, None
    if before:
        return before, "this stage started with it"
    if device.type == "cpu":
        return "cpu", "torch finds no GPU here"
    gpu, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    if capability >= BF16_CAPABILITY:
        return "a100_h100", f"{gpu} has bf16 hardware"
    return "v100", f"{gpu} has no bf16 hardware"


def read_config(name: str) -> dict:
    """The JSON object of an included config (by name) or of a file. Raises UserError if there is none."""
    ready = {path.stem: path for path in sorted(READY.glob("*.json"))}
    return read_json(ready.get(name, Path(name)), f"give a file, or one of {', '.join(ready)}", distinct=True)


def merge(
    ds: dict, config: TrainConfig, given: frozenset[str], ranks: int, started: dict | None = None
) -> tuple[dict, TrainConfig]:
    """DeepSpeed's config and ours; where a key and a knob mean the same, each fills in the other.

    `given` names the knobs that the user passed: DeepSpeed's config overrides a default, but a passed value that
    differs from it is refused. `started` are the settings of the first start if a stage resumes: with a different
    number of `ranks` its global batch is split again. Raises UserError.
    """
    ds = checked(ds, config.deepspeed_config or "")
    if started and started["ranks"] != ranks:
        ds = {key: value for key, value in ds.items() if key not in BATCH}
        given -= {"batch_size", "accumulation"}
        size, accumulation = fit_batch(started["global_batch"], ranks, started["batch_size"], batch_multiple(config))
        config = replace(config, batch_size=size, accumulation=accumulation)
    keys = deepspeed_keys(config)
    for key, name in keys.items():
        value = _find(ds, key)
        if value is None:
            continue
        if name in given and value != getattr(config, name):
            raise UserError(
                f"--{name}={getattr(config, name)} contradicts {key} = {value} in DeepSpeed's config: remove one"
            )
        config = replace(config, **{name: value})
    whole = config.batch_size * ranks * config.accumulation
    if ds.get("train_batch_size", whole) != whole:
        raise UserError(
            f"train_batch_size = {ds['train_batch_size']} in DeepSpeed's config contradicts {config.batch_size} x "
            f"{ranks} ranks x {config.accumulation} accumulation = {whole}: remove it or change --batch_size"
        )
    optimizer = {"type": "AdamW"} | ds.get("optimizer", {})
    if optimizer["type"].lower() not in ("adam", "adamw"):
        raise UserError(f"optimizer {optimizer['type']} in DeepSpeed's config is not supported: use Adam or AdamW")
    ds |= {"train_batch_size": whole, "optimizer": optimizer}
    for key, name in keys.items():
        _put(ds, key, getattr(config, name))
    if _find(ds, "zero_optimization.offload_optimizer.device") == "nvme":
        raise UserError("offload_optimizer to nvme is not supported, as checkpoints read Adam's moments: use cpu")
    before = started and not started.get(CLIPPING)
    ds.setdefault(CLIPPING, unrecorded_clipping(ds) if before else DEFAULT_CLIPPING)
    ds.setdefault("steps_per_print", 10**9)  # we report progress ourselves
    return ds, config


def check_device(ds: dict, device: torch.device) -> None:
    """Raises UserError for a precision that `device` doesn't support, and for a config made for other devices."""
    if ds.get("device", device.type) != device.type:
        advice = "use --deepspeed_config=cpu" if device.type == "cpu" else "use one of ds_configs/ that is for GPUs"
        found = "torch finds no GPU here" if device.type == "cpu" else "this machine has a GPU"
        raise UserError(f'--deepspeed_config is for "device": "{ds["device"]}", but {found}: {advice}')
    enabled = [p for p in ("fp16", "bf16", "torch_autocast") if ds.get(p, {}).get("enabled", False)]
    if len(enabled) > 1:
        raise UserError(f"DeepSpeed's config enables both {enabled[0]} and {enabled[1]}: choose one")
    precision = precision_of(ds)
    if precision == "fp16 autocast":
        raise UserError("torch_autocast in float16 is not supported, as it doesn't scale the loss: use fp16 instead")
    try:
        check_available(precision.split()[0], device)
    except UserError as error:
        raise UserError(f"--deepspeed_config: {error} (ds_configs/ has a config for each)") from None


def check_compile(ds: dict, device: torch.device) -> None:
    """Raises UserError if --compile can't work here."""
    if ds.get("zero_optimization", {}).get("stage", 0) == 3:
        raise UserError(
            "--compile doesn't work with ZeRO stage 3, which fetches weights per layer: use stage 2 or less"
        )
    tool = os.environ.get("CXX", "g++") if device.type == "cpu" else "gcc"
    if shutil.which(tool) is None:
        raise UserError(f"--compile needs the compiler {tool}: install it, or remove --compile")


def check_embedding_rows(ds: dict) -> None:
    """Raises UserError if --embedding_rows=touched can't work with this config."""
    optimizer, flag = ds["optimizer"], "--embedding_rows=touched"
    params = optimizer.get("params", {})
    if not is_plain(ds):
        raise UserError(f"{flag} needs ZeRO 0 and fp32 weights: use --deepspeed_config=cpu or cpu_bf16, or remove it")
    decoupled = optimizer["type"].lower() == "adamw" or params.get("adam_w_mode", True)
    if not (params.get("torch_adam") and decoupled):
        raise UserError(f"{flag} needs torch's AdamW: add \"torch_adam\": true to the optimizer's params, or remove it")
    if ds.get("gradient_predivide_factor", 1.0) != 1.0:  # DeepSpeed would divide sparse gradients twice
        raise UserError(f"{flag} needs gradient_predivide_factor = 1 in DeepSpeed's config: remove one of them")


def _find(ds: dict, dotted: str) -> Any:
    found: Any = ds
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _put(ds: dict, dotted: str, value: float) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        ds = ds.setdefault(parent, {})
    ds[last] = value
