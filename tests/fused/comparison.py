"""Each fused pass, whoever computes it, against a few plain lines in float64: values and gradients.

Inputs of 16 bits are exact in float64 and all is computed in fp32 inside, so that a 16-bit result may differ by its one
rounding, 2^-8 of its value in bf16 and 2^-11 in fp16, beside what fp32 leaves.

Shape suffixes: B sentences, M tokens of a sentence, D hidden size, 4 positions y, G sub-modules.
"""

import torch
from torch.nn.functional import layer_norm

from mere_ds.fused.mixing import mix
from mere_ds.fused.position_logits import position_logits

ROUNDING = {torch.float64: 0.0, torch.float32: 0.0, torch.bfloat16: 2**-8, torch.float16: 2**-11}
FP32_NOISE = 3e-6  # of the largest value: some ulps, for sums of hundreds of terms


def plain_position_logits(token_BM4D, relation_B4D, index_4D):
    return (torch.tanh(token_BM4D + relation_B4D.unsqueeze(1)) * index_4D).sum(dim=-1)


def plain_mix(z_GBMD, scale_G1D, shift_G1D, f_BG, onto_BMD=None):
    refined_GBMD = layer_norm(z_GBMD, z_GBMD.shape[-1:]) * scale_G1D.unsqueeze(1) + shift_G1D.unsqueeze(1)
    mixed_BMD = torch.einsum("bg,gbmd->bmd", f_BG, refined_GBMD)
    return mixed_BMD if onto_BMD is None else onto_BMD + mixed_BMD


def position_logits_inputs(dtype, B, M, D, spread=1.0):
    torch.manual_seed(0)
    shapes = ((B, M, 4, D), (B, 4, D), (4, D))
    return [(spread * torch.randn(shape)).to(dtype).requires_grad_() for shape in shapes]


def mix_inputs(dtype, G, B, M, D, onto=True):
    """f stays fp32 where the rest is 16 bits, as in the model."""
    torch.manual_seed(0)
    inputs = [torch.randn(shape).to(dtype) for shape in ((G, B, M, D), (G, 1, D), (G, 1, D))]
    inputs.append(torch.rand(B, G).to(torch.promote_types(dtype, torch.float32)))
    if onto:
        inputs.append(torch.randn(B, M, D).to(dtype))
    return [x.requires_grad_() for x in inputs]


def assert_as_exact_as_can_be(name, ours, exact):
    noise = FP32_NOISE * exact.abs().max() if exact.numel() else 0.0
    excess = (ours.double() - exact).abs() - ROUNDING[ours.dtype] * exact.abs() - noise
    assert ours.shape == exact.shape and not (excess > 0).any(), f"{name}: {excess.max():.2e} beyond the bound"


def compare(fused, plain, inputs, weight=None):
    """The results agree, and the gradients of their sum weighted at random (or by `weight`)."""
    exact_inputs = [x.detach().double().requires_grad_() for x in inputs]
    ours, exact = fused(*inputs), plain(*exact_inputs)
    assert_as_exact_as_can_be("result", ours, exact)
    weight = torch.randn(exact.shape).to(ours.dtype) if weight is None else weight
    gradients = torch.autograd.grad(ours, inputs, weight)
    for i, (g, exact_g) in enumerate(
        zip(gradients, torch.autograd.grad(exact, exact_inputs, weight.double()), strict=True)
    ):
        assert g.dtype == inputs[i].dtype
        assert_as_exact_as_can_be(f"gradient of input {i}", g, exact_g)


def compare_all(dtype):
    """Widths that are no power of two, sentences of less and of more than a stretch, one row, none, saturated tanh."""
    for B, M, D in ((2, 3, 24), (1, 18, 7), (1, 1, 1), (0, 4, 8)):
        compare(position_logits, plain_position_logits, position_logits_inputs(dtype, B, M, D))
        for G, onto in ((3, True), (1, False)):
            compare(mix, plain_mix, mix_inputs(dtype, G, B, M, D, onto))
    constant = (
        torch.ones(()).to(dtype).expand(2, 3, 4)
    )  # a gradient as autograd gives it to a sum, without memory of its own
    compare(position_logits, plain_position_logits, position_logits_inputs(dtype, 2, 3, 8), constant.float())
    compare(mix, plain_mix, mix_inputs(dtype, 2, 2, 3, 4), constant)
