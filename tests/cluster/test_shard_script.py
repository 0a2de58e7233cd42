"""slurm/shard.sh: on a real cluster the parts of shards by a job array, one of them stopped, joined at the end; without
one what it submits and starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import UNFINISHED, until
from launching import REPOSITORY, mere_ds, succeeded

SCRIPT = REPOSITORY / "slurm" / "shard.sh"


def program(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/bash", *lines]) + "\n")
    path.chmod(0o755)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_by_an_array_are_joined(cluster, tmp_path):
    corpus, out, begun = tmp_path / "the corpus", tmp_path / "the shards", tmp_path / "begun"
    succeeded(mere_ds("synthesize", corpus, "--sentences=900", "--seed=3", "--languages=de,fr"))
    succeeded(mere_ds("shard", corpus, tmp_path / "whole", "--encoder=tiny"))
    python = program(
        tmp_path / "python",
        f'case "$*" in *--part=2/2*) [ -e "{begun}" ] || {{ touch "{begun}"; exec sleep 600; }} ;; esac',
        f'exec "{sys.executable}" "$@"',
    )
    cluster.env |= {"PYTHON": str(python), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    words = ("--cpus-per-task=1", "--time=5", "--", "--parts=2", corpus, out, "--encoder=tiny")
    told = cluster.command("bash", SCRIPT, *words, cwd=tmp_path).splitlines()
    array, join = (line.rsplit(" ", 1)[1] for line in told)
    assert told == [f"parts 1 to 2: job {array}", f"joining them: job {join}"]
    try:
        until(begun.exists, "the second part's start", 120)
        cluster.command("scancel", "--signal=USR1", "--batch", f"{array}_2")  # as Slurm does near the time limit
        until(lambda: cluster.job(join)["JobState"] not in UNFINISHED, "the end", 240)
        shown = "".join(path.read_text() for path in sorted(tmp_path.glob("mere-shard-*.out")))
        assert cluster.job(join)["JobState"] == "COMPLETED", shown
        assert "requeued" in shown and f"{out}, part 1/2: " in shown and f"{out}, part 2/2: " in shown
    finally:
        cluster.command("scancel", "--user=root")
    assert contents(out) == contents(tmp_path / "whole")


def ran(*words, **env) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", SCRIPT, *words], capture_output=True, text=True, env=os.environ | env)


def test_usage():
    asked, misused = ran("--help"), ran()
    assert (asked.returncode, misused.returncode) == (0, 2) and asked.stdout == misused.stderr
    assert ran("corpus", "shards").stderr == "mere-shard: --parts=... must say how many parts there are\n"


@pytest.fixture
def submitted(tmp_path):
    """Calls the script where sbatch only notes what it is called with; gives what was printed, and these notes."""
    program(tmp_path / "sbatch", f'printf "<%s>" "$@" >>"{tmp_path}/said"; echo >>"{tmp_path}/said"; echo "7;there"')
    (tmp_path / "said").touch()

    def submitted(*words: str) -> tuple[str, list[str]]:
        done = ran(*words, PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert done.returncode == 0, done.stderr
        return done.stdout, (tmp_path / "said").read_text().splitlines()

    return submitted


@pytest.mark.parametrize("parts", [["--parts=3"], ["--parts", "3"]])
def test_what_is_submitted(submitted, parts):
    told, (array, join) = submitted("--time=9", "--", *parts, "a b", "out", "--encoder=tiny")
    assert told == "parts 1 to 3: job 7\njoining them: job 7\n"
    words = f"<{SCRIPT}><run><3><a b><out><--encoder=tiny>"
    assert array == f"<--parsable><--time=9><--array=1-3>{words}"
    assert (
        join == f"<--parsable><--time=9><--output=%x-%j.out><--dependency=afterok:7><--kill-on-invalid-dep=yes>{words}"
    )


def test_a_name_with_dashes_in_it_ends_no_flags(submitted):
    _, (array, _) = submitted("--parts=1", "de -- fr", "out")
    assert array.endswith("<run><1><de -- fr><out>") and array.startswith("<--parsable><--array=1-1>")


def test_help_submits_nothing_wherever_it_is_asked_for(submitted):
    assert submitted("--parts=1", "corpus", "out", "--help") == (ran("--help").stdout, [])


@pytest.mark.parametrize(("task", "flag"), [({"SLURM_ARRAY_TASK_ID": "2"}, "--part=2/3"), ({}, "--join=3")])
def test_what_a_job_starts(tmp_path, task, flag):
    python = program(tmp_path / "python", 'shift 2; printf "<%s>" "$@"; exit 3')
    done = ran("run", "3", "a b", "out", PYTHON=str(python), SLURM_JOB_ID="8", **task)
    assert (done.returncode, done.stdout) == (3, f"<shard><a b><out><{flag}>"), done.stderr


def test_a_part_that_is_stopped_again_and_again_is_given_up(tmp_path):
    python = program(tmp_path / "python", "kill -USR1 $PPID", "exec sleep 600")
    program(tmp_path / "scontrol", 'echo "scontrol $*"')
    program(tmp_path / "squeue", "echo RUNNING")
    slurm = {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_NAME": "mere-shard"}
    slurm |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": str(python)}
    third, fourth = (ran("run", "3", "a", "out", SLURM_RESTART_COUNT=str(n), **slurm) for n in (2, 3))
    assert third.stdout == "mere-shard: ended with exit code 143, requeued\nscontrol requeue 7_2\n"
    assert fourth.returncode == 143 and not fourth.stdout
    assert "was stopped 4 times: allow more --time or take more --parts" in fourth.stderr
