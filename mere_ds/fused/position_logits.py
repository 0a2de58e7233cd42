"""Equation 9 after its two matrix products: tanh, the product with U_y and the sum over the hidden size, fused.

Shape suffixes: B sentences, M tokens of a sentence, D hidden size, 4 positions y.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from mere_ds.fused.choice import implementation


def position_logits(token_BM4D: torch.Tensor, relation_B4D: torch.Tensor, index_4D: torch.Tensor) -> torch.Tensor:
    """tanh(h W_y[:D] + r_e W_y[D:]) U_y from the two products, B x M x 4 in fp32 (float64 of float64).

    Computes in fp32. Deterministic, including gradients.
    """
    token_BM4D, relation_B4D = token_BM4D.contiguous(), relation_B4D.contiguous()
    if not torch.is_grad_enabled():  # graphs of other runtimes can't hold a Function
        return _logits(token_BM4D, relation_B4D, index_4D)[0]
    return _PositionLogits.apply(token_BM4D, relation_B4D, index_4D)


def _logits(
    token_BM4D: torch.Tensor, relation_B4D: torch.Tensor, index_4D: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The logits, and what their gradients need."""
    with torch.autocast(token_BM4D.device.type, enabled=False):
        return implementation(token_BM4D).position_logits_forward(token_BM4D, relation_B4D, index_4D)


class _PositionLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, token_BM4D: torch.Tensor, relation_B4D: torch.Tensor, index_4D: torch.Tensor) -> torch.Tensor:
        ctx.passes = implementation(token_BM4D)
        logits_BM4, kept = _logits(token_BM4D, relation_B4D, index_4D)
        ctx.save_for_backward(index_4D, *kept)
        return logits_BM4

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_logits_BM4: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        index_4D, *kept = ctx.saved_tensors
        return ctx.passes.position_logits_backward(
            d_logits_BM4.contiguous(), kept, index_4D
        )  # autograd casts to the inputs' dtypes
