"""What a start of a training takes: `python benchmarks/restart.py [--against=GIT_REF] [--encoder=tiny]`.

DeepSpeed's launcher starts a training on 2 ranks, on the CPU. Measured are the seconds to its first step, and, after
all its processes are killed, those from the same command to the next step; and the CPU seconds of all processes until
then, which depend less on what else runs. The version before and ours take turns. Prints a table and writes it to
RESULTS.md and, as `restart/...`, to results.json.
"""

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.checkouts import ROOT, checked_out
from benchmarks.report import put_before_and_now
from mere_ds import flags
from mere_ds.errors import MachineError
from mere_ds.versions import cpu_model

MARKS = "<!-- restart -->\n", "<!-- end restart -->"
MEASURED = {
    "restart/first": "s to the first step", "restart/first, CPU": "CPU s to the first step",
    "restart/seconds": "s to the next step", "restart/CPU": "CPU s to the next step",
}  # fmt: skip
RANKS = 2
KNOBS = ("--stage=1", "--batch_size=8", "--log_every=1", "--save_steps=1", "--learning_rate=1e-3", "--max_steps=100000")
_PATIENCE = 600  # seconds


def measure(checkout: Path, shards: Path, port: int) -> Iterator[tuple[float, float]]:
    """(seconds, CPU seconds) to the first step of a new training, then to the next one after a kill."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        for _ in range(2):
            yield _start(checkout, shards, run, port)


def _start(checkout: Path, shards: Path, run: Path, port: int) -> tuple[float, float]:
    """Start the training, kill it once it has made a step and has a checkpoint."""
    environment = {"PYTHONPATH": str(checkout), "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    words = [Path(sys.executable).with_name("deepspeed"), f"--num_gpus={RANKS}", f"--master_port={port}"]
    words += [checkout / "mere_ds" / "train.py", f"--shards={shards}", f"--run={run}", *KNOBS]
    words += [f"--deepspeed_config={ROOT / 'ds_configs' / 'cpu.json'}"]
    log = run.with_suffix(".log")
    with log.open("ab") as out:
        launcher = psutil.Popen(
            list(map(str, words)), env=os.environ | environment, stdout=out, stderr=out, start_new_session=True
        )
    started = time.time()
    try:
        while not (steps := [time for time in _steps(run) if time > started]):
            _check(launcher, started, log)
        figures = steps[0] - started, _cpu_seconds(launcher)
        while not (run / "checkpoints" / "stage1" / "latest").exists():
            _check(launcher, started, log)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
            everyone = [launcher, *launcher.children(recursive=True)]  # ranks are in sessions of their own
            for process in everyone:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            psutil.wait_procs(everyone)
    return figures


def _check(launcher: psutil.Popen, started: float, log: Path) -> None:
    if launcher.poll() is not None or time.time() > started + _PATIENCE:
        raise MachineError(f"no step: {log.read_text(errors='replace')[-1000:]}")
    time.sleep(0.02)


def _steps(run: Path) -> list[float]:
    """When each step was recorded."""
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row["time"] for row in rows if row["kind"] == "train"]


def _cpu_seconds(launcher: psutil.Popen) -> float:
    """Of the launcher and all that it started, also those that have ended."""
    seconds = 0.0
    for process in (launcher, *launcher.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # counted by its parent next time
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def write_restart(figures: dict[str, dict[str, list[float]]], machine: str, encoder: str, folder: Path) -> None:
    """Print the table and write it; `figures` are, by what was measured and side, those of each round."""
    head = (
        f"{machine}, {date.today()}; torch {version('torch')}, deepspeed {version('deepspeed')}, transformers "
        f"{version('transformers')}. {RANKS} ranks, encoder `{encoder}`. Figures are minimum / median / maximum over "
        "rounds."
    )
    told = {"machine": machine, "precision": "fp32", "encoder": encoder}
    put_before_and_now(figures, (head, "a start", MEASURED), told, MARKS, folder)


def main(
    *,
    against: str | None = None,
    encoder: str = "tiny",
    rounds: int = 3,
    port: int = 28_500,
    out: str = str(Path(__file__).parent),
) -> None:
    """Run the measurements and write RESULTS.md and results.json.

    Args:
        against: Commit of the version before (None: none).
        encoder: As of mere-ds shard.
        rounds: Starts of each version.
        port: Where the ranks meet.
        out: Folder of RESULTS.md, which must have the marks, and results.json.
    """
    machine = f"{len(os.sched_getaffinity(0))} cores of {cpu_model()}, Python {platform.python_version()}"
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in MEASURED}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkouts = {"before": checked_out(against, folder)} if against else {}
        command = [sys.executable, "-c", "from mere_ds.cli import main; main()"]
        for words in (["synthesize", folder / "corpus", "--sentences=1500"],
                      ["shard", folder / "corpus", folder / "shards", f"--encoder={encoder}"]):  # fmt: skip
            told = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "stdout": subprocess.DEVNULL}
            subprocess.run([*command, *map(str, words)], check=True, **told)
        for turn in range(1 + rounds):  # the first one fills the cache of what transformers defines
            for side, checkout in (checkouts | {"now": ROOT}).items():
                got = [figure for figures in measure(checkout, folder / "shards", port) for figure in figures]
                print(f"{side}: {', '.join(f'{figure:.1f}' for figure in got)}", file=sys.stderr, flush=True)
                for name, figure in zip(MEASURED, got, strict=True):
                    figures[name].setdefault(side, []).extend([figure] if turn else [])
    write_restart(figures, machine, encoder, Path(out))


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "restart.py")
