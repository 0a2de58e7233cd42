"""Measure reading, converting and sharding of corpora by format: `python benchmarks/formats.py [--sentences=1100000]`.

Writes a synthetic corpus in SMiLER's format, and the same sentences as our JSON lines, as a table of other column names
in JSON lines, and as Parquet. Each step runs in a process of its own, so that peak memory is the step's alone, on all
corpora one after the other, so that a ratio is of one run. Prints a table in Markdown; speeds are of CPU time, with one
thread.
"""

import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fire

from mere_ds.corpus.formats.options import SourceOptions

FIELDS = ("id=uid", "lang=tongue", "text=sentence", "relation=kind")
ENDS = ("head_start=subj.start", "head_end=subj.end", "tail_start=obj.start", "tail_end=obj.end")
OPTIONS = {"table": SourceOptions(map=FIELDS + ENDS, end="exclusive", offsets="char")}
Step = Callable[[Path, Path, SourceOptions], Any]
CORPORA = ("tsv", "json", "table", "parquet")


def prepare(folder: Path, sentences: int) -> None:
    """Write the corpora."""
    from mere_ds.converting import convert_corpus
    from mere_ds.corpus.synthetic.generator import synthesize

    synthesize(str(folder / "tsv"), sentences, seed=1, english="full")
    convert_corpus(folder / "tsv", folder / "json")
    convert_corpus(folder / "tsv", folder / "parquet", to="parquet")
    (folder / "table").mkdir()
    for path in (folder / "json").glob("*.*.jsonl"):
        split = path.stem.split(".")[1]
        with path.open(encoding="utf-8") as rows, (folder / "table" / f"{split}.jsonl").open("a") as table:
            table.writelines(json.dumps(other(json.loads(row)), ensure_ascii=False) + "\n" for row in rows)


def other(row: dict) -> dict:
    """A row with one triple, in the columns of `OPTIONS`."""
    [triple] = row["triples"]
    head, tail = (dict(zip(("start", "end"), triple[side], strict=True)) for side in ("head", "tail"))
    names = {"uid": row["id"], "tongue": row["lang"], "sentence": row["text"], "kind": triple["relation"]}
    return names | {"subj": head, "obj": tail}


def read() -> Step:
    from mere_ds.corpus.folder import open_corpus

    def all_sentences(source: Path, out: Path, options: SourceOptions) -> None:
        corpus = open_corpus(source, options=options)
        for file in corpus.files:
            for _ in corpus.read(file):
                pass

    return all_sentences


def convert() -> Step:
    from mere_ds.converting import convert_corpus

    return convert_corpus


def shard() -> Step:
    from mere_ds.shards.writing import shard_corpus

    return lambda source, out, options: shard_corpus(source, out, encoder="tiny", options=options)


STEPS = {"read": read, "convert": convert, "shard": shard}
"""What each imports is loaded before the time is taken."""


def one(step: str, name: str, folder: str) -> None:
    """Run one step on one corpus here and print its figures as JSON (what `main` starts for each)."""
    step_of = STEPS[step]()
    gc.set_threshold(10_000)  # as the program does
    gc.freeze()
    started = time.process_time()
    with tempfile.TemporaryDirectory(dir=folder) as out:
        step_of(Path(folder) / name, Path(out) / "out", OPTIONS.get(name, SourceOptions()))
    seconds = time.process_time() - started
    print(json.dumps({"seconds": seconds, "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def main(sentences: int = 1_100_000, folder: str | None = None) -> None:
    """Run all steps and print the table."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory(dir=folder) as work:
        prepare(Path(work), sentences)
        print(f"{sentences:,} sentences\n\n| step | corpus | sentences a second | of TSV's | peak MiB |")
        print("|---|---|---|---|---|")
        for step in STEPS:
            base = 0.0
            for name in CORPORA:
                output = subprocess.run(
                    [sys.executable, Path(__file__), "one", step, name, work],
                    check=True, capture_output=True, text=True, env=environment,
                ).stdout  # fmt: skip
                figures = json.loads(output.splitlines()[-1])
                speed = sentences / figures["seconds"]
                base = base or speed
                print(f"| {step} | {name} | {speed:,.0f} | {speed / base:.2f} | {figures['MiB']:,.0f} |", flush=True)


if __name__ == "__main__":
    fire.Fire({"one": one, "main": main} if sys.argv[1:2] == ["one"] else main)
