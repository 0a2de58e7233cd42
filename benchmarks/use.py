"""Measure the use of a model: `python benchmarks/use.py [--against=GIT_REF] [--rival=PYTHON] [--only=PARTS]`.

Sentences a second, many at once and one at a time; the share of the machine's product rate; what starting costs; lines
a second by processes. Sides: `before` (another commit), `fp32` and `auto` (torch, now), `onnx` and `int8`
(onnxruntime) and `gliner` (the relation model of gliner 0.2.29 around the same encoder). Models have mBERT's and
e5-small's sizes and random weights. The sides take turns, each in a process of its own, and a ratio is of one round.
Prints a table and writes it to RESULTS.md and, as `use/...`, to results.json.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.checkouts import ROOT, checked_out
from benchmarks.machine import Ceiling
from benchmarks.use_models import BATCH, SIZES, Models, make_models
from benchmarks.use_report import RATES, write_use
from benchmarks.use_side import LANGUAGE
from mere_ds import flags
from mere_ds.errors import UserError
from mere_ds.model.precision import DTYPES, best_precision

PARTS = ("rates", "start", "lines")
COMMAND = "import sys; sys.argv[0] = 'mere-ds'; from mere_ds.cli import main; main()"
LAUNCH = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
seconds, cpu = time.perf_counter() - started, used.ru_utime + used.ru_stime
print(json.dumps([seconds, cpu, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)]))
"""
"""Between us and a command, since a process' most memory begins with that of its parent."""
TEXT = "Anna Berg wurde in Köln geboren."


@dataclass
class Measured:
    """Figures by (size of the model, what was measured, side), one a round."""

    machine: str
    precision: str
    figures: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    products: dict[str, list[float]] = field(default_factory=dict)
    """By precision, FLOP a second of a product of large matrices, one a round."""

    def add(self, size: str, what: str, side: str, value: float) -> None:
        self.figures.setdefault((size, what, side), []).append(value)
        sys.stderr.write(f"{size} {what} {side}: {value:,.2f}\n")


@dataclass(frozen=True)
class Side:
    """Who uses a model."""

    name: str
    folder: Path
    checkout: Path = ROOT
    given: dict = field(default_factory=dict)
    """Further arguments of `Extractor.load`."""


class Running:
    """A side's process, which waits until it is asked for a round."""

    def __init__(self, python: str, script: str, told: dict, checkout: Path) -> None:
        command = [python, str(ROOT / "benchmarks" / script), json.dumps(told)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=_environment(checkout), **pipes)

    def ask(self, what: str) -> dict:
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"one side of the comparison has ended with {self._process.wait()}, see above")
        return json.loads(line)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def sides_of(models: Models, before: Path | None) -> list[Side]:
    """Ours, in the order of the tables."""
    sides = [Side("before", models.checkpoint, before)] if before else []
    sides += [Side("fp32", models.checkpoint, given={"precision": "fp32"}), Side("auto", models.checkpoint)]
    names = {"fp32": "onnx", "int8": "int8"}
    return sides + [Side(names[precision], folder) for precision, folder in models.graphs.items()]


def measure_rates(
    got: Measured, size: str, models: Models, before: Path | None, rival: str | None, rounds: int, one: int
) -> None:
    """Sentences a second, and the share of the product's rate."""
    told = {"texts": str(models.texts), "one": one, "arrays": str(models.arrays)}
    ceilings = {precision: Ceiling(torch.device("cpu"), DTYPES[precision]) for precision in {"fp32", got.precision}}
    with ExitStack() as stack:
        running = {
            side.name: stack.enter_context(
                Running(
                    sys.executable,
                    "use_side.py",
                    told | {"folder": str(side.folder), "given": side.given},
                    side.checkout,
                )
            )
            for side in sides_of(models, before)
        }
        if rival:
            encoder = {
                "folder": str(models.encoder), "labels": list(models.material.manifest.labels),
            }  # fmt: skip
            running["gliner"] = stack.enter_context(Running(rival, "rivals/gliner_use.py", told | encoder, ROOT))
        for _ in range(rounds):
            for precision, ceiling in ceilings.items():
                got.products.setdefault(precision, []).append(ceiling.measure_gemm())
            for what in RATES:
                for name, process in running.items():
                    if what == "products" and name in ("before", "gliner"):
                        continue
                    answer = process.ask(what)
                    got.add(size, what, name, answer["rate"])
                    if what == "products":
                        best = got.products["fp32" if name in ("fp32", "onnx") else got.precision][-1]
                        sentences = BATCH * _batches(models)
                        got.add(size, "share", name, models.flops / sentences * answer["rate"] / best)
                    if what == "batch":
                        got.add(size, "resident MiB", name, answer["peak"])


def _batches(models: Models) -> int:
    import numpy as np

    with np.load(models.arrays) as file:
        return len(file.files) // 3


