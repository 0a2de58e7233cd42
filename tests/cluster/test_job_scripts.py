"""The job scripts on a real cluster, with a stand-in for python: who is submitted and requeued when, and with what."""

import os
import subprocess
from pathlib import Path

import pytest
from cluster import require
from launching import REPOSITORY

from mere_ds import flags
from mere_ds.config import PRESETS, TWO_STAGES
from mere_ds.train import train

SCRIPTS = sorted((REPOSITORY / "slurm").glob("*.sh"))
STAND_IN = Path(__file__).with_name("stand_in.sh")


@pytest.fixture
def start(submit):
    """Submit stage one whose rank 0 runs the shell code `act`."""

    def start(act: str, *knobs, **how):
        return submit(f"--act={act}", *knobs, python=STAND_IN, **how)

    return start


def is_named(job, name, state):
    return (facts := job.follower(name)) and facts["JobState"] == state


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    require("shellcheck")
    subprocess.run(["bash", "-n", script], check=True)
    command = ["shellcheck", "--external-sources", script]
    checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("script", ["stage1.sh", "stage2.sh", "evaluate.sh"])
def test_usage_outside_slurm(script):
    def run(*words):
        return subprocess.run(["bash", REPOSITORY / "slurm" / script, *words], capture_output=True, text=True)

    asked, misused = run("--help"), run("--run=x")
    assert (asked.returncode, misused.returncode) == (0, 2)
    assert asked.stdout == misused.stderr and "sbatch slurm/stage1.sh" in asked.stdout


@pytest.mark.parametrize("system", ["", *PRESETS])
def test_the_scripts_know_which_systems_have_a_stage_two(system):
    asked = subprocess.run(["bash", "-c", f"source {REPOSITORY}/slurm/common.sh; has_stage_two '{system}'"])
    assert (asked.returncode == 0) == (system in ("", *TWO_STAGES))


@pytest.mark.parametrize(
    "words",
    ["--overwrite", "--overwrite=true", "--overwrite=1", "--overwrite=False", "--overwrite True", "--overwrite yes",
     "--overwrite 0", "-overwrite"],
)  # fmt: skip
def test_overwriting_is_left_out_after_a_requeue_however_it_is_typed(tmp_path, words):
    """With a checkpoint that wasn't there before; all that train.py's command line takes."""

    def chosen(checkpoint: str) -> list[str]:
        script = f"""
            source {REPOSITORY}/slurm/common.sh
            state={tmp_path} checkpoint={checkpoint}
            choose_knobs --run=overwrite {words} --epochs 1 --deepspeed_config=ds.json
            printf '%s\\n' "${{knobs[@]}}"
        """
        (tmp_path / "before").write_text("none\n")
        done = subprocess.run(["bash", "-uo", "pipefail", "-c", script], capture_output=True, text=True, check=True)
        assert not done.stderr
        return done.stdout.splitlines()

    others = ["--run=overwrite", "--epochs", "1", "--deepspeed_config=ds.json"]
    assert chosen("none") == [others[0], *words.split(), *others[1:]]
    assert chosen("step-1") == others
    values = flags.parse(train, [*words.split(), "--shards=s", *others], "train.py")
    assert "overwrite" in values


@pytest.mark.parametrize(
    "words",
    ["", "--dry_run", "--dry-run", "--dry_run=yes", "--dry_run True", "--dry_run=0", "--dry_run false", "--nodry_run"],
)
def test_a_dry_run_needs_no_job(tmp_path, words):
    """It would submit stage two and the evaluation."""
    script = f"source {REPOSITORY}/slurm/common.sh; is_on dry_run --run=x {words} --epochs 1"
    asked = subprocess.run(["bash", "-uo", "pipefail", "-c", script])
    typed = flags.parse(train, ["--shards=s", "--run=x", *words.split(), "--epochs", "1"], "train.py")
    assert (asked.returncode == 0) == typed.get("dry_run", False)
    if asked.returncode == 0:
        env = os.environ | {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "mere-stage1", "SLURM_NTASKS_PER_NODE": "1"}
        command = ["bash", REPOSITORY / "slurm" / "stage1.sh", f"--run={tmp_path / 'run'}", *words.split()]
        refused = subprocess.run(command, capture_output=True, text=True, env=env)
        assert (refused.returncode, list(tmp_path.iterdir())) == (2, [])
        assert refused.stderr.startswith("mere-stage1: --dry_run trains nothing, so it needs no job")


