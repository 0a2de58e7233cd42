"""What requeue.py reads of a job's files."""

import json
import time
from types import SimpleNamespace

import pytest
from submitting import Job

from benchmarks.checkouts import ROOT
from benchmarks.requeue import MARKS, MEASURED, main, requeue
from mere_ds.errors import UserError

LATER = 1000.0
"""Seconds from now, when the job's step after the requeue was recorded."""


def test_parts_make_up_the_whole_and_earlier_starts_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.requeue.STEPS", 0)
    run = tmp_path / "run"
    run.mkdir()
    out, log, metrics = tmp_path / "mere-stage1-7.out", run / "log.txt", run / "metrics.jsonl"

    def record(seconds: float) -> None:
        with metrics.open("a") as file:
            file.write(json.dumps({"kind": "train", "stage": 1, "time": time.time() + seconds}) + "\n")

    def signalled(*command: str) -> None:
        assert command == ("scancel", "--batch", "--signal=USR1", "7")
        out.write_text(out.read_text() + "mere-stage1: ended with exit code 85, requeued\nstart 3, on node[1-2]\n")
        log.write_text(log.read_text() + "stage 1 resumes from step-00000010\n")
        record(LATER)
        record(2 * LATER)

    out.write_text("start 1, on node1\nended with exit code 85, requeued\nstart 2, on node1\n")
    log.write_text("stage 1 resumes from step-00000005\n")
    job = Job(SimpleNamespace(command=signalled), "7", run)
    record(0)
    parts = requeue(job, 2)
    assert list(parts) == list(MEASURED)
    leave, slurm, resume, step, ours, again, whole = parts.values()
    assert LATER - 60 < step < LATER, "of the first step after the requeue"
    assert (leave + slurm + resume + step, leave + resume + step) == pytest.approx((whole, ours))
    assert again == pytest.approx(resume + step)


def test_without_a_cluster_s_programs_it_says_which_are_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.requeue.DAEMON_PATH", str(tmp_path))
    with pytest.raises(UserError, match="slurmctld"):
        main()


def test_results_have_its_marks():
    page = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    assert all(page.count(mark.strip()) == 1 for mark in MARKS)
