"""What a requeue costs on a Slurm cluster: `python benchmarks/requeue.py [--encoder=tiny]`, as root.

Starts the tests' cluster on this machine (Debian's slurmctld, slurmd, munge) and a job of slurm/stage1.sh on 2 nodes
with a rank each, on the CPU. The signal that Slurm sends near the time limit makes it save, leave and requeue itself.
Measured are the seconds from the signal to the next training step, and their parts: what Slurm needs to start the job
again, and ours. Prints a table and writes it to RESULTS.md and, as `requeue/...`, to results.json.
"""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "end_to_end"))

from cluster import DAEMON_PATH, PROGRAMS, Cluster
from launching import mere_ds, succeeded
from submitting import Job

from benchmarks.report import put_before_and_now
from mere_ds import flags
from mere_ds.errors import MachineError, UserError
from mere_ds.versions import cpu_model

MARKS = "<!-- requeue -->\n", "<!-- end requeue -->"
MEASURED = {
    "requeue/leave": "ours: s from the signal until all ranks have saved and left",
    "requeue/slurm": "Slurm's: s until the job runs again",
    "requeue/resume": "ours: s until the checkpoint is found (imports, rendezvous)",
    "requeue/step": "ours: s until the next step is made (model, engine, first batch)",
    "requeue/ours": "ours: s together",
    "requeue/again": "s from the job's new start to the next step",
    "requeue/whole": "s from the signal to the next step",
}
KNOBS = ("--batch_size=8", "--log_every=1", "--learning_rate=1e-3", "--max_steps=100000", "--epochs=1000")
STEPS = 5  # that a start makes before it gets the signal
_PATIENCE = 300  # seconds


def requeue(job: Job, starts: int) -> dict[str, float]:
    """Signal a job that has started so many times, once it has made some steps; the seconds of each part."""
    began = len(job.records())
    _until(job, lambda: len(job.records()) >= began + STEPS)
    signal = time.time()
    job.cluster.command("scancel", "--batch", "--signal=USR1", job.number)
    left = _until(job, lambda: _said(job).count(", requeued\n") == starts)
    runs = _until(job, lambda: f"start {starts + 1}, on " in _said(job))
    resumes = _until(job, lambda: job.log().count(" resumes from ") == starts)
    after = lambda: [row["time"] for row in job.records() if row["time"] > resumes]  # noqa: E731
    _until(job, after)
    step = after()[0]
    parts = [left - signal, runs - left, resumes - runs, step - resumes]
    return dict(zip(MEASURED, [*parts, sum(parts) - parts[1], step - runs, step - signal], strict=True))


def _until(job: Job, condition: Callable[[], object]) -> float:
    """The time when it has become true."""
    deadline = time.time() + _PATIENCE
    while not condition():
        if time.time() > deadline:
            raise MachineError(f"{_PATIENCE} s passed without the next event: {job.facts}\n{_said(job)[-1000:]}")
        time.sleep(0.02)
    return time.time()


def _said(job: Job) -> str:
    """What the job's script has printed."""
    out = job.run.parent / f"mere-stage1-{job.number}.out"
    return out.read_text(errors="replace") if out.exists() else ""


def main(*, encoder: str = "tiny", rounds: int = 5, out: str = str(Path(__file__).parent)) -> None:
    """Run the measurements and write RESULTS.md and results.json.

    Args:
        encoder: As of mere-ds shard.
        rounds: Requeues of the job; one more goes first, which isn't counted.
        out: Folder of RESULTS.md, which must have the marks, and results.json.
    """
    absent = [program for program in PROGRAMS if shutil.which(program, path=DAEMON_PATH) is None]
    if absent or os.geteuid():
        raise UserError(f"a cluster needs root and these programs, which are missing: {', '.join(absent) or 'none'}")
    figures: dict[str, dict[str, list[float]]] = {name: {"now": []} for name in MEASURED}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        succeeded(mere_ds("synthesize", folder / "corpus", "--sentences=1500"))
        succeeded(mere_ds("shard", folder / "corpus", folder / "shards", f"--encoder={encoder}"))
        with Cluster(folder / "cluster", nodes=2) as cluster:
            knobs = (f"--shards={folder / 'shards'}", "--deepspeed_config=cpu", *KNOBS)
            job = Job.submit(cluster, folder / "run", *knobs)
            for turn in range(1 + rounds):
                got = requeue(job, turn + 1)
                print(", ".join(f"{seconds:.2f}" for seconds in got.values()), file=sys.stderr, flush=True)
                for name, seconds in got.items():
                    figures[name]["now"].extend([seconds] if turn else [])
    machine = f"{len(os.sched_getaffinity(0))} cores of {cpu_model()}, Python {platform.python_version()}"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "deepspeed", "transformers"))
    head = (
        f"{machine}, {date.today()}, load {load:.1f} before; {libraries}. 2 nodes with a rank each, encoder "
        f"`{encoder}`. Figures are minimum / median / maximum over {rounds} requeues."
    )
    told = {"machine": machine, "precision": "fp32", "encoder": encoder}
    put_before_and_now(figures, (head, "a requeue", MEASURED), told, MARKS, Path(out))


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "requeue.py")
