"""Knobs: the paper's defaults, and refusals."""

import pytest

from mere_ds.config import PRESETS, TrainConfig, knobs_of_stage
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
        ({"concatenate": 3}, "must divide"),
        ({"batch_size": 0}, "--batch_size=0: must be at least 1"),
        ({"learning_rate": 1e39}, "--learning_rate=1e.39: must be greater than 0 and at most 1000000"),
        ({"learning_rate": 0.0}, "--learning_rate=0.0: must be greater than 0"),
        ({"learning_rate_stage_two": -0.01}, "--learning_rate_stage_two=-0.01: must be greater than 0"),
        ({"learning_rate_stage_two": 0.0}, "--learning_rate_stage_two=0.0: must be greater than 0"),
        ({"max_steps": -1}, "--max_steps=-1: must be at least 1"),
        ({"max_steps": 0}, "--max_steps=0: must be at least 1"),
        ({"save_steps": 0}, "--save_steps=0: must be at least 1"),
        ({"weight_decay": -0.1}, "--weight_decay=-0.1: must be at least 0"),
        ({"seed": -1}, "--seed=-1: must be at least 0"),
        ({"warmup": -0.1}, "--warmup=-0.1: must be at least 0 and less than 1"),
        ({"submodule_layers": ()}, "submodule_layers"),
        ({"alpha": 0.0, "beta": 0.0}, "leaves no loss"),
        ({"top_k": 7}, "only 6 sub-modules"),
        ({"submodule_layers": (1, 0)}, "--submodule_layers=1,0: must be at least 1"),
        ({"warmup": 1.0}, "--warmup=1.0: must be at least 0 and less than 1"),
        ({"stage": "2", "system": "mERE-LS"}, "no Language-specific Switcher"),
        ({"stage": "2", "system": "mBERT"}, "mBERT has no Language-specific Switcher"),
        ({"stage": "1", "stage_one_run": "other"}, "only for stage two, not --stage=1"),
        ({"stage_one_run": "other"}, "only for stage two, not --stage=all"),
        ({"stage": "2", "start": "other", "stage_one_run": "run"}, "--start is for stage one, and --stage_one_run has"),
        ({"start": "other", "encoder_weights": "mine"}, "remove --encoder_weights, or --start"),
    ],
)
def test_impossible_knobs_are_refused(knobs, says):
    with pytest.raises(UserError, match=says):
        TrainConfig(**NEEDED, **knobs)


def test_mtmb_alone_starts_from_published_weights_and_may_start_from_others():
    told = {system: TrainConfig(**NEEDED, system=system).encoder_weights for system in PRESETS}
    assert {system for system, weights in told.items() if weights} == {"MTMB"} and told["MTMB"] == "akoksal/MTMB"
    assert TrainConfig(**NEEDED, system="MTMB", encoder_weights="mine").encoder_weights == "mine"
    assert TrainConfig(**NEEDED, system="MTMB", start="run").encoder_weights is None


def test_both_of_herberta_s_stages_follow_the_knobs_of_stage_one():
    mere, herberta = (TrainConfig(**NEEDED, system=system) for system in ("mERE", "HERBERTa"))
    assert [c.tunes_switcher(stage) for c in (mere, herberta) for stage in (1, 2)] == [False, True, False, False]
    assert "epochs" in knobs_of_stage(herberta, 2) and "epochs" not in knobs_of_stage(mere, 2)
    assert not {"epochs_stage_two", "patience", "bottleneck"} & set(knobs_of_stage(herberta, 2))
