"""What counts as done: made-up checkpoints and scores in the folders where training and evaluation leave them."""

import json
import os

import pytest

from mere_ds.config import knobs_of_stage
from mere_ds.errors import UserError
from mere_ds.reproduction.place import Workspace, missing
from mere_ds.reproduction.plan import Setting, make_plan
from mere_ds.runs.resume import DATA, STAGE_ONE
from mere_ds.shards.manifest import Manifest
from mere_ds.sums import recorded_digest
from tests.evaluation.made_up_runs import evaluate, make_checkpoint
from tests.evaluation.records import answers

FIRST = "step-00000001-epoch-1"
SETTING = Setting(("de", "en"))


@pytest.fixture
def place(shards, tmp_path) -> Workspace:
    return Workspace(
        tmp_path, Manifest.load(shards), {"shards": str(shards), "deepspeed_config": "ds.json", "epochs": 2}
    )


@pytest.fixture
def plan():
    return make_plan("sweep k", SETTING, 1)


def trained(place: Workspace, job, finished: bool = True, start: str | None = None, name: str = FIRST, **other) -> None:
    """As if `job` had been trained; `start` is the digest of the stage one that a stage two was trained over, `name`
    the checkpoint's, `other` ingredients differ from today's."""
    for stage in job.stages:
        ingredients = {f"--{name}": value for name, value in knobs_of_stage(place.config(job), stage).items()}
        ingredients |= {DATA: place.manifest.sha256, STAGE_ONE: start} | other
        make_checkpoint(place.run(job.name).root, stage, json.loads(json.dumps(ingredients)), name, finished=finished)


def model_of(place: Workspace, job) -> str:
    """The digest of a job's stage one."""
    return recorded_digest(place.run(job.name).model(1, "best"), "model.safetensors")


def scored(place: Workspace, job, *ks: int | None) -> None:
    for k in ks:
        evaluate(place.run(job.name).root, answers("10"), k, shards=place.manifest.sha256)


def test_trained_and_scored_is_done(place, plan):
    one, two = plan.jobs
    assert missing(plan, place) == [one, two] and not place.is_trained(one)
    trained(place, one)
    assert place.is_trained(one) and missing(plan, place) == [one, two]
    scored(place, one, None)
    assert missing(plan, place) == [two]
    trained(place, two, start=model_of(place, one))
    scored(place, two, None, 1, 2, 4, 5)
    assert place.open_evaluations(two) == [(3, 6)]
    scored(place, two, 3, 6)
    assert missing(plan, place) == []


def test_an_unfinished_training_goes_on(place, plan):
    trained(place, plan.jobs[0], finished=False)
    assert not place.is_trained(plan.jobs[0])


def test_scores_of_another_model_are_made_again_whatever_the_times_say(place, plan):
    one, _ = plan.jobs
    trained(place, one)
    scored(place, one, None)
    scores = place.run(one.name).evaluation / "test.json"
    os.utime(scores, (0, 0))
    assert place.open_evaluations(one) == [], "what was copied without its times is as good"
    trained(place, one, name="step-00000002-epoch-1")
    os.utime(scores)
    assert place.open_evaluations(one) == [()]


def test_scores_that_were_made_in_another_way_are_made_again(place, plan):
    one, _ = plan.jobs
    trained(place, one)
    root = place.run(one.name).root
    for how in ({"which": "latest"}, {"precision": "bf16"}, {"shards": "6" * 64}):
        evaluate(root, answers("10"), **{"shards": place.manifest.sha256} | how)
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
    trained(place, one)
    trained(place, two, start="2" * 64)
    with pytest.raises(UserError, match="stage one's model"):
        place.is_trained(two)


def test_a_rate_that_deepspeeds_config_gave_is_taken_as_it_was(place, plan):
    trained(place, plan.jobs[0], **{"--learning_rate": 1e-3, "--weight_decay": 0.0})
    assert place.is_trained(plan.jobs[0])


def test_a_job_that_is_left_out_is_not_missing(place, plan):
    plan.left_out[plan.jobs[1].name] = "for a reason"
    assert missing(plan, place) == plan.jobs[:1]


def test_a_jobs_own_batch_replaces_the_one_typed(place):
    typed = Workspace(place.out, place.manifest, place.common | {"batch_size": 8})
    jobs = {job.name: job for job in make_plan("figure 6", Setting(("de",), batch_size=8), 1).jobs}
    assert (
        typed.config(jobs["mERE-LS-s3-seed0"]).batch_size == 9 and typed.config(jobs["mERE-LS-seed0"]).batch_size == 8
    )
