"""The fused operations as Triton kernels, with the same functions as `plain`.

No `tl.dot` (matrix products are left to cuBLAS), so the kernels compile on Volta; 16-bit values are computed in fp32.
No atomics: each program writes its partial sums, which are then added in a fixed order, so that every run gives the
same bits.

Shape suffixes: B sentences, M tokens of a sentence, R = B * M rows, D hidden size, 4 positions y, G sub-modules,
S stretches of up to `STRETCH` tokens of a sentence.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

STRETCH = 16
"""Tokens of one sentence per program: large enough for few partial sums, yet small enough that a batch of 16 short
sentences gives enough programs for a GPU."""

ROWS = 4
"""Rows per program in mixing: scale and shift are read once for all of them."""


@triton.jit
def _tanh(x):
    # libdevice's tanh fails in the interpreter; if exp overflows to inf, the result is -1 as it should be
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def position_logits_forward_kernel(
    token_ptr, relation_ptr, index_ptr, logits_ptr, M, D, stretch: tl.constexpr, block: tl.constexpr
):
    """Program (sentence and stretch, y)."""
    stretches = tl.cdiv(M, stretch)
    b, y = tl.program_id(0) // stretches, tl.program_id(1)
    first = tl.program_id(0) % stretches * stretch
    d = tl.arange(0, block)
    inside = d < D
    relation_D = tl.load(relation_ptr + (b * 4 + y) * D + d, inside, 0).to(tl.float32)
    index_D = tl.load(index_ptr + y * D + d, inside, 0).to(tl.float32)
    for m in range(first, tl.minimum(first + stretch, M)):
        at = (b * M + m).to(tl.int64) * 4 + y
        token_D = tl.load(token_ptr + at * D + d, inside, 0).to(tl.float32)
        tl.store(logits_ptr + at, tl.sum(_tanh(token_D + relation_D) * index_D))


@triton.jit
def position_logits_backward_kernel(
    token_ptr, relation_ptr, index_ptr, d_logits_ptr,
    d_token_ptr, d_relation_ptr, d_index_ptr,
    M, D, stretch: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Program (sentence and stretch, y); the gradients of relation and index are partial sums (B S x 4 x D)."""
    stretches = tl.cdiv(M, stretch)
    b, y = tl.program_id(0) // stretches, tl.program_id(1)
    first = tl.program_id(0) % stretches * stretch
    d = tl.arange(0, block)
    inside = d < D
    relation_D = tl.load(relation_ptr + (b * 4 + y) * D + d, inside, 0).to(tl.float32)
    index_D = tl.load(index_ptr + y * D + d, inside, 0).to(tl.float32)
    d_relation_D = tl.zeros((block,), tl.float32)
    d_index_D = tl.zeros((block,), tl.float32)
    for m in range(first, tl.minimum(first + stretch, M)):
        at = (b * M + m).to(tl.int64) * 4 + y
        token_D = tl.load(token_ptr + at * D + d, inside, 0).to(tl.float32)
        activation_D = _tanh(token_D + relation_D)
        d_logit = tl.load(d_logits_ptr + at)
        d_token_D = d_logit * index_D * (1 - activation_D * activation_D)
        tl.store(d_token_ptr + at * D + d, d_token_D, inside)
        d_relation_D += d_token_D
        d_index_D += d_logit * activation_D
    share = (tl.program_id(0) * 4 + y) * D + d
    tl.store(d_relation_ptr + share, d_relation_D, inside)
    tl.store(d_index_ptr + share, d_index_D, inside)


