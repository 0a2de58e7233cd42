"""Training on a cluster where things go wrong: it must come out as if nothing had happened."""

import json
import re
from pathlib import Path

import pytest
import torch
from launching import records, weights
from submitting import Job


def assert_as_undisturbed(job: Job, reference: Path, bits: bool = True) -> None:
    """Every step once, with the loss of the undisturbed run (same sentences); same `bits` in the final weights."""
    here, there = records(job.run), records(reference)
    assert [row["step"] for row in here] == [row["step"] for row in there]
    assert [row["loss"] for row in here] == pytest.approx([row["loss"] for row in there], rel=1e-4)
    if bits:
        got, wanted = weights(job.run, 1), weights(reference, 1)
        assert got.keys() == wanted.keys()
        assert [name for name in wanted if not torch.equal(got[name], wanted[name])] == []


def test_one_command_trains_and_evaluates_in_spite_of_the_time_limit(cluster, submit, knobs, reference, lost):
    job = submit(*knobs)
    since = job.reach(20)
    cluster.command("scancel", "--batch", "--signal=USR1", job.number)  # as Slurm does when the limit is near
    lost("time limit near", job.goes_on(since))
    job.until(lambda: (job.run / "evaluation" / "test.json").exists(), "scores", 300)
    assert_as_undisturbed(job, reference)
    assert job.facts["Restarts"] == "1"
    for name in ("mere-stage2", "mere-evaluate"):
        facts = job.follower(name)
        job.until(lambda facts=facts: cluster.job(facts["JobId"])["JobState"] == "COMPLETED", f"{name} is done")
        assert facts["Restarts"] == "0"
    scores = json.loads((job.run / "evaluation" / "test.json").read_text())
    assert scores["split"] == "test" and scores["pooled"]["relation"] > 0
    one, two = weights(job.run, 1), weights(job.run, 2)
    words = next(name for name in one if name.endswith("word_embeddings.weight"))
    assert torch.equal(one[words], two[words])
    assert not torch.equal(one["relation.weight"], two["relation.weight"])


def test_preemption_and_then_the_loss_of_the_first_node(cluster, submit, knobs, reference, lost):
    job = submit(*knobs, "--save_steps=20")
    since = job.reach(15)
    urgent = cluster.command("sbatch", "--parsable", "--partition=urgent", "--nodes=4", "--ntasks-per-node=8",
                             "--output=/dev/null", "--wrap=sleep 1").strip()  # fmt: skip
    lost("preempted", job.goes_on(since))
    job.until(lambda: cluster.job(urgent)["JobState"] == "COMPLETED", "the urgent job is done")
    assert job.facts["Restarts"] == "1"
    left_after = int(re.search(r"was asked to stop: exiting after step (\d+)", job.log())[1])
    assert f"stage 1 resumes from step-{left_after:08d}" in job.log()

    since = job.reach(45)
    before = job.facts["NodeList"]
    cluster.crash("node1")  # the batch script, rank 0, the master: all gone, and nobody was told
    lost("node crashed", job.goes_on(since))
    assert (before, job.facts["NodeList"], job.facts["Restarts"]) == ("node[1-2]", "node[2-3]", "2")
    job.end()
    assert_as_undisturbed(job, reference)


def test_fewer_nodes_after_a_requeue(cluster, submit, knobs, reference, lost):
    """4 ranks on 2 nodes, then 2 on one: the same sentences in the same global batches."""
    four = [knob.replace("--batch_size=8", "--batch_size=4") for knob in knobs]
    job = submit(*four, flags=["--ntasks-per-node=2", "--gres=gpu:2"])
    since = job.reach(20)
    cluster.command("scancel", "--batch", "--signal=USR1", job.number)
    job.until(lambda: job.facts["JobState"] == "PENDING", "the requeue")
    cluster.command("scontrol", "update", f"jobid={job.number}", "numnodes=1", "numtasks=2", "numcpus=2")
    lost("half of the nodes", job.goes_on(since))
    assert job.facts["NodeList"] == "node1"
    job.end()
    assert "global batch 16 = 4 x 2 ranks x 2 accumulation" in job.log()
    assert_as_undisturbed(job, reference, bits=False)


def test_a_stage_one_that_must_be_mended_leaves_nothing_in_the_queue(submit, knobs, tmp_path):
    wrong = tmp_path / "fp16.json"
    wrong.write_text('{"fp16": {"enabled": true}}')
    others = [knob for knob in knobs if not knob.startswith("--deepspeed_config")]
    job = submit(*others, f"--deepspeed_config={wrong}")
    job.end("FAILED")
    assert (job.facts["ExitCode"], job.facts["Restarts"]) == ("2:0", "0")
    assert "fp16 needs a GPU" in job.output()
    job.until(lambda: (facts := job.follower("mere-stage2")) and facts["JobState"] == "CANCELLED", "stage two is gone")
    assert not (job.run / "checkpoints").exists()
