"""What each thing that we do for CPUs brings to a step of stage one: `python benchmarks/cpu_step.py [--batch=16]`.

mBERT's size and bf16 products, so on a CPU that has them. The ways of stepping take turns, a process each, and each has
one thing more than the one before. Prints a table.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import Material, Sizes, make_material
from benchmarks.ours import OurTraining
from mere_ds import flags
from mere_ds.shards.manifest import Manifest
from mere_ds.training import cpu, session

BF16_WEIGHTS = {
    "optimizer": {"type": "AdamW", "params": {"torch_adam": True, "fused": True}},
    "gradient_clipping": 1.0,
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 1},
}


def nothing() -> None:
    pass


WAYS: dict[str, tuple[Callable, dict]] = {
    "DeepSpeed's bf16, ZeRO 1": (nothing, {"deepspeed_config": BF16_WEIGHTS}),
    "fp32 weights, bf16 products by autocast": (nothing, {}),
    "and freed memory kept": (cpu.keep_freed_memory, {}),
    "and cheaper dropout masks": (cpu.prepare_cpu, {}),
    "and --compile": (cpu.prepare_cpu, {"compile": True}),
}


def measure(folder: Path, way: str, batch: int, steps: int) -> None:
    """Prints the seconds of a step."""
    shards = folder / "shards"
    material = Material(shards, Manifest.load(shards), Sizes(), seed=1)
    session.prepare_cpu, knobs = WAYS[way]
    if "deepspeed_config" in knobs:
        path = folder / "deepspeed.json"
        path.write_text(json.dumps(knobs["deepspeed_config"]))
        knobs = {"deepspeed_config": str(path)}
    with tempfile.TemporaryDirectory() as run, OurTraining(material, Path(run), 1, batch, "bf16", **knobs) as ours:
        ours.steps(steps)
        started = time.perf_counter()
        ours.steps(steps)
        print((time.perf_counter() - started) / steps)


def main(*, batch: int = 16, steps: int = 6, rounds: int = 2) -> None:
    """Print the table.

    Args:
        batch: Sentences of a step.
        steps: Steps of a round, after as many to warm up.
        rounds: How often each way is measured.
    """
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        make_material(folder, 1000)
        for _ in range(rounds):
            for way in WAYS:
                command = [sys.executable, __file__, "measure", folder, way, str(batch), str(steps)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                seconds[way].append(float(done.stdout.split()[-1]))
                print(f"{way}: {seconds[way][-1]:.2f} s", file=sys.stderr, flush=True)
    print("| a step of stage one | s, minimum / median / maximum | of the first's |\n|---|---|---|")
    first = statistics.median(seconds[next(iter(WAYS))])
    for way, s in seconds.items():
        middle = statistics.median(s)
        print(f"| {way} | {min(s):.2f} / {middle:.2f} / {max(s):.2f} | {100 * middle / first:.0f} % |")


if __name__ == "__main__":
    os.environ |= {"DS_ACCELERATOR": "cpu", "TOKENIZERS_PARALLELISM": "false"}
    if sys.argv[1:2] == ["measure"]:
        measure(Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
    else:
        flags.run(main, sys.argv[1:], "cpu_step.py")
