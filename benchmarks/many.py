"""The speed of `--triples=many` against `--triples=one`: `python benchmarks/many.py [--rounds=3] [--batch=32]`.

The same sentences of one triple each, sharded both ways, an encoder of e5-small's sizes with random weights: stage one,
stage two from its second epoch on, and prediction. A third side, `grown`, is many with 300 relations and 200 languages
in place of the corpus' own. The sides take turns, each in a process of its own, and a ratio is of one round. Prints
sentences a second, and minimum, median and maximum of the ratios.
"""

import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.material import Material, Sizes, make_material
from benchmarks.ours import OurTraining
from benchmarks.sides import EVALUATION_BATCH, K
from benchmarks.speed import TINY
from mere_ds import flags
from mere_ds.columns import align
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.jsonl_writer import as_row
from mere_ds.files import json_line, write_whole
from mere_ds.model.mere import MereModel
from mere_ds.model.precision import DTYPES, best_precision
from mere_ds.shards.writing import shard_corpus

E5_SMALL = Sizes(vocabulary=0, hidden=384, heads=12, feed_forward=1536, bottleneck=512)
GROWN = (200, 300)
"""Languages and relations."""
LIKELY = 2
"""Relations of a sentence that a trained model finds likely, about."""
TASKS = ("stage1", "stage2", "predict")
Round = Callable[[], float]
"""Measures once: sentences a second."""


def make_sides(folder: Path, sentences: int, sizes: Sizes) -> dict[str, Material]:
    """The same corpus and encoder, with shards for one triple a sentence and for many, in the same order."""
    seed = make_material(folder, sentences, sizes).seed
    _with_dev(folder / "corpus", folder / "lines")
    manifests = {
        triples: shard_corpus(
            folder / "lines",
            folder / triples,
            encoder=str(folder / "encoder"),
            max_length=sizes.max_length,
            triples=triples,
        )
        for triples in ("one", "many")
    }
    sides = {triples: Material(folder / triples, manifest, sizes, seed) for triples, manifest in manifests.items()}
    return sides | {"grown": replace(sides["many"], grown=GROWN)}


def _with_dev(corpus: Path, out: Path) -> None:
    """The corpus as JSON lines, each tenth training sentence as dev: dev that is drawn depends on the triples."""
    files: dict[str, list[dict]] = defaultdict(list)
    read = open_corpus(corpus)
    for file in read.files:
        for number, example in enumerate(read.read(file)):
            split = "dev" if file.split == "train" and number % 10 == 0 else file.split
            files[f"{example.language}.{split}.jsonl"].append(as_row(example))
    for name, rows in files.items():
        write_whole(out / name, b"".join(map(json_line, rows)))


def serve(connection: Connection, material: Material, folder: Path, task: str, given: dict) -> None:
    """A side's process: measures a round whenever it is asked for one."""
    if task == "predict":
        return _answer(connection, prediction(material, given["precision"]))
    steps, batch = given["steps"], given["batch"]
    with OurTraining(material, folder, int(task[-1]), batch, given["precision"]) as ours:
        ours.steps(min(3, steps))

        def measure() -> float:
            started = time.perf_counter()
            ours.steps(steps)
            return steps * batch / (time.perf_counter() - started)

        _answer(connection, measure)


def _answer(connection: Connection, measure: Round) -> None:
    while connection.recv():
        connection.send(measure())


def prediction(material: Material, precision: str) -> Round:
    """A round of prediction on batches of sentences of like length, as `mere-ds evaluate` has them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batches = [batch.to(device) for batch in material.batches(4, EVALUATION_BATCH)]
    model = material.model(2).to(device, DTYPES[precision]).eval()
    inputs = [(b.token_ids_BM, b.mask_BM, b.languages_B) for b in batches]
    if material.manifest.triples == "many":
        _as_trained(model, inputs)

    @torch.no_grad()
    def measure() -> float:
        started = time.perf_counter()
        for given in inputs:
            model(*given, k=K)
        return len(inputs) * EVALUATION_BATCH / (time.perf_counter() - started)

    measure()
    return measure


@torch.no_grad()
def _as_trained(model: MereModel, inputs: list[tuple]) -> None:
    """Shifts the relations' logits, so that `LIKELY` of a sentence are likely: with random weights half of them are."""
    seen: list[torch.Tensor] = []
    hook = model.relation.register_forward_hook(lambda module, given, logits: seen.append(logits.flatten()))
    model(*inputs[0], k=K)
    hook.remove()
    likeliest = torch.quantile(torch.cat(seen).float(), 1 - LIKELY / model.relation.out_features)
    shift = torch.logit(torch.tensor(model.config.least_score)) - likeliest
    model.relation.register_forward_hook(lambda module, given, logits: logits + shift.to(logits))


def rounds_of(task: str, rounds: int, sides: dict[str, Material], folder: Path, given: dict) -> list[dict[str, float]]:
    """Sentences a second by side, for every round."""
    context, processes, connections = get_context("spawn"), [], {}
    for name, material in sides.items():
        connections[name], theirs = context.Pipe()
        arguments = (theirs, material, folder / f"run-{name}", task, given)
        processes.append(context.Process(target=serve, args=arguments, daemon=True))
        processes[-1].start()
        theirs.close()  # so that a side that fails ends the wait for its answer
    measured = [{name: _ask(connection) for name, connection in connections.items()} for _ in range(rounds)]
    for connection, process in zip(connections.values(), processes, strict=True):
        connection.send(False)
        process.join()
    return measured


def _ask(connection: Connection) -> float:
    try:
        connection.send(True)
        return connection.recv()
    except (EOFError, OSError):
        sys.exit("one side of the comparison has ended, see above")


def table(rates: dict[str, list[dict[str, float]]]) -> str:
    """One line per task: the median rate of `one`, and the ratios of the others to it or to many."""
    lines = []
    for task, rounds in rates.items():
        ratios = [[r["many"] / r["one"] for r in rounds], [r["grown"] / r["many"] for r in rounds]]
        shown = (f"{min(r):.2f} {statistics.median(r):.2f} {max(r):.2f}" for r in ratios)
        lines.append([task, f"{statistics.median(r['one'] for r in rounds):.1f}", *shown])
    return align([["", "one, sentences/s", "many / one", f"{GROWN[1]} relations, {GROWN[0]} languages / many"], *lines])


def main(
    *,
    rounds: int = 3,
    batch: int = 32,
    steps: int = 6,
    sentences: int = 1000,
    precision: str = "auto",
    only: tuple[str, ...] = TASKS,
    tiny: bool = False,
) -> None:
    """Measure and print the table.

    Examples:
        python benchmarks/many.py
        python benchmarks/many.py --only=stage1 --rounds=5

    Args:
        rounds: How often each side is measured.
        batch: Sentences of a step.
        steps: Steps of a round.
        sentences: Size of the synthetic corpus.
        precision: fp32, bf16, fp16, or auto: the fastest that the hardware has.
        only: Of stage1, stage2 and predict.
        tiny: A tiny encoder, to try the script; its figures say nothing.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = best_precision(device) if precision == "auto" else precision
    given = {"batch": batch, "steps": steps, "precision": precision}
    rates: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = make_sides(folder, sentences, TINY if tiny else E5_SMALL)
        for task in only:
            rates[task] = rounds_of(task, rounds, sides, folder, given)
    print(table(rates))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    flags.run(main, sys.argv[1:], "many.py")
