"""The precisions, and what is computed in fp32 in all of them: masked logits, softmax and losses."""

from collections.abc import Mapping

import torch

from mere_ds.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

BF16_CAPABILITY = (8, 0)
"""Of the first GPUs with bf16 hardware (Ampere)."""

MASKED = -1e9
"""A masked logit: large and finite, so that a softmax over masked logits alone (a filler) is not a NaN."""


def at_least_fp32(x: torch.Tensor) -> torch.Tensor:
    """`x` in fp32, or in float64 where it is that already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_available(precision: str, device: torch.device) -> None:
    """Refuse one of `DTYPES` that `device` doesn't have; raises UserError."""
    if precision == "fp16" and device.type == "cpu":
        raise UserError("fp16 needs a GPU; on a CPU take fp32 or bf16")
    if precision == "bf16" and device.type == "cuda" and torch.cuda.get_device_capability(device) < BF16_CAPABILITY:
        raise UserError(f"{torch.cuda.get_device_name(device)} has no bf16 hardware; take fp16")


def nonfinite(weights: Mapping[str, torch.Tensor]) -> str | None:
    """The name of a tensor that holds NaN or infinity, if there is one: each is read once, nothing is copied."""
    for name, weight in weights.items():
        if weight.is_floating_point() and weight.numel() and not all(x.isfinite() for x in weight.detach().aminmax()):
            return name
    return None