def test_each_job_submits_the_next_one_with_the_same_resources(cluster, start):
    job = start(":", "--epochs=3", flags=["--time=7", "--ntasks-per-node=3", "--gres=gpu:3", "--cpus-per-task=2"])
    job.until(lambda: is_named(job, "mere-evaluate", "COMPLETED"), "evaluation's end")
    assert [line.split()[0] for line in job.calls()] == ["1", "2", "evaluate"]
    assert all(" 6 3 node1 " in line and "--epochs=3" in line for line in job.calls()[:2])
    assert not any("--deepspeed_config" in line for line in job.calls()), "the device decides"
    for facts in (job.facts, job.follower("mere-stage2")):
        assert (facts["NumNodes"], facts["CPUs/Task"], facts["TresPerNode"]) == ("2", "2", "gres:gpu:3")
    last = job.follower("mere-evaluate")
    assert (last["NumNodes"], last["NumTasks"], last["TresPerNode"]) == ("1", "1", "gres:gpu:1")
    assert last["TimeLimit"] == "00:07:00"


def test_a_system_without_switcher_is_evaluated_after_stage_one(start):
    job = start(":", "--system=mERE-LS", flags=["--gres=none"])
    job.until(lambda: is_named(job, "mere-evaluate", "COMPLETED"), "evaluation's end")
    assert [line.split()[0] for line in job.calls()] == ["1", "evaluate"]
    assert not job.follower("mere-stage2")


def test_a_job_that_dies_without_advancing_is_given_up(start):
    """Four deaths at the first checkpoint, but the one before it and the leaving on a signal don't count."""
    job = start('case $(wc -l <"$run/calls") in 1) save step-1; exit 1 ;; 2) exit 85 ;; *) exit 1 ;; esac')
    job.end("FAILED")
    assert len(job.calls()) == 2 + 4
    assert "giving up after 4 starts without a new checkpoint" in job.output()
    job.until(lambda: is_named(job, "mere-stage2", "CANCELLED"), "stage two is gone")


def test_a_requeued_job_submits_nothing_twice(start):
    """Not even when the start before was cut off before it could write down what it had submitted."""
    job = start('[ $(wc -l <"$run/calls") != 1 ] || { rm "$run"/slurm/*/next; exit 1; }')
    job.until(lambda: is_named(job, "mere-evaluate", "COMPLETED"), "evaluation's end")
    assert job.facts["Restarts"] == "1"
    assert [line.split()[0] for line in job.calls()] == ["1", "1", "2", "evaluate"]


def test_overwriting_happens_once(start, run):
    """A start that was cut off before it replaced the old training must still do it, the ones after it must not."""
    old = run / "checkpoints" / "stage1" / "step-9"
    old.mkdir(parents=True)
    (old / "SHA256SUMS").touch()
    os.utime(old / "SHA256SUMS", (0, 0))
    old.with_name("latest").symlink_to("step-9")
    job = start('case $(wc -l <"$run/calls") in 1) exit 1 ;; 2) save step-9; exit 1 ;; esac', "--overwrite")
    job.end()
    assert ["--overwrite" in line for line in job.calls()[:3]] == [True, True, False]


def test_a_cancelled_job_stays_cancelled(cluster, start):
    job = start("trap 'save step-1; exit 85' USR1 TERM; while :; do sleep 0.1; done")
    job.until(lambda: (job.run / "calls").exists(), "the start")
    cluster.command("scancel", job.number)
    job.until(lambda: "Slurm has ended this job" in job.output(), "the script's end")
    job.end("CANCELLED")
    assert job.facts["Restarts"] == "0" and len(job.calls()) == 1
    job.until(lambda: is_named(job, "mere-stage2", "CANCELLED"), "stage two is gone")
