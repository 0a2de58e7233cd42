"""Knobs: the paper's defaults, and refusals."""

import pytest

from mere_ds.config import TrainConfig, takes_knobs
from mere_ds.errors import UserError

NEEDED = {"shards": "s", "run": "r", "deepspeed_config": "d"}


def test_defaults_are_those_of_section_4_2():
    c = TrainConfig(**NEEDED)
    assert (c.learning_rate, c.weight_decay, c.batch_size) == (3e-5, 0.1, 16)
    assert (c.concatenate, c.epochs, c.epochs_stage_two) == (2, 5, 8)
    assert (len(c.submodule_layers), sorted(c.submodule_layers)) == (6, [1, 1, 1, 2, 2, 2])
    assert (c.bottleneck, c.top_k, c.alpha, c.beta) == (1024, 3, 2.0, 1.0)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"concatenate": 3}, "doesn't divide"),
        ({"batch_size": 0}, "more than 0"),
        ({"top_k": 7}, "more than the 6 sub-modules"),
        ({"submodule_layers": (1, 0)}, "submodule_layers"),
        ({"warmup": 1.0}, "share"),
        ({"stage": "2", "system": "mERE-LS"}, "no Language-specific Switcher"),
    ],
)
def test_impossible_knobs_are_refused(knobs, says):
    with pytest.raises(UserError, match=says):
        TrainConfig(**NEEDED, **knobs)


def test_every_knob_is_a_flag_with_help():
    @takes_knobs
    def train(**given) -> None:
        """Train."""

    assert set(TrainConfig(**NEEDED).as_dict()) == set(train.__signature__.parameters)
    for name in train.__signature__.parameters:
        assert f"    {name}: " in train.__doc__
