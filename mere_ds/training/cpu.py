"""What PyTorch's defaults cost a training on a CPU, and what to do about it.

What each brings is measured by `benchmarks/cpu_step.py`.
"""

import ctypes
import sys
import warnings

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h

_overrides: list[torch.library.Library] = []
"""Held, for an override ends with its library."""


def prepare_cpu() -> None:
    """Settle this process for training on a CPU; more than once does no harm."""
    keep_freed_memory()
    if not _overrides:
        _overrides.append(torch.library.Library("aten", "IMPL"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there was a kernel before
            _overrides[0].impl("bernoulli_.float", cheap_bernoulli_, "CPU")


def keep_freed_memory() -> None:
    """Have glibc keep what a step frees instead of asking the system for the same pages in every step."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def cheap_bernoulli_(self: torch.Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """`Tensor.bernoulli_`, which makes dropout's masks: four elements of one 64-bit number instead of one number each.

    `p` is rounded to a multiple of 2^-16. Drawn from torch's generator, so a seed gives the same mask again.
    """
    n, values = self.numel(), round(p * 2**16)
    numbers = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    drawn = numbers.view(torch.int16)[:n].view(self.shape)
    # from below or above, for the bound must be a 16-bit number too
    return self.copy_(drawn < values - 2**15 if values < 2**15 else drawn >= 2**15 - values)
