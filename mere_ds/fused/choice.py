"""Chooses the implementation of the fused operations: Triton kernels or plain PyTorch."""

import functools
import importlib.util
import os
import warnings
from types import ModuleType

import torch

from mere_ds.fused import plain

CHOICES = ("auto", "triton", "torch")

_choice = "auto"


def set_choice(name: str) -> None:
    """Set this process's implementation: `auto` (Triton where it runs), `triton` or `torch`.

    Raises ValueError for another name. `choose` checks whether a device supports it.
    """
    global _choice
    if name not in CHOICES:
        raise ValueError(f"must be one of {', '.join(CHOICES)}, not {name!r}")
    _choice = name


def choose(name: str, device: torch.device) -> str:
    """Resolve `name` for `device`: `triton` or `torch`.

    If Triton can't run, `triton` raises ValueError, and `auto` gives `torch`, with a warning on a GPU.
    """
    device = torch.device(device)
    if name == "torch" or (name == "auto" and device.type != "cuda"):
        return "torch"
    obstacle = _obstacle(device)
    if obstacle is None:
        return "triton"
    if name == "triton":
        raise ValueError(f"Triton's kernels can't run on {device} ({obstacle}): choose auto or torch")
    warnings.warn(f"using plain PyTorch instead of Triton's kernels on {device}: {obstacle}", stacklevel=2)
    return "torch"


def implementation(x: torch.Tensor) -> ModuleType:
    """The module that implements the operations for `x`; always `plain` in float64, which the kernels don't support."""
    if x.dtype == torch.float64 or choose(_choice, x.device) == "torch":
        return plain
    return _kernels()


def _kernels() -> ModuleType:
    from mere_ds.fused import triton_kernels  # imported late: Triton may be missing, and is slow to import

    return triton_kernels


@functools.cache
def _obstacle(device: torch.device) -> str | None:
    """Why Triton's kernels can't run on `device`, or None.

    On a GPU a kernel is tried: an unsupported GPU, a missing C compiler or missing Python headers only show then.
    """
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if device.type != "cuda":
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        return None if interpreted else "they need a GPU (or TRITON_INTERPRET=1 from the start, for tests)"
    try:
        ones = torch.ones(1, 1, 4, 1, device=device)
        _kernels().position_logits_forward(ones, ones[0], ones[0, 0])
        torch.cuda.synchronize(device)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None
