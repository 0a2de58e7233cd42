"""What counts as done: made-up checkpoints and scores in the folders where training and evaluation leave them."""

import json
import os
from dataclasses import asdict

import pytest

from mere_ds.config import knobs_of_stage
from mere_ds.errors import UserError
from mere_ds.reproduction.place import Place, missing
from mere_ds.reproduction.plan import Setting, make_plan
from mere_ds.shards.manifest import Manifest
from mere_ds.training.loop import Progress
from mere_ds.training.resume import DATA, STAGE_ONE

SETTING = Setting(("de", "en"))
ONE = "1" * 64


@pytest.fixture
def place(shards, tmp_path) -> Place:
    return Place(tmp_path, Manifest.load(shards), {"shards": str(shards), "deepspeed_config": "ds.json", "epochs": 2})


@pytest.fixture
def plan():
    return make_plan("sweep k", SETTING, 1)


def trained(place: Place, job, digest: str = ONE, finished: bool = True, **other) -> None:
    """As if `job` had been trained; `digest` is that of its model, `other` ingredients differ from today's."""
    for stage in job.stages:
        run = place.run(job.name)
        folder = run.model(stage, "latest")
        folder.mkdir(parents=True, exist_ok=True)
        ingredients = {f"--{name}": value for name, value in knobs_of_stage(place.config(job), stage).items()}
        ingredients |= {DATA: place.manifest.sha256, STAGE_ONE: ONE if job.needs else None} | other
        state = asdict(Progress(finished=finished)) | {"ingredients": ingredients, "cached_features": False}
        state["counters"] = {"updates": 0, "loss_scaler": {}}
        (folder / "training.json").write_text(json.dumps(state))
        (folder / "SHA256SUMS").write_text(f"{digest}  model.safetensors\n")
        if not run.model(stage, "best").exists():
            run.model(stage, "best").symlink_to("latest")


def scored(place: Place, job, *names: str) -> None:
    folder = place.run(job.name).evaluation
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.json").write_text("{}")


def test_trained_and_scored_is_done(place, plan):
    one, two = plan.jobs
    assert missing(plan, place) == [one, two] and not place.is_trained(one)
    trained(place, one)
    assert place.is_trained(one) and missing(plan, place) == [one, two]
    scored(place, one, "test")
    assert missing(plan, place) == [two]
    trained(place, two)
    scored(place, two, "test", "test-k1", "test-k2", "test-k4", "test-k5")
    assert place.open_evaluations(two) == [(3, 6)]
    scored(place, two, "test-k3", "test-k6")
    assert missing(plan, place) == []


def test_an_unfinished_training_goes_on(place, plan):
    trained(place, plan.jobs[0], finished=False)
    assert not place.is_trained(plan.jobs[0])


def test_scores_older_than_the_model_are_made_again(place, plan):
    one, _ = plan.jobs
    trained(place, one)
    scored(place, one, "test")
    os.utime(place.run(one.name).evaluation / "test.json", (0, 0))
    assert place.open_evaluations(one) == [()]


@pytest.mark.parametrize(
    ("other", "says"),
    [({"--epochs": 5}, "--epochs was 5, is 2"), ({DATA: "x"}, "manifest.json"), ({"--seed": 3}, "--seed was 3, is 0")],
)
def test_what_was_trained_otherwise_is_refused(place, plan, other, says):
    trained(place, plan.jobs[0], **other)
    with pytest.raises(UserError, match="another --out") as error:
        missing(plan, place)
    assert says in str(error.value)


def test_a_stage_two_over_another_stage_one_is_refused(place, plan):
    one, two = plan.jobs
    trained(place, one, "2" * 64)
    trained(place, two)
    with pytest.raises(UserError, match="stage one's model"):
        place.is_trained(two)


def test_a_rate_that_deepspeeds_config_gave_is_taken_as_it_was(place, plan):
    trained(place, plan.jobs[0], **{"--learning_rate": 1e-3, "--weight_decay": 0.0})
    assert place.is_trained(plan.jobs[0])


def test_a_job_that_is_left_out_is_not_missing(place, plan):
    plan.left_out[plan.jobs[1].name] = "for a reason"
    assert missing(plan, place) == plan.jobs[:1]


def test_a_jobs_own_batch_replaces_the_one_typed(place):
    typed = Place(place.out, place.manifest, place.common | {"batch_size": 8})
    jobs = {job.name: job for job in make_plan("figure 6", Setting(("de",), batch_size=8), 1).jobs}
    assert (
        typed.config(jobs["mERE-LS-s3-seed0"]).batch_size == 9 and typed.config(jobs["mERE-LS-seed0"]).batch_size == 8
    )
