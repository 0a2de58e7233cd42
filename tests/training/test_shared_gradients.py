"""Gradients are averaged while others are still computed, and are those that DeepSpeed's own averaging gives."""

import json
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from outcomes import assert_same_results
from ranks import run_ranks
from torch import nn

from mere_ds.training import shared_gradients
from mere_ds.training.shared_gradients import SharedGradients, can_share


class OtherRank:
    """Stands for the other of two ranks, which has the same gradients; it notes what was sent, and when."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.sent: list[tuple[int, int]] = []
        """The size of each tensor, and how many gradients there were then."""

    def all_reduce(self, tensor: torch.Tensor, async_op: bool) -> "OtherRank":
        assert async_op
        self.sent.append((tensor.numel(), sum(p.grad is not None for p in self.parameters)))
        tensor.mul_(2)
        return self

    def wait(self) -> None:
        pass


@pytest.fixture
def chain(monkeypatch) -> tuple[list[nn.Parameter], OtherRank]:
    """Three parameters of different sizes, each a bucket of its own."""
    parameters = [nn.Parameter(torch.ones(size)) for size in (2, 3, 4)]
    other = OtherRank(parameters)
    monkeypatch.setattr(shared_gradients, "BUCKET", 1)
    monkeypatch.setattr(shared_gradients, "comm", other)
    return parameters, other


def product(parameters: list[nn.Parameter]) -> torch.Tensor:
    """Its gradients arrive from the last parameter to the first."""
    value = torch.ones(())
    for parameter in parameters:
        value = (value * parameter).sum()
    return value


def test_the_first_leave_before_the_last_are_there(chain):
    parameters, other = chain
    shared = SharedGradients(parameters, 2, lambda: True)
    product(parameters).backward()
    shared.finish()
    assert other.sent == [(4, 1), (3, 2), (2, 3)]
    assert [p.grad.tolist() for p in parameters] == [[12.0] * 2, [8.0] * 3, [6.0] * 4]


def test_an_update_s_micro_steps_are_sent_once(chain):
    parameters, other = chain
    is_last = Mock()
    shared = SharedGradients(parameters, 2, is_last)
    for _ in range(2):  # updates
        for is_last.return_value in (False, True):
            product(parameters).backward()
        shared.finish()
        assert [p.grad.tolist() for p in parameters] == [[24.0] * 2, [16.0] * 3, [12.0] * 4]
        for parameter in parameters:
            parameter.grad = None
    assert [size for size, _ in other.sent] == [4, 3, 2] * 2


def test_ranks_that_lack_a_gradient_send_in_the_same_order(chain):
    parameters, other = chain
    shared = SharedGradients(parameters, 2, lambda: True)
    product(parameters[:2]).backward()
    assert not other.sent
    shared.finish()
    assert [size for size, _ in other.sent] == [4, 3, 2]
    assert parameters[2].grad.tolist() == [0.0] * 4


def test_small_ones_share_a_bucket(chain, monkeypatch):
    parameters, other = chain
    monkeypatch.setattr(shared_gradients, "BUCKET", 6)
    shared = SharedGradients(parameters, 2, lambda: True)
    product(parameters).backward()
    shared.finish()
    assert other.sent == [(7, 2), (2, 3)]
    assert [p.grad.tolist() for p in parameters] == [[12.0] * 2, [8.0] * 3, [6.0] * 4]


@pytest.mark.parametrize(
    "asked", [{"prescale_gradients": True}, {"gradient_predivide_factor": 2.0}, {"communication_data_type": "bf16"}]
)
def test_another_way_of_averaging_is_left_to_deepspeed(asked):
    assert can_share({"gradient_predivide_factor": 1, "communication_data_type": "fp32"})
    assert not can_share(asked)


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [{"accumulation": 2}, {"embedding_rows": "touched"}], ids=str)
def test_two_ranks_train_as_with_deepspeed_s_own_averaging(dropout_shards, zero, tmp_path, knobs):
    """Bit by bit: of two numbers, sums have one order, and halves are exact."""
    config = json.loads(Path(zero(0)).read_text())
    for name, own in (("ours", False), ("deepspeeds", True)):
        (tmp_path / f"{name}.json").write_text(json.dumps(config | {"prescale_gradients": own}))
        told = {"shards": dropout_shards, "run": tmp_path / name, "deepspeed_config": tmp_path / f"{name}.json"}
        told |= {"batch_size": 8, "max_steps": 4, "bottleneck": 64, "submodule_layers": "1,2", "top_k": 1}
        run_ranks(2, **told, **knobs, log_every=1, learning_rate=1e-3).ended(0)
    assert_same_results(tmp_path / "ours", tmp_path / "deepspeeds")
