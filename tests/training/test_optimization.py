"""Parameter groups and learning rates."""

import pytest
from torch import nn

from mere_ds.config import TrainConfig
from mere_ds.training.optimization import parameter_groups, rate_factor


def config(**knobs):
    return TrainConfig(shards="s", run="r", deepspeed_config="d", **knobs)


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict({"layer": nn.Linear(2, 2), "norm": nn.LayerNorm(2), "pooler": nn.Linear(2, 2)})
        self.heads = nn.Linear(2, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_groups_by_newness_and_decay():
    model = Parts()
    names = {id(p): n for n, p in model.named_parameters()}
    groups = parameter_groups(model, 1e-3, config(new_parts_rate=10.0, weight_decay=0.1))
    found = {(g["lr"], g["weight_decay"]): sorted(names[id(p)] for p in g["params"]) for g in groups}
    assert found == {
        (1e-3, 0.1): ["encoder.layer.weight"],
        (1e-3, 0.0): ["encoder.layer.bias", "encoder.norm.bias", "encoder.norm.weight"],
        (1e-2, 0.1): ["encoder.pooler.weight", "heads.weight"],
        (1e-2, 0.0): ["encoder.pooler.bias", "heads.bias"],
    }


def test_rate_rises_then_falls_to_nothing():
    factor = rate_factor(0.1, "linear", 100)
    rates = [factor(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert rates[10] == 1.0 == max(rates) and rates[-1] == pytest.approx(1 / 90)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_constant_schedule_and_no_warmup():
    assert [rate_factor(0.0, "constant", 5)(s) for s in range(5)] == [1.0] * 5
