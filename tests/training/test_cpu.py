"""Dropout's masks on a CPU, and that a training process draws them so."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from mere_ds.training.cpu import cheap_bernoulli_, cheap_safe_softmax


@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
def test_the_share_of_ones_is_p(p, dtype):
    drawn = cheap_bernoulli_(torch.empty(401, 999, dtype=dtype), p, generator=torch.Generator().manual_seed(1))
    assert set(drawn.float().unique().tolist()) <= {0.0, 1.0}
    deviation = (p * (1 - p) / drawn.numel()) ** 0.5
    assert drawn.float().mean().item() == pytest.approx(p, abs=5 * deviation + 2**-17)


def test_elements_are_independent_of_their_neighbours():
    """Those that share a 64-bit number too."""
    drawn_R4 = cheap_bernoulli_(torch.empty(100_000, 4), 0.3, generator=torch.Generator().manual_seed(2)).numpy()
    correlation = np.corrcoef(np.concatenate([drawn_R4[:-1], drawn_R4[1:]], axis=1).T)  # with the next number's too
    assert np.abs(correlation - np.eye(8)).max() < 0.02


@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (3, 7, 2)])
def test_any_shape_and_layout_from_the_seed_alone(shape):
    torch.manual_seed(3)
    first = cheap_bernoulli_(torch.empty(shape), 0.5)
    torch.manual_seed(3)
    assert torch.equal(cheap_bernoulli_(torch.empty(shape), 0.5), first) and first.shape == shape
    strided = torch.full((6, 8), 7.0)
    cheap_bernoulli_(strided[:, ::2], 0.5)
    assert set(strided[:, ::2].unique().tolist()) == {0.0, 1.0} and (strided[:, 1::2] == 7).all()


@pytest.mark.parametrize("masked", [[], [(0, 2)], [(0, 2), (1, 0)], [(1, 1)]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_softmax_of_attention_is_torchs(masked, dtype):
    scores_BMM = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(4)).to(dtype)
    scores_BMM[..., 3:] = -torch.inf
    for place in masked:
        scores_BMM[place] = -torch.inf
    torchs = torch._safe_softmax(scores_BMM, -1)
    assert torch.equal(cheap_safe_softmax(scores_BMM, -1), torchs)
    assert all((torchs[place] == 0).all() for place in masked) and torchs.sum() > 0
    scores_BMM[1, 1, 0] = torch.nan
    assert torch.equal(cheap_safe_softmax(scores_BMM, -1).isnan(), torch._safe_softmax(scores_BMM, -1).isnan())
    assert cheap_safe_softmax(scores_BMM[:0], -1).shape == (0, 5, 5)


def test_a_prepared_process_draws_dropout_so_and_says_nothing():
    script = """
import torch
from mere_ds.training.cpu import cheap_bernoulli_, cheap_safe_softmax, prepare_cpu
prepare_cpu(); prepare_cpu()
x = torch.ones(1000, requires_grad=True)
torch.manual_seed(5)
y = torch.nn.functional.dropout(x, 0.25)
torch.manual_seed(5)
mask = cheap_bernoulli_(torch.empty(1000), 0.75)
assert torch.equal(y, mask / 0.75)
y.sum().backward()
assert torch.equal(x.grad, mask / 0.75)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
