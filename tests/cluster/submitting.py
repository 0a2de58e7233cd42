"""Jobs submitted as a user does: sbatch slurm/stage1.sh --shards=... --run=..."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster, until
from launching import REPOSITORY

RANKS = ("--nodes=2", "--ntasks-per-node=1", "--gres=gpu:1", "--cpus-per-task=1", "--time=30")
"""sbatch's flags: 2 ranks on 2 nodes."""


@dataclass
class Job:
    """A job of stage one and what its run folder shows."""

    cluster: Cluster
    number: str
    run: Path

    @classmethod
    def submit(cls, cluster: Cluster, run: Path, *knobs, flags=(), python=sys.executable) -> "Job":
        cluster.env["PYTHON"] = str(python)
        number = cluster.command(
            "sbatch", "--parsable", *RANKS, *flags, REPOSITORY / "slurm" / "stage1.sh", f"--run={run}", *knobs,
            cwd=run.parent,
        )  # fmt: skip
        return cls(cluster, number.strip(), run)

    @property
    def facts(self) -> dict[str, str]:
        return self.cluster.job(self.number)

    def follower(self, name: str) -> dict[str, str] | None:
        """What Slurm knows of the one job of this name; None if there is none yet."""
        rows = self.cluster.command("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%i %Z")
        numbers = [number for number, folder in (row.split(maxsplit=1) for row in rows.splitlines())
                   if folder == str(self.run.parent)]  # fmt: skip
        assert len(numbers) < 2, f"{name} was submitted twice"
        return self.cluster.job(numbers[0]) if numbers else None

    def calls(self) -> list[str]:
        """What each start of a program in this run was told, where a stand-in wrote it down."""
        return (self.run / "calls").read_text().splitlines()

    def output(self) -> str:
        """What all jobs of this test have printed."""
        return "".join(f"--- {p.name}\n{p.read_text()[-6000:]}" for p in sorted(self.run.parent.glob("mere-*.out")))

    def log(self) -> str:
        return (self.run / "log.txt").read_text()

    def until(self, condition, what: str, seconds: float = 240):
        """Poll; where it takes too long, show what the jobs said."""
        try:
            return until(condition, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.facts}\n{self.output()}") from None

    def records(self, stage: int = 1) -> list[dict]:
        """The training records that are whole so far."""
        metrics = self.run / "metrics.jsonl"
        lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        return [row for row in rows if row["kind"] == "train" and row["stage"] == stage]

    def reach(self, step: int) -> float:
        """Wait until training has made this step; returns the time now."""
        self.until(lambda: any(row["step"] >= step for row in self.records()), f"step {step}")
        return time.time()

    def goes_on(self, since: float) -> float:
        """Wait for the first step of the next start; returns the seconds since the fault."""
        row = self.until(
            lambda: self.facts["Restarts"] != "0" and next((r for r in self.records() if r["time"] > since + 2), None),
            "a step after the fault",
        )
        return row["time"] - since

    def end(self, state: str = "COMPLETED") -> None:
        """Wait for the job's end, which must be as said."""
        ends = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
        self.until(lambda: self.facts["JobState"] in ends, "the job's end")
        assert self.facts["JobState"] == state, f"{self.facts}\n{self.output()}"