@triton.jit
def mix_forward_kernel(
    z_ptr, scale_ptr, shift_ptr, f_ptr, onto_ptr,
    mixed_ptr, mean_ptr, rstd_ptr,
    R, M, D, G: tl.constexpr, epsilon: tl.constexpr, rows: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Program (rows)."""
    r = (tl.program_id(0) * rows + tl.arange(0, rows)).to(tl.int64)
    d = tl.arange(0, block)[None, :]
    there = r < R
    inside = there[:, None] & (d < D)
    at = r[:, None] * D + d
    mixed = tl.zeros((rows, block), tl.float32)
    if onto_ptr is not None:
        mixed += tl.load(onto_ptr + at, inside, 0).to(tl.float32)
    for g in range(G):
        z = tl.load(z_ptr + (g * R + r)[:, None] * D + d, inside, 0).to(tl.float32)
        mean = tl.sum(z, 1) / D
        centred = tl.where(inside, z - mean[:, None], 0)
        rstd = 1 / tl.sqrt(tl.sum(centred * centred, 1) / D + epsilon)
        tl.store(mean_ptr + g * R + r, mean, there)
        tl.store(rstd_ptr + g * R + r, rstd, there)
        scale = tl.load(scale_ptr + g * D + d, d < D, 0).to(tl.float32)
        shift = tl.load(shift_ptr + g * D + d, d < D, 0).to(tl.float32)
        f = tl.load(f_ptr + r // M * G + g, there, 0).to(tl.float32)
        mixed += f[:, None] * (centred * rstd[:, None] * scale + shift)
    tl.store(mixed_ptr + at, mixed, inside)


@triton.jit
def mix_backward_kernel(
    d_mixed_ptr, z_ptr, mean_ptr, rstd_ptr, scale_ptr, f_ptr,
    d_z_ptr, products_ptr, sums_ptr,
    R, M, D, G: tl.constexpr, stretch: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Program (sentence and stretch, g); products and sums are partial, per stretch (B S x G x D and B S x D)."""
    stretches = tl.cdiv(M, stretch)
    b, g = tl.program_id(0) // stretches, tl.program_id(1)
    first = tl.program_id(0) % stretches * stretch
    d = tl.arange(0, block)
    inside = d < D
    scale_D = tl.load(scale_ptr + g * D + d, inside, 0).to(tl.float32)
    weight_D = tl.load(f_ptr + b * G + g).to(tl.float32) * scale_D
    products_D = tl.zeros((block,), tl.float32)
    sums_D = tl.zeros((block,), tl.float32)
    for m in range(first, tl.minimum(first + stretch, M)):
        r = (b * M + m).to(tl.int64)
        row = g * R + r
        d_mixed_D = tl.load(d_mixed_ptr + r * D + d, inside, 0).to(tl.float32)
        z_D = tl.load(z_ptr + row * D + d, inside, 0).to(tl.float32)
        rstd = tl.load(rstd_ptr + row)
        normal_D = tl.where(inside, (z_D - tl.load(mean_ptr + row)) * rstd, 0)
        d_normal_D = d_mixed_D * weight_D
        along = tl.sum(d_normal_D * normal_D) / D
        tl.store(d_z_ptr + row * D + d, rstd * (d_normal_D - tl.sum(d_normal_D) / D - normal_D * along), inside)
        products_D += d_mixed_D * normal_D
        sums_D += d_mixed_D
    tl.store(products_ptr + (tl.program_id(0) * G + g) * D + d, products_D, inside)
    if g == 0:
        tl.store(sums_ptr + tl.program_id(0) * D + d, sums_D, inside)


def position_logits_forward(
    token_BM4D: torch.Tensor, relation_B4D: torch.Tensor, index_4D: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Logits (B x M x 4, fp32), and the tensors to save for the backward pass."""
    B, M, _, D = token_BM4D.shape
    logits_BM4 = _fp32(token_BM4D, B, M, 4)
    position_logits_forward_kernel[B * triton.cdiv(M, STRETCH), 4](
        token_BM4D, relation_B4D, index_4D, logits_BM4, M, D, STRETCH, triton.next_power_of_2(D)
    )
    return logits_BM4, (token_BM4D, relation_B4D)


def position_logits_backward(
    d_logits_BM4: torch.Tensor, kept: Sequence[torch.Tensor], index_4D: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of token_BM4D, relation_B4D and index_4D."""
    token_BM4D, relation_B4D = kept
    B, M, _, D = token_BM4D.shape
    S = triton.cdiv(M, STRETCH)
    d_token_BM4D = torch.empty_like(token_BM4D)
    d_relation_BS4D, d_index_BS4D = _fp32(token_BM4D, B, S, 4, D), _fp32(token_BM4D, B, S, 4, D)
    position_logits_backward_kernel[B * S, 4](
        token_BM4D, relation_B4D, index_4D, d_logits_BM4,
        d_token_BM4D, d_relation_BS4D, d_index_BS4D,
        M, D, STRETCH, triton.next_power_of_2(D),
    )  # fmt: skip
    return d_token_BM4D, d_relation_BS4D.sum(dim=1), d_index_BS4D.sum(dim=(0, 1))


def mix_forward(
    z_GBMD: torch.Tensor,
    scale_G1D: torch.Tensor,
    shift_G1D: torch.Tensor,
    f_BG: torch.Tensor,
    onto_BMD: torch.Tensor | None,
    epsilon: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The mixture (B x M x D, in z's dtype), and mean and 1 / deviation of each row of z (G x B x M x 1)."""
    G, B, M, D = z_GBMD.shape
    mixed_BMD = torch.empty_like(z_GBMD[0])
    mean_GBM1, rstd_GBM1 = _fp32(z_GBMD, G, B, M, 1), _fp32(z_GBMD, G, B, M, 1)
    mix_forward_kernel[(triton.cdiv(B * M, ROWS),)](
        z_GBMD, scale_G1D, shift_G1D, f_BG, None if onto_BMD is None else onto_BMD.contiguous(),
        mixed_BMD, mean_GBM1, rstd_GBM1,
        B * M, M, D, G, epsilon, ROWS, triton.next_power_of_2(D),
    )  # fmt: skip
    return mixed_BMD, mean_GBM1, rstd_GBM1


def mix_backward(
    d_mixed_BMD: torch.Tensor,
    z_GBMD: torch.Tensor,
    mean_GBM1: torch.Tensor,
    rstd_GBM1: torch.Tensor,
    scale_G1D: torch.Tensor,
    f_BG: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradient of z, and over each sentence's tokens the sums of d_mixed * LN(z) (B x G x D) and d_mixed (B x D)."""
    G, B, M, D = z_GBMD.shape
    S = triton.cdiv(M, STRETCH)
    d_z_GBMD = torch.empty_like(z_GBMD)
    products_BSGD, sums_BSD = _fp32(z_GBMD, B, S, G, D), _fp32(z_GBMD, B, S, D)
    mix_backward_kernel[B * S, G](
        d_mixed_BMD, z_GBMD, mean_GBM1, rstd_GBM1, scale_G1D, f_BG,
        d_z_GBMD, products_BSGD, sums_BSD,
        B * M, M, D, G, STRETCH, triton.next_power_of_2(D),
    )  # fmt: skip
    return d_z_GBMD, products_BSGD.sum(dim=1), sums_BSD.sum(dim=1)


def _fp32(like: torch.Tensor, *shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)
