"""What each thing that we do for CPUs brings to a step of stage one: `python benchmarks/cpu_step.py [--batch=16]`.

mBERT's size, and bf16 products where the CPU has them. The ways of stepping take turns, a process each, and each has
one thing more than the one before. Prints a table.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import Material, Sizes, make_material
from benchmarks.ours import OurTraining
from mere_ds import flags
from mere_ds.model.precision import best_precision
from mere_ds.shards.manifest import Manifest
from mere_ds.training import cpu, engine, session

BF16_WEIGHTS = {
    "optimizer": {"type": "AdamW", "params": {"torch_adam": True, "fused": True}},
    "gradient_clipping": 1.0,
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 1},
}


def nothing() -> None:
    pass


WAYS: dict[str, tuple[Callable, Callable, dict]] = {
    "DeepSpeed's bf16, ZeRO 1": (nothing, nothing, {"deepspeed_config": BF16_WEIGHTS}),
    "fp32 weights": (nothing, nothing, {}),
    "and freed memory kept": (nothing, cpu.keep_freed_memory, {}),
    "and cheaper dropout masks and softmax": (cpu.prepare_cpu, cpu.keep_freed_memory, {}),
    "and --compile": (cpu.prepare_cpu, cpu.keep_freed_memory, {"compile": True}),
}
"""What prepares the process, what is done once the engine is made, and knobs. The first one computes in bf16 alone."""


def measure(folder: Path, way: str, precision: str, batch: int, steps: int) -> None:
    """Prints the seconds of a step and its page faults."""
    shards = folder / "shards"
    material = Material(shards, Manifest.load(shards), Sizes(), seed=1)
    session.prepare_cpu, engine.keep_freed_memory, knobs = WAYS[way]
    if "deepspeed_config" in knobs:
        path = folder / "deepspeed.json"
        path.write_text(json.dumps(knobs["deepspeed_config"]))
        knobs = {"deepspeed_config": str(path)}
    with tempfile.TemporaryDirectory() as run, OurTraining(material, Path(run), 1, batch, precision, **knobs) as ours:
        ours.steps(steps)
        faults, started = _page_faults(), time.perf_counter()
        ours.steps(steps)
        print((time.perf_counter() - started) / steps, (_page_faults() - faults) // steps)


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main(*, batch: int = 16, steps: int = 6, rounds: int = 2) -> None:
    """Print the table.

    Args:
        batch: Sentences of a step.
        steps: Steps of a round, after as many to warm up.
        rounds: How often each way is measured.
    """
    precision = best_precision(torch.device("cpu"))
    ways = list(WAYS) if precision == "bf16" else list(WAYS)[1:]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    faults = {}
    with tempfile.TemporaryDirectory() as folder:
        make_material(folder, 1000)
        for _ in range(rounds):
            for way in ways:
                command = [sys.executable, __file__, "measure", folder, way, precision, str(batch), str(steps)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                *_, second, faults[way] = done.stdout.split()
                seconds[way].append(float(second))
                print(f"{way}: {seconds[way][-1]:.2f} s", file=sys.stderr, flush=True)
    title = f"a step of stage one, {precision} products"
    print(f"| {title} | s, minimum / median / maximum | of the first's | page faults |\n|---|---|---|---|")
    first = statistics.median(seconds[ways[0]])
    for way, s in seconds.items():
        middle = statistics.median(s)
        times = f"{min(s):.2f} / {middle:.2f} / {max(s):.2f}"
        print(f"| {way} | {times} | {100 * middle / first:.0f} % | {faults[way]} |")


if __name__ == "__main__":
    os.environ |= {"DS_ACCELERATOR": "cpu", "TOKENIZERS_PARALLELISM": "false"}
    if sys.argv[1:2] == ["measure"]:
        measure(Path(sys.argv[2]), *sys.argv[3:5], *map(int, sys.argv[5:]))
    else:
        flags.run(main, sys.argv[1:], "cpu_step.py")
