"""Measure our steps against the two rivals and the machine: `python benchmarks/speed.py [--rounds=3] [--batch=32]`.

Stage one, stage two from its second epoch, evaluation at k = 3, and the entity heads and LS alone, at mBERT's size:
`literal` is the paper's text as a natural first implementation in fp32, `hf` the same model in the Hugging Face
Trainer in our precision, `before` (`--against`) another commit of ours. Same sentences, batch and weights; they take
turns, each in a process of its own, and a ratio is of one round. Prints tables and writes them to RESULTS.md and
results.json.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.checkouts import ROOT, checked_out
from benchmarks.machine import Ceiling
from benchmarks.material import Material, Sizes, make_material
from benchmarks.report import write_report
from benchmarks.sides import Task
from mere_ds import flags
from mere_ds.model.precision import DTYPES, best_precision

SIDES = ("ours", "literal", "hf")
TASKS = ("stage1", "stage2", "evaluate", "heads", "switcher")
TINY = Sizes(tokenizer="tiny", vocabulary=0, hidden=32, layers=2, heads=2, feed_forward=64, bottleneck=48)


@dataclass
class Rounds:
    """What the rounds of one task gave."""

    rates: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Sentences a second by side, a figure a round."""
    shares: list[float] = field(default_factory=list)
    """Of the matrix product's rate in the same round that we reach."""
    facts: dict[str, str] = field(default_factory=dict)
    profile: str = ""


@dataclass
class Bench:
    """A whole measurement."""

    material: Material
    precision: str
    batch: int
    ceiling: Ceiling
    tasks: dict[str, Rounds] = field(default_factory=dict)


class Side:
    """One side of a task, in a process that waits until it is asked for a round."""

    def __init__(self, task: Task, checkout: Path = ROOT) -> None:
        told = asdict(task)
        if checkout != ROOT:
            del told["embedding_rows"]  # which 025c867 didn't have
        command = [sys.executable, str(checkout / "benchmarks/speed.py"), "side", json.dumps(told)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, **pipes)

    def ask(self, what: str):
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"one side of the comparison has ended with {self._process.wait()}, see above")
        return json.loads(line)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def serve(told: str) -> None:
    """The other end of `Side`: a round, or a profile of some steps, for each line of standard input."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer
    task = Task(**{**json.loads(told), "sizes": Sizes(**json.loads(told)["sizes"])})
    rounds = task.rounds()
    for line in sys.stdin:
        result = next(rounds)
        work = result.pop("work", None)
        if line.strip() == "profile":
            result = Ceiling(task.device, DTYPES[task.precision]).profile(work)
        answers.write(json.dumps(result) + "\n")


MAKE = """
import json, sys
from benchmarks.material import Sizes, make_material
folder, sentences, sizes = json.loads(sys.argv[1])
make_material(folder, sentences, Sizes(**sizes))
"""
"""The same material in the form of another commit."""


def other_material(checkout: Path, folder: Path, sentences: int, sizes: Sizes) -> None:
    """Have another commit make the material for its own side."""
    told = json.dumps([str(folder), sentences, asdict(sizes)])
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    subprocess.run([sys.executable, "-c", MAKE, told], cwd=checkout, env=environment, check=True, stdout=sys.stderr)


def measure(bench: Bench, task: Task, rounds: int, before: Path | None) -> None:
    """All rounds of one task, the sides in turn; `before`: the checkout of another commit, beside its material."""
    name = task.name
    sides = {side: Side(replace(task, side=side)) for side in SIDES}
    if before:
        sides["before"] = Side(replace(task, folder=str(before.parent / "material")), before)
    got = bench.tasks.setdefault(name, Rounds())
    for _ in range(rounds):
        for side, process in sides.items():
            answer = process.ask("round")
            got.rates[side].append(answer.pop("rate"))
            print(f"{name} {side}: {got.rates[side][-1]:.2f} sentences/s", file=sys.stderr, flush=True)
            flops = answer.pop("flops", None)
            if side == "ours" and flops:
                got.shares.append(flops / bench.ceiling.measure_gemm())
                answer["TFLOP a second"] = flops / 1e12
            got.facts |= {f"{side}: {fact}": f"{value:g}" for fact, value in answer.items()}
    if name.startswith("stage"):
        got.profile = sides["ours"].ask("profile")
    for process in sides.values():
        process.end()


def main(
    *,
    rounds: int = 3,
    batch: int = 32,
    steps: int = 6,
    sentences: int = 1000,
    precision: str = "auto",
    only: tuple[str, ...] = TASKS,
    out: str = str(Path(__file__).parent),
    compile: bool | None = None,
    embedding_rows: Literal["all", "touched"] = "all",
    against: str | None = None,
    tiny: bool = False,
) -> None:
    """Run the measurements and write RESULTS.md and results.json.

    Examples:
        python benchmarks/speed.py
        python benchmarks/speed.py --batch=256 --steps=20 --sentences=20000
        python benchmarks/speed.py --only=stage1,evaluate --embedding_rows=touched --against=025c867

    Args:
        rounds: How often each side is measured.
        batch: Sentences of a step.
        steps: Steps of a round.
        sentences: Size of the synthetic corpus.
        precision: fp32, bf16, fp16, or auto: the fastest that the hardware has.
        only: Of stage1, stage2, evaluate, heads, switcher.
        out: Folder of RESULTS.md, which must have the marks for this kind of machine, and results.json.
        compile: Run our stages with --compile (None: where products are 16 bits, for there it pays).
        embedding_rows: Run our stage one with --embedding_rows.
        against: Commit of the version before, 025c867 or a later one (None: none).
        tiny: A tiny encoder, to try the script; its figures say nothing.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = best_precision(device) if precision == "auto" else precision
    compile = precision != "fp32" if compile is None else compile
    with tempfile.TemporaryDirectory() as folder:
        sizes = TINY if tiny else Sizes()
        material = make_material(folder, sentences, sizes)
        bench = Bench(material, precision, batch, Ceiling(device, DTYPES[precision]))
        before = None
        if against:
            before = checked_out(against, Path(folder), "benchmarks", "ds_configs")
            other_material(before, Path(folder) / "material", sentences, sizes)
        for name in only:
            task = Task("ours", name, folder, sizes, material.seed, precision, batch, steps, compile, embedding_rows)
            measure(bench, task, rounds, before)
    write_report(bench, Path(out))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if sys.argv[1:2] == ["side"]:
        serve(sys.argv[2])
    else:
        flags.run(main, sys.argv[1:], "speed.py")
