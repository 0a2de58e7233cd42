"""Measure how training scales: `python benchmarks/scaling.py --out=benchmarks/SCALING.md [--only=plan,zero]`.

Makes the tables of SCALING.md, which says what they mean: weak scaling, the batch plan, memory and traffic by ZeRO
stage beside their formulas, traffic on paper for V100 nodes, cost by each size. Each step is a process of its own on
one thread. P are parameters, N ranks, T LS's sub-modules, k those in use, s the sentences that LA sees together.
"""

import gc
import itertools
import json
import math
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from operator import truediv
from pathlib import Path
from unittest import mock

import torch
from transformers import BertConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.many_shards import LONGEST, simulate
from mere_ds import flags
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.encoders.sources import TinySize
from mere_ds.errors import UserError
from mere_ds.files import write_json
from mere_ds.model.configuration import MereConfig
from mere_ds.model.mere import MereModel
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.writing import shard_corpus
from mere_ds.training.cost import traffic, zero_bytes

DS_CONFIG = Path(__file__).parents[1] / "ds_configs" / "cpu.json"
MIB = 2**20
WAYS = ((0, False), (1, False), (1, True), (2, False), (2, True), (3, False))  # ZeRO stage, `reduce` of `traffic`
SENT = {"all_reduce": 1, "all_gather_into_tensor": 1, "reduce_scatter_tensor": 0.5, "reduce": 0.5}
"""What each of 2 ranks sends in a collective (the mean of both), as a share of the input."""
BATCH = 16  # sentences a rank and micro-step (paper, section 4.2)
ACCUMULATION = 2  # of the ZeRO runs: tells what each micro-step does from what an update does
V100_FLOPS = 0.3 * 125e12  # operations a second: 30 % of the fp16 peak, assumed
NODE_LINK = 100e9 / 8  # bytes a second between nodes
NVLINK = 130e9  # bytes a second of a ring inside a node, assumed
USUAL = 40  # tokens a sentence; assumed, as LONGEST is


def step_flops(tokens: int, trained: int, frozen: int = 0) -> float:
    """Operations of a micro-step: 6 a token and parameter that multiplies it, 2 where it is frozen (no backward)."""
    return (6 * trained + 2 * frozen) * tokens


def accumulation_for(share: float, traffic_seconds: float, compute_seconds: float) -> int:
    """Micro-steps an update that keep traffic, once an update and hidden by nothing, to `share` of the time."""
    return max(1, math.ceil(traffic_seconds * (1 - share) / share / compute_seconds))


