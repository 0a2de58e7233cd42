import pytest
import torch

from mere_ds.fused.mixing import mix
from mere_ds.fused.position_logits import position_logits
from tests.fused.comparison import (
    compare,
    compare_all,
    mix_inputs,
    plain_mix,
    plain_position_logits,
    position_logits_inputs,
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_agree_with_a_few_plain_lines(dtype):
    compare_all(dtype)


def test_agree_at_the_papers_width():
    compare(position_logits, plain_position_logits, position_logits_inputs(torch.float32, 3, 20, 768))
    compare(mix, plain_mix, mix_inputs(torch.float32, 3, 3, 20, 768))


@pytest.mark.parametrize("onto", [True, False])
def test_gradients_are_those_of_the_function(onto):
    assert torch.autograd.gradcheck(position_logits, position_logits_inputs(torch.float64, 2, 3, 5))
    assert torch.autograd.gradcheck(mix, mix_inputs(torch.float64, 3, 2, 3, 5, onto))


def test_every_run_gives_the_same_bits():
    inputs = mix_inputs(torch.float32, 3, 4, 33, 768), position_logits_inputs(torch.float32, 4, 33, 768)
    runs = [
        [*torch.autograd.grad(mix(*inputs[0]).sum(), inputs[0])]
        + [*torch.autograd.grad(position_logits(*inputs[1]).sum(), inputs[1])]
        for _ in range(3)
    ]
    for again in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], again, strict=True))


def test_autocast_around_changes_nothing():
    for fused, inputs in (
        (mix, mix_inputs(torch.float32, 2, 2, 3, 8)),
        (position_logits, position_logits_inputs(torch.float32, 2, 3, 8)),
    ):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            within = fused(*inputs)
        assert torch.equal(within, fused(*inputs))
