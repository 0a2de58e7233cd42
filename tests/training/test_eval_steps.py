"""Dev scores every N steps: they change no weight, the best model may be one of theirs, and a kill changes nothing."""

import random
import signal
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meddling import every, scores_of_steps, signal_before_update
from outcomes import assert_same_results, assert_same_tensors, checkpoint, metrics, names, state, tensors

from mere_ds.config import TrainConfig
from mere_ds.runs.checkpoint import name_of, step_of
from mere_ds.shards.manifest import Manifest
from mere_ds.training.cost import stage_cost

EVERY = 3
SCORES = {3: 0.5, 6: 0.7, 12: 0.6}
"""Those of steps within epochs, so that the best model is none of an epoch's end."""


@pytest.fixture(scope="module")
def scored(train, tmp_path_factory):
    """Scored every 3 steps on 2 ranks, saved rarely else."""
    run = tmp_path_factory.mktemp("scored") / "run"
    knobs = {"eval_steps": EVERY, "save_steps": 100, "meddle": partial(scores_of_steps, SCORES)}
    train(2, run=run, **knobs).ended(0)
    return run


@pytest.mark.slow
def test_scores_come_every_n_steps_and_change_no_weight(scored, reference):
    assert_same_tensors(tensors(scored, 1), tensors(reference, 1))
    for stage in (1, 2):
        last = state(scored, stage)["step"]
        found = [row["step"] for row in metrics(scored) if (row["kind"], row["stage"]) == ("dev", stage)]
        assert found == sorted({*range(EVERY, last, EVERY), last // 2, last})
    of_one, of_other = (
        [row for row in metrics(run) if (row["kind"], row["stage"]) == ("train", 1)] for run in (scored, reference)
    )
    assert of_one == of_other


@pytest.mark.slow
def test_the_best_model_may_lie_within_an_epoch(scored, reference):
    for stage in (1, 2):
        best = checkpoint(scored, stage, "best").resolve().name
        assert best == state(scored, stage)["best"] == "step-00000006"
        assert state(scored, stage)["best_dev"]["average"]["triple"] == 0.7
        assert state(scored, stage, "best")["best"] == best and state(scored, stage, "best")["dev"] is None
    assert len(names(scored, 1)) == 2 + 2 + 1, "links, the newest two, the best"


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_bits(train, scored, tmp_path):
    draw, scores = random.Random(2), partial(scores_of_steps, SCORES)
    knobs = {"run": tmp_path, "eval_steps": EVERY, "save_steps": 100}
    for stage, step in ((1, draw.choice((4, 7, 8, 13))), (2, 7)):
        kill = partial(signal_before_update, signal.SIGKILL, stage, step, 1)
        result = train(2, meddle=partial(every, scores, kill), **knobs)
        assert result.codes[1] == -signal.SIGKILL, result
    stop = partial(signal_before_update, signal.SIGTERM, 2, 10, 0)
    train(2, meddle=partial(every, scores, stop), **knobs).ended(85)
    train(2, meddle=scores, **knobs).ended(0)
    assert_same_results(tmp_path, scored)


@pytest.mark.slow
def test_an_epoch_with_a_better_score_within_counts_as_better(train, tmp_path):
    rising = partial(scores_of_steps, {2: 0.1, 12: 0.2})
    shared = {"stage": "all", "epochs": 1, "epochs_stage_two": 9, "patience": 1, "batch_size": 16, "save_steps": 100}
    train(1, run=tmp_path / "run", eval_steps=2, meddle=rising, **shared).ended(0)
    ended = state(tmp_path / "run", 2)
    assert step_of(ended["best"]) == 12 and ended["finished"]
    per_epoch = ended["step"] // ended["epoch"]
    assert ended["epoch"] == (12 - 1) // per_epoch + 2, "the epoch of the best, and one without a better score"


@given(step=st.integers(0, 10**12), epoch=st.none() | st.integers(0, 99))
def test_the_step_of_a_name(step, epoch):
    assert step_of(name_of(step, epoch)) == step


@pytest.mark.parametrize("eval_steps", [1, 2, 3, 5, 7, 10**6])
@pytest.mark.parametrize("max_steps", [None, 1, 6, 7])
def test_its_passes_are_counted(toy_shards, eval_steps, max_steps):
    manifest = Manifest.load(str(toy_shards))
    config = TrainConfig(shards="s", run="r", eval_steps=eval_steps, epochs=3, batch_size=40, max_steps=max_steps)
    per_epoch = -(-manifest.splits["train"].sentences // 40)
    last = min(3 * per_epoch, max_steps or 99)
    scored = [s for s in range(1, last + 1) if s % eval_steps == 0 or s % per_epoch == 0 or s == last]
    assert stage_cost(config, 1, manifest, 1).passes == len(scored) * manifest.splits["dev"].sentences
