import importlib.util

import pytest
import torch

from mere_ds.fused import choice, plain

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """No test keeps what another chose or found out; no GPU is used."""
    monkeypatch.setattr(choice, "_choice", "auto")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    found_out = choice._obstacle
    found_out.cache_clear()
    yield
    found_out.cache_clear()


@pytest.fixture
def obstacle(monkeypatch):
    """obstacle(text or None): what trying out Triton on any device is to find."""
    return lambda text: monkeypatch.setattr(choice, "_obstacle", lambda device: text)


def test_auto_is_triton_on_a_gpu_and_plain_on_a_cpu(obstacle):
    obstacle(None)
    assert choice.choose("auto", GPU) == "triton"
    assert choice.choose("auto", CPU) == "torch"
    assert choice.choose("torch", GPU) == "torch"


def test_triton_on_a_cpu_is_refused():
    with pytest.raises(
        ValueError, match="can't run on cpu .(they need a GPU|triton is not installed).*choose auto or torch"
    ):
        choice.choose("triton", CPU)


def test_triton_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="triton is not installed"):
        choice.choose("triton", GPU)


def test_a_gpu_that_cannot_run_a_kernel_is_found_out(monkeypatch):
    def broken():
        raise RuntimeError("no C compiler\nand a long story")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found")
    monkeypatch.setattr(torch, "ones", lambda *shape, device: torch.zeros(shape) + 1)
    monkeypatch.setattr(choice, "_kernels", broken)
    with pytest.raises(ValueError, match=r"RuntimeError: no C compiler\): choose auto or torch"):
        choice.choose("triton", GPU)
    with pytest.warns(UserWarning, match="using plain PyTorch instead of .* no C compiler"):
        assert choice.choose("auto", GPU) == "torch"


def test_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="must be one of auto, triton, torch, not 'cuda'"):
        choice.set_choice("cuda")


def test_the_choice_is_what_runs(obstacle):
    obstacle("tried in vain")
    choice.set_choice("torch")
    assert choice.implementation(torch.zeros(1)) is plain
    choice.set_choice("triton")
    with pytest.raises(ValueError, match="tried in vain"):
        choice.implementation(torch.zeros(1))
    assert choice.implementation(torch.zeros(1, dtype=torch.float64)) is plain
