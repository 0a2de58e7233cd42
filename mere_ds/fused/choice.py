"""Who computes a fused pass: the Triton kernels or their plain PyTorch twins."""

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
    """Who computes from now on in this process: `auto` (Triton where it runs), `triton` or `torch`.

    ValueError for another name. Whether a device can do it is `choose`'s to say.
    """
    global _choice
    if name not in CHOICES:
        raise ValueError(f"{name!r} is none of {', '.join(CHOICES)}")
    _choice = name


def choose(name: str, device: torch.device) -> str:
    """What `name` comes to on `device`: `triton` or `torch`.

    ValueError where Triton is asked for and can't run; `auto` takes PyTorch there, and warns where that is a GPU.
    """
    device = torch.device(device)
    if name == "torch" or (name == "auto" and device.type != "cuda"):
        return "torch"
    obstacle = _obstacle(device)
    if obstacle is None:
        return "triton"
    if name == "triton":
        raise ValueError(f"Triton's kernels can't run on {device}: {obstacle}; choose auto or torch")
    warnings.warn(f"plain PyTorch in place of Triton's kernels on {device}: {obstacle}", stacklevel=2)
    return "torch"


def implementation(x: torch.Tensor) -> ModuleType:
    """The module whose passes compute on `x`; always the plain one in float64, for the kernels know fp32 at most."""
    if x.dtype == torch.float64 or choose(_choice, x.device) == "torch":
        return plain
    return _kernels()


def _kernels() -> ModuleType:
    from mere_ds.fused import triton_kernels  # late: Triton may be missing, and takes its time

    return triton_kernels


@functools.cache
def _obstacle(device: torch.device) -> str | None:
    """Why Triton's kernels don't run on `device`, or None.

    A GPU is tried out: too old a card, a missing C compiler or missing Python headers show only when a kernel starts.
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
