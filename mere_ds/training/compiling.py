"""What the compiled layers of a training on a CPU consist of, where PyTorch's own form of an operation is slow.

Each function here stands for an operation of PyTorch, has its arguments and gives its results, and the compiler makes
it part of the passes around it.
"""

import math
from collections.abc import Sequence

import torch

_SLOPE = 0.3275911
_TERMS = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Of erfc(z) = (a1 t + ... + a5 t^5) exp(-z^2) with t = 1 / (1 + slope z) for z >= 0, right to 1.5e-7: formula 7.1.26
of Abramowitz and Stegun, Handbook of Mathematical Functions, 1964."""


def prepare_compiling() -> None:
    """Make compiled layers of these operations, in this process; they draw the same masks for dropout as others."""
    import torch._inductor.config as inductor
    from torch._inductor.decomposition import decompositions  # imported late: it takes seconds

    inductor.fallback_random = True  # else they use a random generator of their own, which is far slower
    aten = torch.ops.aten
    decompositions[aten.native_dropout.default] = fusible_dropout
    decompositions[aten.gelu.default] = cheap_gelu
    decompositions[aten.gelu_backward.default] = cheap_gelu_backward
    # torch keeps compiled code on disk, by a key that doesn't know of decompositions
    torch.compiler.config.cache_key_tag = "mere_ds.training.compiling 1"


def fusible_dropout(x: torch.Tensor, p: float, train: bool | None) -> tuple[torch.Tensor, torch.Tensor]:
    """`torch.native_dropout`: what is dropped or scaled, and the mask of what stays.

    PyTorch's own is one operation, which no other fuses with: it copies the mask to the values' dtype and takes two
    passes over the values.
    """
    if train is False:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    kept = torch.ops.mere_ds.dropout_mask(x.shape, 1 - p)
    return x * kept * (1 / (1 - p) if p < 1 else 0.0), kept


def dropout_mask(shape: Sequence[int], p: float) -> torch.Tensor:
    """bool, true with probability `p`."""
    return torch.empty(shape, dtype=torch.bool).bernoulli_(p)


# an operation, so that the compiler neither looks into it nor draws once for several
_operations = torch.library.Library("mere_ds", "FRAGMENT")
_operations.define("dropout_mask(SymInt[] shape, float p) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,))
_operations.impl("dropout_mask", dropout_mask, "CompositeExplicitAutograd")
_fake_mask = torch.library.register_fake("mere_ds::dropout_mask", lib=_operations)
_fake_mask(lambda shape, p: torch.empty(shape, dtype=torch.bool))


def cheap_gelu(x: torch.Tensor, approximate: str = "none") -> torch.Tensor:
    """`gelu`, x P(x), with one exponential in place of an error function, which takes longer.

    Probabilities P are right to 7.5e-8, rounding left out.
    """
    if approximate != "none":
        return NotImplemented
    z, probability, _ = _normal(x)
    return (z * probability).to(x.dtype)


def cheap_gelu_backward(grad: torch.Tensor, x: torch.Tensor, approximate: str = "none") -> torch.Tensor:
    """`gelu_backward`: the gradient times P(x) + x p(x), p being the density of which P is the integral."""
    if approximate != "none":
        return NotImplemented
    z, probability, density = _normal(x)
    return (grad.float() * (probability + z * density)).to(x.dtype)


def _normal(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x in fp32, and the normal distribution's probability and density there."""
    x = x.float()
    e = torch.exp(-0.5 * x * x)
    t = 1 / (1 + _SLOPE * math.sqrt(0.5) * x.abs())
    tail = torch.zeros_like(x)
    for term in reversed(_TERMS):
        tail = t * (0.5 * term + tail)
    tail = e * tail
    return x, torch.where(x >= 0, 1 - tail, tail), e * (1 / math.sqrt(2 * math.pi))
