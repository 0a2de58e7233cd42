"""Workarounds for PyTorch defaults that slow down training on a CPU.

`benchmarks/cpu_step.py` measures what each one gains.
"""

import ctypes
import sys
import warnings

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h

_overrides: list[torch.library.Library] = []
"""Kept alive, since an override ends when its library is garbage-collected."""


def prepare_cpu() -> None:
    """Prepare this process for training on a CPU; may be called repeatedly. Once the model and what trains it are
    made, call `keep_freed_memory` too."""
    if not _overrides:
        _overrides.append(torch.library.Library("aten", "IMPL"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about overriding an existing kernel
            _overrides[0].impl("bernoulli_.float", cheap_bernoulli_, "CPU")
            _overrides[0].impl("_safe_softmax", cheap_safe_softmax, "CPU")


def keep_freed_memory() -> None:
    """Make glibc keep the memory that a step frees instead of requesting the same pages again in every step.

    What is free now it gives back first.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.malloc_trim(0)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def cheap_bernoulli_(self: torch.Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """`Tensor.bernoulli_`, which makes dropout masks, but with four elements per 64-bit random number instead of one.

    `p` is rounded to a multiple of 2^-16. Uses torch's generator, so the same seed gives the same mask.
    """
    n, values = self.numel(), round(p * 2**16)
    numbers = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    drawn = numbers.view(torch.int16)[:n].view(self.shape)
    # the comparison is reversed for p >= 0.5, so that the bound always fits into 16 bits
    if values < 2**15:
        return torch.lt(drawn, values - 2**15, out=self)
    return torch.ge(drawn, 2**15 - values, out=self)


def cheap_safe_softmax(self: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """`torch._safe_softmax`, attention's softmax, which gives zeros where all is -inf: a softmax gives nan there.

    PyTorch compares every score with -inf; here only where a row's first value is nan.
    """
    out = torch.softmax(self, dim, dtype)
    if not self.numel() or not out.select(dim, 0).sum().isnan():
        return out
    nothing = self.isneginf().all(dim, keepdim=True)
    return torch.where(nothing, torch.zeros((), dtype=out.dtype), out)
