"""The fused operations in plain PyTorch: for CPUs, float64 and wherever Triton doesn't run.

Optimised for few passes over memory rather than for few lines, since that determines their speed on a CPU too. 16-bit
inputs are computed in fp32, as in the kernels.

Shape suffixes: B sentences, M tokens of a sentence, R = B * M rows, D hidden size, 4 positions y, G sub-modules.
"""

from collections.abc import Sequence

import torch


def position_logits_forward(
    token_BM4D: torch.Tensor, relation_B4D: torch.Tensor, index_4D: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor]]:
    """Logits (B x M x 4, at least fp32), and the tensors to save for the backward pass."""
    dtype = torch.promote_types(token_BM4D.dtype, torch.float32)
    # tanh(x) = 2 sigmoid(2 x) - 1: on a CPU PyTorch's own tanh takes three times as long
    twice_BM4D = torch.add(2 * relation_B4D.unsqueeze(1).to(dtype), token_BM4D, alpha=2)
    activation_BM4D = twice_BM4D.sigmoid_().mul_(2).sub_(1)
    # row vectors times matrices: einsum would compute matrices times column vectors, which takes 5 times as long
    logits_41R = torch.bmm(index_4D.unsqueeze(1).to(dtype), activation_BM4D.flatten(0, 1).permute(1, 2, 0))
    return logits_41R.squeeze(1).T.reshape(token_BM4D.shape[:3]), (activation_BM4D,)


def position_logits_backward(
    d_logits_BM4: torch.Tensor, kept: Sequence[torch.Tensor], index_4D: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of token_BM4D, relation_B4D and index_4D."""
    (activation_BM4D,) = kept
    d_index_4D = torch.einsum("bmy,bmyd->yd", d_logits_BM4, activation_BM4D)
    d_token_BM4D = d_logits_BM4.unsqueeze(-1) * index_4D
    torch.ops.aten.tanh_backward.grad_input(d_token_BM4D, activation_BM4D, grad_input=d_token_BM4D)
    return d_token_BM4D, d_token_BM4D.sum(dim=1), d_index_4D


def mix_forward(
    z_GBMD: torch.Tensor,
    scale_G1D: torch.Tensor,
    shift_G1D: torch.Tensor,
    f_BG: torch.Tensor,
    onto_BMD: torch.Tensor | None,
    epsilon: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The mixture (B x M x D, in z's dtype), and mean and 1 / deviation of each row of z (G x B x M x 1)."""
    dtype = torch.promote_types(z_GBMD.dtype, torch.float32)
    normal_GBMD, mean_GBM1, rstd_GBM1 = torch.native_layer_norm(
        z_GBMD.to(dtype), z_GBMD.shape[-1:], None, None, epsilon
    )
    mixed = (f_BG.to(dtype) @ shift_G1D.squeeze(1).to(dtype)).unsqueeze(1)
    if onto_BMD is not None:
        mixed = mixed + onto_BMD
    for normal_BMD, weight_B1D in zip(normal_GBMD, _weights(scale_G1D, f_BG, dtype), strict=True):
        mixed = torch.addcmul(mixed, normal_BMD, weight_B1D)
    return mixed.to(z_GBMD.dtype), mean_GBM1, rstd_GBM1


def mix_backward(
    d_mixed_BMD: torch.Tensor,
    z_GBMD: torch.Tensor,
    mean_GBM1: torch.Tensor,
    rstd_GBM1: torch.Tensor,
    scale_G1D: torch.Tensor,
    f_BG: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradient of z, and over each sentence's tokens the sums of d_mixed * LN(z) (B x G x D) and d_mixed (B x D)."""
    G, B, _, D = z_GBMD.shape
    d_mixed_BMD = d_mixed_BMD.to(mean_GBM1.dtype)
    d_z_GBMD = torch.empty_like(z_GBMD)
    products_BGD = d_mixed_BMD.new_empty(B, G, D)
    for g, weight_B1D in enumerate(_weights(scale_G1D, f_BG, mean_GBM1.dtype)):
        z_BMD, mean_BM1, rstd_BM1 = z_GBMD[g].to(mean_GBM1.dtype), mean_GBM1[g], rstd_GBM1[g]
        scratch_BMD = torch.sub(z_BMD, mean_BM1).mul_(rstd_BM1).mul_(d_mixed_BMD)
        products_BGD[:, g] = scratch_BMD.sum(dim=1)
        torch.mul(d_mixed_BMD, weight_B1D, out=scratch_BMD)
        d_z_GBMD[g] = torch.ops.aten.native_layer_norm_backward(
            scratch_BMD, z_BMD, (D,), mean_BM1, rstd_BM1, None, None, (True, False, False)
        )[0]
    return d_z_GBMD, products_BGD, d_mixed_BMD.sum(dim=1)


def _weights(scale_G1D: torch.Tensor, f_BG: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """f_bg scale_g, the factor of LN(z_g) in sentence b, G x B x 1 x D."""
    return (f_BG.T.unsqueeze(-1) * scale_G1D).unsqueeze(2).to(dtype)
