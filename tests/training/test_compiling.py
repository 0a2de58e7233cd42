"""The operations that compiled layers consist of on a CPU, against PyTorch's and the equations."""

import subprocess
import sys

import pytest
import torch

from mere_ds.training.compiling import cheap_gelu, cheap_gelu_backward

pytestmark = pytest.mark.slow


def test_the_compilers_dropout_is_torchs():
    """In values, even where they are nan, and in the masks of a prepared process."""
    script = """
import torch
from mere_ds.training.compiling import fusible_dropout
from mere_ds.training.cpu import prepare_cpu
prepare_cpu()
for dtype in (torch.float32, torch.bfloat16):
    x = torch.randn(7, 11, 3).to(dtype).transpose(0, 1)
    x[0, 0, 0] = torch.nan
    for p in (0.0, 0.1, 0.75, 1.0):
        for train in (True, None, False):
            pairs = []
            for dropout in (torch.native_dropout, fusible_dropout):
                torch.manual_seed(6)
                pairs.append(dropout(x, p, train))
            torch.testing.assert_close(pairs[1], pairs[0], equal_nan=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_the_compilers_gelu_is_the_equation():
    """Against float64, in values and gradients; of what isn't finite nothing finite is made."""
    x = torch.cat([torch.linspace(-12, 12, 100_001), torch.tensor([0.0, -0.0, 1e-30, -40.0, 40.0])])
    z = x.double().requires_grad_()
    expected = z * 0.5 * (1 + torch.erf(z / 2**0.5))
    expected.sum().backward()
    grad = torch.full_like(x, 3)
    got, got_grad = cheap_gelu(x), cheap_gelu_backward(grad, x)
    assert (got - expected).abs().max() < 1e-6 and (got_grad / 3 - z.grad).abs().max() < 1e-6
    rounded = x.bfloat16()
    for ours, theirs in (
        (cheap_gelu(rounded), torch.nn.functional.gelu(rounded)),
        (cheap_gelu_backward(grad.bfloat16(), rounded), torch.ops.aten.gelu_backward(grad.bfloat16(), rounded)),
    ):
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=1e-6)
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf])
    assert not cheap_gelu(odd).isfinite().any(), "a training that diverges is noticed"
    assert cheap_gelu(x, "tanh") is NotImplemented, "the compiler then takes PyTorch's"


def test_dropout_and_gelu_are_part_of_compiled_passes():
    script = """
import torch
from torch._inductor.utils import run_and_get_code
from torch.nn.functional import dropout, gelu
from mere_ds.training.compiling import prepare_compiling
from mere_ds.training.cpu import prepare_cpu
prepare_cpu()
prepare_compiling()
def layer(x): return dropout(gelu(x), 0.1) + x
def results(layer):
    torch.manual_seed(7)
    x = torch.linspace(-2, 2, 1000, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    return y, x.grad
compiled, codes = run_and_get_code(lambda: results(torch.compile(layer)))
torch.testing.assert_close(compiled, results(layer))
assert codes and not any(word in code for code in codes for word in ("ops.aten.native_dropout", ".erf("))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
