"""What is computed in fp32 whatever the compute dtype: masked logits, softmax and losses."""

import torch

MASKED = -1e9
"""A masked logit: large and finite, so that a softmax over masked logits alone (a filler) is no NaN."""


def at_least_fp32(x: torch.Tensor) -> torch.Tensor:
    """`x` in fp32, or in float64 where it is that already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