def mere_model(stage: int, vocabulary: int, hidden: int = 768, layers: int = 12, languages: int = 14, **choices):
    """A new model in training mode, 36 labels, around a BERT of random weights; `choices` are MereConfig's."""
    encoder = {"vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers}
    encoder |= {"num_attention_heads": max(1, hidden // 64), "intermediate_size": 4 * hidden}
    choices |= {"languages": list(map(str, range(languages))), "labels": list(map(str, range(36))), "stage": stage}
    choices |= {"label_mask": [[1] * 36] * languages, "language_token_ids": list(range(languages))}
    return MereModel(MereConfig(encoder_config=BertConfig(**encoder).to_dict(), **choices)).train()


def mbert_sizes(stage: int) -> tuple[dict[str, int], dict[str, int]]:
    """Parameters of mERE around mBERT, and those that multiply every token; both as {"trained": , "frozen": }."""
    with torch.device("meta"):
        model = mere_model(stage, vocabulary=119547 + 14)
    everywhere = ("encoder.model.encoder.", "aggregator.qkv.", "switcher.groups.", "heads.token_half.")
    sizes, multiplied = {"trained": 0, "frozen": 0}, {"trained": 0, "frozen": 0}
    for name, parameter in model.named_parameters():
        kind = "trained" if parameter.requires_grad else "frozen"
        sizes[kind] += parameter.numel()
        multiplied[kind] += parameter.numel() if name.startswith(everywhere) else 0
    return sizes, multiplied


def random_batch(sentences: int, width: int, languages: int = 14) -> dict:
    """Keyword arguments of a training forward: random sentences, all of `width` tokens."""
    return {
        "token_ids_BM": torch.randint(languages, 1000, (sentences, width)),
        "mask_BM": torch.ones(sentences, width, dtype=torch.bool),
        "languages_B": torch.randint(languages, (sentences,)),
        "labels_T": torch.randint(36, (sentences,)),
        "positions_T4": torch.randint(2, width - 1, (sentences, 4)),
    }


def peak_bytes() -> int:
    """Most resident memory of this process so far."""
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def plan(ranks: int, shards: str, whole: bool, temperature: float = 1.0) -> dict:
    """One rank's start with a folder of `simulate`, 16 sentences a rank: seconds, steps, bytes; and a `whole` epoch."""
    before, started = peak_bytes(), time.perf_counter()
    index = Manifest.load(shards).index_of("train")
    figures: dict = {"load": time.perf_counter() - started}
    started = time.perf_counter()
    epoch = EpochPlan(index, BATCH * ranks, concatenate=2, temperature=temperature)
    epoch.of_rank(epoch.batches_of(0), ranks - 1, ranks, BATCH)
    figures |= {"steps": epoch.steps, "first": time.perf_counter() - started}
    started = time.perf_counter()
    epoch.batches_of(epoch.windows - 1)
    figures |= {"any": time.perf_counter() - started}
    if whole:
        started = time.perf_counter()
        for window in range(epoch.windows):
            epoch.batches_of(window)
        figures |= {"epoch": time.perf_counter() - started, "padding": epoch.padding_share(BATCH)}
    return figures | {"grown": peak_bytes() - before, "peak": peak_bytes()}


def live_bytes(parameters) -> int:
    """Bytes behind all tensors that Python can reach; what several tensors share counts once."""
    found = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    storages = [x.untyped_storage() for x in (*found, *(p.grad for p in parameters)) if x is not None]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def zero(zero_optimization: dict, hidden: int, layers: int, folder: str) -> dict:
    """One rank of the trainer's engine in fp32: P, and bytes of state, peak memory (of the start alone, and with
    updates) and traffic of an update."""
    from deepspeed.comm import comm

    from mere_ds.config import TrainConfig
    from mere_ds.ranks.stop import StopSignals
    from mere_ds.training.engine import Trainee
    from mere_ds.training.session import open_session

    # buckets of DeepSpeed's default size, 5e8 values, would be larger than the model
    zero_optimization["reduce_bucket_size"] = 4 * hidden**2
    ds = {"zero_optimization": zero_optimization, "comms_logger": {"enabled": True}}
    path = Path(folder, "deepspeed.json")
    write_json(path, json.loads(DS_CONFIG.read_text()) | ds)  # each rank the same
    knobs = {"shards": f"{folder}/shards", "run": f"{folder}/run", "deepspeed_config": str(path)}
    config = TrainConfig(**knobs, accumulation=ACCUMULATION, batch_size=4)
    with open_session(config, frozenset(), StopSignals()) as session:
        with mock.patch("mere_ds.training.engine.keep_freed_memory"):  # as if this was the first
            Trainee(mere_model(1, 100, 64, 1), 1e-4, session).engine.destroy()  # imports what engines need
        before, model = peak_bytes(), mere_model(1, 80 * hidden, hidden, layers)
        P, trainee, live = model.num_parameters(), Trainee(model, 1e-4, session), []
        start = peak_bytes() - before
        for _ in range(3):
            comm.comms_logger.comms_dict.clear()
            for _ in range(ACCUMULATION):
                trainee.engine.backward(trainee.engine(**random_batch(4, 16), concatenate=2).loss_B.mean())
                live.append(live_bytes(model.parameters()))
                trainee.step()
        logged = comm.comms_logger.comms_dict
        sent = sum(SENT[name] * size * log[0] for name, sizes in logged.items() for size, log in sizes.items())
        # of the last update's first micro-step, when ZeRO 1 has all gradients and 2 its part
        grown = peak_bytes() - before
        return {"P": P, "live": live[-ACCUMULATION], "start": start, "grown": grown, "sent": sent}


GROWTH = {  # what grows: its values, and what each changes in `growth_case`
    "tokens a sentence": {width: {"width": width} for width in (32, 64, 128, 256)},
    "sentences a batch": {sentences: {"sentences": sentences, "width": 32} for sentences in (8, 16, 32, 64, 128)},
    "T": {T: {"layers": [1] * T} for T in (1, 2, 3, 6, 12)},
    "layers of each sub-module": {layers: {"layers": [layers] * 6} for layers in (1, 2, 3, 4)},
    "languages": {languages: {"languages": languages} for languages in (14, 50, 100, 200)},
    "k": {k: {"k": k} for k in range(1, 7)},
}
WORKS = ("stage one", "stage two", "use", "LS in use")


def growth_case(hidden: int, sentences=16, width=64, layers=(1,) * 6, languages=14, k=3) -> dict[str, Callable]:
    """The pieces of work that are timed, on models of 2 encoder layers, `hidden` wide, and one random batch."""
    choices = {"submodule_layers": list(layers), "bottleneck": hidden, "top_k": min(k, len(layers))}
    one, two, used = (mere_model(stage, 1000, hidden, 2, languages, **choices) for stage in (1, 2, 2))
    batch, h_BMD = random_batch(sentences, width, languages), torch.randn(sentences, width, hidden)
    asked = {name: batch[name] for name in ("token_ids_BM", "mask_BM", "languages_B")}

    def train(model, s: int) -> None:
        model.zero_grad()
        model(**batch, concatenate=s).loss_B.mean().backward()

    use, switch = lambda: used.eval()(**asked), lambda: used.switcher(h_BMD, batch["languages_B"], used.config.top_k)
    works = lambda: train(one, s=2), lambda: train(two, s=1), torch.no_grad()(use), torch.no_grad()(switch)
    return dict(zip(WORKS, works, strict=True))


def growth(size: str, hidden: int, repeats: int) -> dict[str, dict[str, list[float]]]:
    """{value of `size`: {work: milliseconds}}; all is done once a round, so that a slow minute hits all alike."""
    rows = {str(value): growth_case(hidden, **changes) for value, changes in GROWTH[size].items()}
    times = {value: {name: [] for name in WORKS} for value in rows}
    for turn in range(1 + repeats):
        for value, name in itertools.product(rows, WORKS):
            started = time.perf_counter()
            rows[value][name]()
            if turn:  # the first calls allocate
                times[value][name].append(1000 * (time.perf_counter() - started))
    return times


def pinned(core: int, *argv: str) -> None:
    """`train.py` as DeepSpeed's launcher starts it, every rank on a core of its own, from number `core` on."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core + int(os.environ["LOCAL_RANK"])]})
    from mere_ds.train import main

    sys.argv = ["train.py", *argv]
    main()


def start(step: str, *arguments, launcher: tuple = (sys.executable,), **environment: str) -> subprocess.Popen:
    """Start a function of this file in a process of its own, on one thread and without a GPU."""
    environment |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [*map(str, launcher), __file__, "one", step, json.dumps(arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)


def finished(process: subprocess.Popen) -> str:
    """The last line that the started function printed: what it returned, as JSON."""
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{process.args[-2]}: exit code {process.returncode}")
    return output.splitlines()[-1]


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return str(s.getsockname()[1])


def table(header: str, rows) -> str:
    """In Markdown; `header` has | between the columns."""
    columns = header.split("|")
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (columns, ["---"] * len(columns), *rows))


def spread(values: list[float], digits: int = 0, base: list[float] = ()) -> str:
    """Median (least to most), and how many times `base` it is in the same round."""
    middle, least, most = (f"{f(values):,.{digits}f}" for f in (statistics.median, min, max))
    times = f", x {statistics.median(map(truediv, values, base)):.2f}" if base else ""
    return f"{middle} ({least} to {most}){times}"


def weak_tables(quick: bool) -> str:
    """One rank, two single ranks that know nothing of each other, and two ranks, in turn."""
    if len(os.sched_getaffinity(0)) < 2:
        raise UserError("weak scaling takes two cores: leave it out with --only=plan,zero,network,growth")
    sentences, hidden, layers, repeats = (400, 64, 2, 1) if quick else (1500, 256, 4, 3)
    with tempfile.TemporaryDirectory() as folder:
        synthesize(f"{folder}/corpus", sentences, seed=1)
        size = TinySize(hidden, layers, vocabulary=4000)  # so large that computing takes most of the time
        shard_corpus(f"{folder}/corpus", f"{folder}/shards", encoder="tiny", tiny=size)
        # of two ranks: without the epoch's last step, which fillers make whole, and two for each record
        steps = Manifest.load(f"{folder}/shards").index_of("train").sizes_H.sum() // (4 * BATCH) * 2

        def launch(ranks: int, core: int = 0) -> tuple[subprocess.Popen, Path]:
            run = Path(tempfile.mkdtemp(dir=folder), "run")
            flags = [f"--shards={folder}/shards", f"--run={run}", f"--deepspeed_config={DS_CONFIG}", "--stage=1"]
            flags += [f"--max_steps={2 * steps // ranks}", "--log_every=2", "--save_minutes=0"]
            flags += [f"--batch_size={BATCH}"]
            launcher = ("deepspeed", "--num_gpus", ranks, "--no_local_rank", "--master_port", free_port())
            return start("pinned", core, *flags, launcher=launcher), run

        def speed(process: subprocess.Popen, run: Path) -> float:
            finished(process)
            records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
            speeds = [record["sentences_per_second"] for record in records if record["kind"] == "train"]
            return statistics.harmonic_mean(speeds[1:])  # the first pays for first calls; all have as many sentences

        rounds = []
        for _ in range(repeats):
            alone, apart = speed(*launch(1)), sum(speed(*run) for run in [launch(1, core) for core in (0, 1)])
            rounds.append({"one rank": alone, "two single ranks": apart, "two ranks": speed(*launch(2))})
    rows = [
        (name, spread([r[name] for r in rounds], 1), spread([r[name] / r["one rank"] / n for r in rounds], 2))
        for name, n in zip(rounds[0], (1, 2, 2), strict=True)
    ]
    return table("|sentences a second|a rank, of one rank's", rows)


def plan_tables(quick: bool) -> str:
    """1.1 million sentences, with the whole epoch, and a thousand million."""
    rows = []
    sizes = ((1_100_000, 8192, (1, 32, 1024), (1,)), (10**9, 100_000, (1, 4096), (1, 3)))
    for sentences, a_shard, all_ranks, temperatures in ((20_000, 1000, (32,), (1,)),) if quick else sizes:
        whole = sentences < 10**8
        with tempfile.TemporaryDirectory() as folder:
            place = str(simulate(Path(folder), sentences, a_shard))
            for ranks, temperature in itertools.product(all_ranks, temperatures):
                p = json.loads(finished(start("plan", ranks, place, whole, temperature)))
                times = (f"{p[name]:.2f}" if name in p else "" for name in ("load", "first", "any", "epoch"))
                padding = f"{100 * p['padding']:.1f}" if whole else ""
                size = f"{sentences:,} in {-(-sentences // a_shard):,}"
                held = (p["grown"] // MIB, p["peak"] // MIB)
                rows.append((size, temperature, ranks, p["steps"], *times, *held, padding))
    header = "sentences in shards|temperature|ranks|steps|manifest, s|first step, s|last window, s|whole epoch, s"
    return table(f"{header}|memory of both, MiB|of the process|padding, %", rows)


def zero_tables(quick: bool) -> str:
    """ZeRO on 2 ranks, measured in fp32, and mERE around mBERT in fp16 by the formula."""
    rows = []
    for stage, reduce in WAYS:
        config = {"stage": stage} | ({"use_multi_rank_bucket_allreduce": False} if reduce else {})
        with tempfile.TemporaryDirectory() as folder:
            place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
            arguments = (config, *((64, 2) if quick else (384, 6)), folder)
            ranks = [start("zero", *arguments, RANK=str(r), LOCAL_RANK=str(r), **place) for r in range(2)]
            figures, _ = (json.loads(finished(rank)) for rank in ranks)
        P = figures["P"]
        plain, kept = (sum(zero_bytes(stage, 2, P, weight=4, optimizer=o)) for o in (8, 12 if stage else 8))
        sent = traffic(stage, 2, P, ACCUMULATION, weight=4, reduce=reduce)
        values = (plain, kept, figures["live"], figures["start"], figures["grown"], sent, figures["sent"])
        rows.append((f"{stage}{', reduce' * reduce}", *(f"{value / P:.2f}" for value in values)))
    header = "ZeRO|state, formula|with DeepSpeed's masters|measured|start|peak growth|traffic, formula|measured"
    counts, paper = (1, 4, 8, 32, 1024), []
    for training, stage in itertools.product((1, 2), range(4)):
        sizes, _ = mbert_sizes(training)
        paper.append((training, stage, *(f"{sum(zero_bytes(stage, n, **sizes)) / MIB:,.0f}" for n in counts)))
    mbert = table("stage of training|ZeRO|" + "|".join(f"N = {n:,}" for n in counts), paper)
    return f"P = {P:,}; bytes a parameter on rank 0 of 2.\n\n{table(header, rows)}\n\nMiB a rank:\n\n{mbert}"


def network_tables(quick: bool) -> str:
    """On paper; nothing to make quick."""
    rows, shares = [], []
    for training in (1, 2):
        sizes, multiplied = mbert_sizes(training)
        compute = [step_flops(BATCH * tokens, **multiplied) / V100_FLOPS for tokens in (USUAL, LONGEST)]
        for nodes, gpus in ((1, 4), (1, 8), (2, 4), (2, 8), (8, 4), (128, 8)):
            sent = traffic(1, nodes * gpus, sizes["trained"])
            seconds = sent / (NVLINK if nodes == 1 else NODE_LINK)
            needed = (accumulation_for(share, seconds, c) for share in (0.5, 0.1) for c in compute)
            times = (f"{figure:.1f}" for figure in (sent / 1e6, 1000 * seconds, *(1000 * c for c in compute)))
            rows.append((training, f"{nodes} x {gpus}", *times, *needed))
        for stage, reduce in WAYS:
            sent = {a: traffic(stage, 8, sizes["trained"], a, reduce=reduce) / NODE_LINK for a in (1, 4, 16)}
            parts = (f"{100 * seconds / (seconds + a * compute[0]):.0f}" for a, seconds in sent.items())
            shares.append((training, f"{stage}{', reduce' * reduce}", *parts))
    header = "stage of training|nodes x GPUs|MB sent|traffic, ms|compute, ms, at 40 tokens|at 256"
    header += "|accumulation for a half at 40|at 256|for a tenth at 40|at 256"
    share = "Traffic's share of the time in %, 2 x 4 GPUs, 40 tokens:"
    return f"{table(header, rows)}\n\n{share}\n\n{table('stage of training|ZeRO|accumulation 1|4|16', shares)}"


def growth_tables(quick: bool) -> str:
    tables = []
    for size in GROWTH:
        rows = json.loads(finished(start("growth", size, *((32, 2) if quick else (256, 5)))))
        first = next(iter(rows.values()))
        cells = [[value, *(spread(works[name], base=first[name]) for name in WORKS)] for value, works in rows.items()]
        tables.append(table(f"{size}|{'|'.join(WORKS)}", cells))
    return "\n\n".join(tables)


PARTS = dict(weak=weak_tables, plan=plan_tables, zero=zero_tables, network=network_tables, growth=growth_tables)


def origin(quick: bool) -> str:
    """Where and when the figures below are from."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    packages = (f"{name} {version(name)}" for name in ("torch", "deepspeed", "transformers", "numpy"))
    machine = f"{os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}, load {os.getloadavg()[0]:.1f} before"
    warning = " **A quick run of tiny sizes: its figures mean nothing.**" if quick else ""
    return f"{date.today()}; {machine}; Python {platform.python_version()}, {', '.join(packages)}.{warning}"


def main(*, out: str | None = None, only: tuple[str, ...] = tuple(PARTS), quick: bool = False) -> None:
    """Print the tables, and put them between their marks in `out`, whose other parts stay as they are.

    Args:
        out: Markdown file with lines <!-- PART --> and <!-- end --> around each part's tables.
        only: The parts to do: weak, plan, zero, network, growth.
        quick: Tiny sizes, to see that all of it runs.
    """
    if unknown := set(only) - set(PARTS):
        raise UserError(f"--only={','.join(sorted(unknown))}: parts are {', '.join(PARTS)}")
    text = Path(out).read_text(encoding="utf-8") if out else ""
    for part in only:
        before, mark, rest = text.partition(f"<!-- {part} -->")
        _, end, after = rest.partition("<!-- end -->")
        if out and not end:
            raise UserError(f"{out} has no lines <!-- {part} --> and <!-- end -->: put them where its tables go")
        tables = f"{origin(quick)}\n\n{PARTS[part](quick)}"
        print(f"## {part}\n\n{tables}\n", flush=True)
        if out:
            text = f"{before}{mark}\n\n{tables}\n\n{end}{after}"
            Path(out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(globals()[sys.argv[2]](*json.loads(sys.argv[3]))))
    else:
        flags.run(main, sys.argv[1:], "scaling.py")
