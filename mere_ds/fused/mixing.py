"""The last steps of equations 7 and 8: LayerNorm of each sub-module and their weighted sum, fused.

Shape suffixes: G sub-modules, B sentences, M tokens of a sentence, D hidden size.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from mere_ds.fused.choice import implementation

EPSILON = 1e-5
"""LayerNorm's epsilon, PyTorch's default."""


def mix(
    z_GBMD: torch.Tensor,
    scale_G1D: torch.Tensor,
    shift_G1D: torch.Tensor,
    f_BG: torch.Tensor,
    onto_BMD: torch.Tensor | None = None,
) -> torch.Tensor:
    """onto + sum over g of f_bg LN_g(z_g), B x M x D in z's dtype; LN_g is LayerNorm with g's scale and shift.

    Computes in fp32, so `f_BG` should be fp32 too. Deterministic, including gradients.
    """
    return _Mix.apply(z_GBMD.contiguous(), scale_G1D, shift_G1D, f_BG.contiguous(), onto_BMD)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z_GBMD: torch.Tensor,
        scale_G1D: torch.Tensor,
        shift_G1D: torch.Tensor,
        f_BG: torch.Tensor,
        onto_BMD: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.passes = implementation(z_GBMD)
        with torch.autocast(z_GBMD.device.type, enabled=False):
            mixed_BMD, mean_GBM1, rstd_GBM1 = ctx.passes.mix_forward(
                z_GBMD, scale_G1D, shift_G1D, f_BG, onto_BMD, EPSILON
            )
        ctx.save_for_backward(z_GBMD, mean_GBM1, rstd_GBM1, scale_G1D, shift_G1D, f_BG)
        return mixed_BMD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_mixed_BMD: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The parameters' gradients follow from sums over each sentence's tokens, since f is constant within these."""
        z_GBMD, mean_GBM1, rstd_GBM1, scale_G1D, shift_G1D, f_BG = ctx.saved_tensors
        d_z_GBMD, products_BGD, sums_BD = ctx.passes.mix_backward(
            d_mixed_BMD.contiguous(), z_GBMD, mean_GBM1, rstd_GBM1, scale_G1D, f_BG
        )
        scale_GD, shift_GD, f = (x.to(sums_BD.dtype) for x in (scale_G1D.squeeze(1), shift_G1D.squeeze(1), f_BG))
        d_scale_GD = torch.einsum("bg,bgd->gd", f, products_BGD)
        d_f_BG = torch.einsum("bgd,gd->bg", products_BGD, scale_GD) + sums_BD @ shift_GD.T
        d_onto_BMD = d_mixed_BMD if ctx.needs_input_grad[4] else None
        return d_z_GBMD, d_scale_GD.unsqueeze(1), (f.T @ sums_BD).unsqueeze(1), d_f_BG, d_onto_BMD
