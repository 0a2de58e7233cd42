"""The precisions, and helpers for what is always computed in fp32: masked logits, softmax and losses."""

from collections.abc import Mapping
from pathlib import Path

import torch

from mere_ds.config import Precision
from mere_ds.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

BF16_CAPABILITY = (8, 0)
"""CUDA capability of the first GPUs with bf16 hardware (Ampere)."""


def at_least_fp32(x: torch.Tensor) -> torch.Tensor:
    """`x` in fp32, or in float64 if it already is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def nan_where_infinite(x: torch.Tensor) -> torch.Tensor:
    """`x` with NaN for what is infinite, so that it isn't taken for a small number or for one that is left out."""
    return x + (x - x)


def best_precision(device: torch.device) -> Precision:
    """The fastest one of `DTYPES` that the hardware computes: bf16, fp16 on older GPUs, fp32 on CPUs without bf16
    products."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= BF16_CAPABILITY else "fp16"
    info = Path("/proc/cpuinfo")
    flags = info.read_text(errors="replace").split() if info.exists() else []
    return "bf16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "fp32"


def check_available(precision: str, device: torch.device) -> None:
    """Raises UserError if `device` doesn't support this one of `DTYPES`."""
    if precision == "fp16" and device.type == "cpu":
        raise UserError("fp16 needs a GPU: use fp32 or bf16 on a CPU")
    if precision == "bf16" and device.type == "cuda" and torch.cuda.get_device_capability(device) < BF16_CAPABILITY:
        raise UserError(f"{torch.cuda.get_device_name(device)} has no bf16 hardware: use fp16")


def nonfinite(weights: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the first tensor that contains NaN or infinity, if any; reads each once and copies nothing."""
    for name, weight in weights.items():
        if weight.is_floating_point() and weight.numel() and not all(x.isfinite() for x in weight.detach().aminmax()):
            return name
    return None
