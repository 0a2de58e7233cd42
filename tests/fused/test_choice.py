import importlib.util
import sys
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from mere_ds import fused
from mere_ds.fused import choice, plain

CPU = torch.device("cpu")
_numbers = count()


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """No test keeps what another chose."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    choice.set_choice("auto")
    yield
    choice.set_choice("auto")


@pytest.fixture
def gpu(monkeypatch):
    """gpu(why): a GPU that no other test has tried out, where kernels start, or fail in this way; none is needed."""

    def start(*_):
        if start.why:
            raise RuntimeError(start.why)

    def made(why: str | None = None) -> torch.device:
        start.why = why
        return torch.device("cuda", next(_numbers))

    ones = torch.ones
    kernels = SimpleNamespace(position_logits_forward=start)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found")
    monkeypatch.setattr(fused, "triton_kernels", kernels, raising=False)
    monkeypatch.setitem(sys.modules, "mere_ds.fused.triton_kernels", kernels)
    monkeypatch.setattr(torch, "ones", lambda *shape, device: ones(shape))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    return made


def test_auto_is_triton_on_a_gpu_and_plain_on_a_cpu(gpu):
    device = gpu()
    assert choice.choose("auto", device) == choice.choose("triton", device) == "triton"
    assert choice.choose("auto", CPU) == "torch"
    assert choice.choose("torch", device) == "torch"


def test_triton_on_a_cpu_is_refused():
    with pytest.raises(
        ValueError, match="can't run on cpu .(they need a GPU|triton is not installed).*choose auto or torch"
    ):
        choice.choose("triton", CPU)


def test_triton_that_is_not_installed_is_refused(gpu, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="triton is not installed"):
        choice.choose("triton", gpu())


def test_a_gpu_that_cannot_run_a_kernel_is_found_out(gpu):
    device = gpu("no C compiler\nand a long story")
    with pytest.raises(ValueError, match=r"RuntimeError: no C compiler\): choose auto or torch"):
        choice.choose("triton", device)
    with pytest.warns(UserWarning, match="using plain PyTorch instead of .* no C compiler"):
        assert choice.choose("auto", device) == "torch"


def test_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="must be one of auto, triton, torch, not 'cuda'"):
        choice.set_choice("cuda")


def test_the_choice_is_what_runs():
    choice.set_choice("torch")
    assert choice.implementation(torch.zeros(1)) is plain
    choice.set_choice("triton")
    with pytest.raises(ValueError, match="can't run on cpu"):
        choice.implementation(torch.zeros(1))
    assert choice.implementation(torch.zeros(1, dtype=torch.float64)) is plain
