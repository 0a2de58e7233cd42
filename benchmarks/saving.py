"""What a save costs a training: `python benchmarks/saving.py [--against=GIT_REF]`.

A model of about 50 M parameters trains on the CPU in fp32 (ZeRO 0). Measured are the seconds that the loop stands
still for a save, and the CPU seconds of its thread, which don't depend on the disk and other programs. The version
before and ours take turns, each in a process of its own; ratios are of the medians of a turn. Prints a table and
writes it to RESULTS.md and, as `save/...`, to results.json.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: mere_ds may be another checkout's, by PYTHONPATH

from benchmarks.checkouts import ROOT, checked_out
from benchmarks.machine import Ceiling
from benchmarks.material import Material, Sizes, make_material
from benchmarks.ours import OurTraining
from benchmarks.report import put_before_and_now, spread
from mere_ds import flags
from mere_ds.runs.checkpoint import name_of
from mere_ds.shards.manifest import Manifest
from mere_ds.training.observers import Beginning

SIZES = Sizes(tokenizer="tiny", vocabulary=50_000, hidden=512, layers=8, heads=8, feed_forward=2048)
MARKS = "<!-- save -->\n", "<!-- end save -->"
MEASURED = {"save/stall": "s that training stands still", "save/stall, CPU": "CPU s of its thread"}


def measure(folder: Path, batch: int, steps: int, saves: int) -> None:
    """Prints the number of parameters, and for each save the seconds and the CPU seconds of `MEASURED`."""
    shards = folder / "shards"
    material = Material(shards, Manifest.load(shards), SIZES, seed=1)
    with tempfile.TemporaryDirectory(dir=folder) as run, OurTraining(material, Path(run), 1, batch, "fp32") as ours:
        parameters = sum(p.numel() for p in ours.trainer.trainee.model.parameters())
        ours.trainer.observers.begin(Beginning("stage 1", 0, saves, {}))
        figures = [_save(ours, number, steps) for number in range(1, saves + 2)]
        print(json.dumps([parameters, figures[1:]]))  # the first one takes new memory


def _save(ours: OurTraining, number: int, steps: int) -> tuple[float, float]:
    ours.steps(steps)
    ours.trainer.at.step = number
    started, used = time.perf_counter(), time.thread_time()
    ours.trainer._save(name_of(number))
    figures = time.perf_counter() - started, time.thread_time() - used
    if saver := getattr(ours.trainer, "saver", None):  # earlier versions have none
        saver.wait()
    return figures


def turns(folder: Path, checkouts: dict[str, Path], batch: int, steps: int, saves: int, rounds: int) -> Iterator[tuple]:
    """(side, parameters, [(seconds, CPU seconds), ...]) of each turn."""
    for _ in range(rounds):
        for side, checkout in checkouts.items():
            command = [sys.executable, __file__, "measure", folder, batch, steps, saves]
            told = {"env": os.environ | {"PYTHONPATH": str(checkout)}, "stdout": subprocess.PIPE, "text": True}
            done = subprocess.run(list(map(str, command)), check=True, **told)
            yield side, *json.loads(done.stdout.splitlines()[-1])


def write_saving(figures: dict[str, dict[str, list[float]]], machine: str, parameters: int, folder: Path) -> None:
    """Print the table and write it; `figures` are, by what was measured and side, the medians of each turn."""
    head = (
        f"{machine}, {date.today()}; torch {version('torch')}. {parameters / 1e6:.1f} M parameters, fp32, ZeRO 0. "
        "Figures are minimum / median / maximum over turns, of each turn's median."
    )
    told = {"machine": machine, "precision": "fp32", "parameters": parameters}
    put_before_and_now(figures, (head, "a save", MEASURED), told, MARKS, folder)


def main(
    *,
    against: str | None = None,
    batch: int = 4,
    steps: int = 2,
    saves: int = 5,
    rounds: int = 3,
    out: str = str(Path(__file__).parent),
) -> None:
    """Run the measurements and write RESULTS.md and results.json.

    Args:
        against: Commit of the version before (None: none).
        batch: Sentences of a step.
        steps: Steps before each save.
        saves: Of a turn.
        rounds: Turns of each version.
        out: Folder of RESULTS.md, which must have the marks, and results.json.
    """
    machine = str(Ceiling(torch.device("cpu"), torch.float32))
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in MEASURED}
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {"before": checked_out(against, Path(folder))} if against else {}
        make_material(folder, 1000, SIZES)
        for side, counted, saved in turns(Path(folder), checkouts | {"now": ROOT}, batch, steps, saves, rounds):
            parameters = counted
            for name, seconds in zip(MEASURED, zip(*saved, strict=True), strict=True):
                figures[name].setdefault(side, []).append(statistics.median(seconds))
                print(f"{side}: {name}: {spread(list(seconds))}", file=sys.stderr, flush=True)
    write_saving(figures, machine, parameters, Path(out))


if __name__ == "__main__":
    os.environ |= {"DS_ACCELERATOR": "cpu", "TOKENIZERS_PARALLELISM": "false"}
    if sys.argv[1:2] == ["measure"]:
        measure(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        flags.run(main, sys.argv[1:], "saving.py")
