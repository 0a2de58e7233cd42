"""Measure the way from text to batches: `python benchmarks/data.py [--sentences=1100000] [--folder=DIR]`.

Writes a synthetic corpus, shards it with `tiny`, plans epochs and reads them, each step in a process of its own so that
peak memory is the step's alone. Prints a table in Markdown.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fire


def synthesize(folder: str, sentences: int) -> dict:
    from mere_ds.corpus.synthetic.generator import synthesize

    seconds, _ = timed(lambda: synthesize(f"{folder}/corpus", sentences, seed=1, english="full"))
    return {"sentences a second": sentences / seconds, "seconds": seconds}


def shard(folder: str, sentences: int) -> dict:
    from mere_ds.shards.writing import shard_corpus

    seconds, _ = timed(lambda: shard_corpus(f"{folder}/corpus", f"{folder}/shards", encoder="tiny"))
    return {"sentences a second": sentences / seconds, "seconds": seconds}


def plan(folder: str, sentences: int) -> dict:
    from mere_ds.shards.manifest import Manifest
    from mere_ds.shards.plan import EpochPlan

    manifest = Manifest.load(f"{folder}/shards")

    def all_windows() -> EpochPlan:
        epoch = EpochPlan(manifest.index_of("train"), global_batch=128, concatenate=2)
        for window in range(epoch.windows):
            epoch.batches_of(window)
        return epoch

    seconds, epoch = timed(all_windows)
    return {"seconds": seconds, "padding share, 16 x 8 ranks, %": 100 * epoch.padding_share(16)}


def read(folder: str, sentences: int) -> dict:
    from mere_ds.shards.manifest import Manifest
    from mere_ds.shards.plan import EpochPlan
    from mere_ds.shards.reading import ShardReader

    manifest = Manifest.load(f"{folder}/shards")
    epoch = EpochPlan(manifest.index_of("train"), 64, concatenate=2)

    def all_batches() -> int:
        with ShardReader(manifest, "train", epoch, micro=64) as reader:
            return sum(int((batch.rows_B >= 0).sum()) for batch in reader)

    seconds, rows = timed(all_batches)
    return {"sentences a second": rows / seconds, "seconds": seconds}


STEPS = (synthesize, shard, plan, read)


def timed(work) -> tuple[float, object]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def one(step: str, folder: str, sentences: int) -> None:
    """Run one step here and print its figures as JSON (what `main` starts for each)."""
    figures = globals()[step](folder, sentences)
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps(figures | {"peak resident MiB": peak / 1024}))


def main(sentences: int = 1_100_000, folder: str | None = None) -> None:
    """Run all steps and print the table."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        print(f"{sentences:,} sentences, {os.cpu_count()} cores\n\n| step | figures |\n|---|---|")
        for step in STEPS:
            output = subprocess.run(
                [sys.executable, Path(__file__), "one", step.__name__, work, str(sentences)],
                check=True, stdout=subprocess.PIPE, text=True,
            ).stdout  # fmt: skip
            figures = json.loads(output.splitlines()[-1])
            print(f"| {step.__name__} | {', '.join(f'{k} {v:,.1f}' for k, v in figures.items())} |", flush=True)


if __name__ == "__main__":
    fire.Fire({"one": one, "main": main} if sys.argv[1:2] == ["one"] else main)