def measure_start(got: Measured, size: str, models: Models, before: Path | None, rounds: int) -> None:
    """`mere-ds extract` of one text: seconds, CPU seconds and most memory."""
    sides = [side for side in sides_of(models, before) if side.name != "fp32"]
    for number in range(rounds + 1):
        for side in sides:
            seconds, cpu, peak = timed_command(side.checkout, ["extract", str(side.folder), f"--lang={LANGUAGE}", TEXT])
            if number:  # after the first, the bytecode is there
                got.add(size, "start s", side.name, seconds)
                got.add(size, "start CPU s", side.name, cpu)
                got.add(size, "start MiB", side.name, peak)


def measure_lines(got: Measured, size: str, models: Models, folder: Path, lines: int, rounds: int) -> None:
    """`extract --file --out` on one core, and with a process on each core. The rate is of the lines after the first
    quarter, for what starting costs is measured by itself."""
    texts = json.loads(models.texts.read_text(encoding="utf-8"))
    cores = sorted(os.sched_getaffinity(0))
    source = folder / "lines.txt"
    for _ in range(rounds):
        rates = []
        for own in (cores[:1], cores):
            seconds, peaks = {}, {}
            for count in (lines // 4, lines):
                source.write_text("".join(f"{texts[i % len(texts)]}\n" for i in range(count)), encoding="utf-8")
                command = ["extract", str(models.checkpoint), f"--lang={LANGUAGE}", f"--file={source}"]
                command += [f"--out={folder / 'lines.jsonl'}", f"--processes={len(own)}", "--overwrite"]
                with on_cores(own):
                    seconds[count], _, peaks[count] = timed_command(ROOT, command)
                got.add(size, f"{count:,} lines, {len(own)} cores: MiB", "auto", peaks[count])
            rates.append((lines - lines // 4) / (seconds[lines] - seconds[lines // 4]))
            got.add(size, f"lines/s, {len(own)} cores", "auto", rates[-1])
        got.add(size, "lines/s by cores", "auto", rates[-1] / rates[0] / len(cores))


@contextmanager
def on_cores(own: list[int]) -> Iterator[None]:
    """What starts within has these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, own)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def timed_command(checkout: Path, arguments: list[str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds, and MiB of the largest process, of a mere-ds command of a checkout."""
    command = [sys.executable, "-S", "-c", LAUNCH, sys.executable, "-c", COMMAND, *arguments]
    told = subprocess.run(command, env=_environment(checkout), cwd=checkout, stdout=subprocess.PIPE, check=True)
    seconds, cpu, peak, code = json.loads(told.stdout)
    if code:
        sys.exit(f"mere-ds {' '.join(arguments)} ended with {code}, see above")
    return seconds, cpu, peak


def _environment(checkout: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return own | {"PYTHONPATH": str(checkout)}


def main(
    *,
    against: str | None = None,
    rival: str | None = None,
    sizes: tuple[str, ...] = ("mBERT", "e5-small"),
    only: tuple[str, ...] = PARTS,
    rounds: int = 3,
    sentences: int = 64,
    one: int = 8,
    lines: int = 16_384,
    out: str = str(Path(__file__).parent),
    quick: bool = False,
) -> None:
    """Run the measurements and write RESULTS.md and results.json.

    Examples:
        python benchmarks/use.py --against=HEAD~20 --rival=gliner_venv/bin/python
        python benchmarks/use.py --only=start --sizes=e5-small

    Args:
        against: Commit of the version before (None: none).
        rival: Python of an environment with gliner 0.2.29 (None: without it).
        sizes: Of mBERT, e5-small, tiny.
        only: Of rates, start, lines.
        rounds: How often each side is measured.
        sentences: Of a round, many at once.
        one: Of a round, one at a time.
        lines: Of the file with a text a line; measured for the last of the sizes. Processes take 1,024 at a time.
        out: Folder of RESULTS.md, which must have the marks, and results.json.
        quick: A tiny model and few of everything, to try the script; its figures say nothing.
    """
    if quick:
        sizes, rounds, sentences, one, lines = ("tiny",), 1, 16, 2, 16
    unknown = sorted(({*only} - {*PARTS}) | ({*sizes} - SIZES.keys()))
    if unknown:
        raise UserError(f"unknown: {', '.join(unknown)}: --only takes {', '.join(PARTS)}; --sizes {', '.join(SIZES)}")
    device = torch.device("cpu")
    got = Measured(str(Ceiling(device, torch.float32)), best_precision(device))
    with tempfile.TemporaryDirectory() as folder:
        before = checked_out(against, Path(folder)) if against else None
        for size in sizes:
            place = Path(folder) / size
            models = make_models(place, size, sentences, 1 if quick else 2)
            if "start" in only:
                measure_start(got, size, models, before, rounds)
            if "rates" in only:
                measure_rates(got, size, models, before, rival, rounds, one)
            if "lines" in only and size == sizes[-1]:
                measure_lines(got, size, models, place, lines, rounds)
    write_use(got, Path(out))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    flags.run(main, sys.argv[1:], "use.py")
