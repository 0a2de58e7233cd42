"""slurm/reproduce.sh on a real cluster, with a stand-in for python: which jobs are submitted, and in which order."""

import os
import subprocess
from pathlib import Path

import pytest
from cluster import until
from launching import REPOSITORY

SCRIPT = REPOSITORY / "slurm" / "reproduce.sh"
STAND_IN = Path(__file__).with_name("plan_stand_in.sh")


@pytest.fixture
def start(cluster, tmp_path):
    """Submit a plan whose jobs do `act` in the shell; gives what was printed. Afterwards the queue is empty."""

    def start(act: str, *flags: str) -> list[str]:
        (tmp_path / "act.sh").write_text(act)
        cluster.env["PYTHON"] = str(STAND_IN)
        words = ("--gres=none", "--cpus-per-task=1", "--time=5", *flags, "--", "--table=2", f"--out={tmp_path}")
        return cluster.command("bash", SCRIPT, *words, cwd=tmp_path).splitlines()

    yield start
    cluster.command("scancel", "--user=root")
    until(lambda: not cluster.command("squeue", "--noheader"), "an empty queue")


@pytest.fixture
def calls(tmp_path):
    """The jobs that were run so far."""
    return lambda: path.read_text().split() if (path := tmp_path / "calls").exists() else []


def states(cluster, tmp_path) -> list[str]:
    rows = cluster.command("squeue", "--noheader", "--array", "--states=all", "--format=%T %Z").splitlines()
    return sorted(row.split()[0] for row in rows if row.endswith(str(tmp_path)))


def test_what_needs_nothing_then_what_needs_it_then_the_report(start, calls, tmp_path):
    """And a job that was asked to stop comes back, with the others waiting for it."""
    said = start('[ "$only" != 5 ] || [ "$(grep -c 5 "$out/calls")" = 2 ] || exit 85')
    assert [line.split(":")[0] for line in said] == ["jobs 1,5", "jobs 3", "the report"]
    until(lambda: "0" in calls(), "the report", 25)
    assert sorted(calls()[:3]) == ["1", "5", "5"] and calls()[3:] == ["3", "0"]


def test_nothing_goes_on_from_a_job_that_failed(cluster, start, calls, tmp_path):
    start('[ "$only" != 1 ] || exit 1')
    until(lambda: states(cluster, tmp_path) == ["CANCELLED", "CANCELLED", "COMPLETED", "FAILED"], "the end", 120)
    assert sorted(calls()) == ["1", "5"]


def test_usage():
    def run(*words):
        return subprocess.run(["bash", SCRIPT, *words], capture_output=True, text=True)

    asked, misused = run("--help"), run()
    assert (asked.returncode, misused.returncode) == (0, 2)
    assert asked.stdout == misused.stderr and "bash slurm/reproduce.sh --table=2" in asked.stdout


@pytest.mark.parametrize("words", [["--dry_run"], ["--dry_run=true"], ["--dry-run"], ["--dry_run", "True"], ["--help"]])
def test_what_only_tells_submits_nothing(tmp_path, words):
    for name, does in (("sbatch", f'touch "{tmp_path}/submitted"'), ("python", 'echo "$*"')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": str(tmp_path / "python")}
    command = ["bash", SCRIPT, "--time=5", "--", "--table=2", *words]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    assert told.endswith(f"reproduce --table=2 {' '.join(words)}\n") or "Reproduce a table" in told
    assert not (tmp_path / "submitted").exists()
