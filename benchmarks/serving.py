"""`mere-ds serve` under load, against the library on the same texts: python benchmarks/serving.py RUN CORPUS [flags]

In a round they take turns. The library reads all texts in this process. The server is a process of its own on
127.0.0.1; connections are opened, then all send one text each at once, and again until all texts are answered; and a
few connections send many texts a request. Every answer is compared with the library's. Prints a table for RESULTS.md.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import urlsplit

import psutil

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.rows import Tally
from mere_ds.inference import Extractor
from mere_ds.runs.trained import model_folder
from mere_ds.versions import cpu_model

HEAD = b"POST /extract HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
SCORE = 1e-4
"""How far scores may differ, which are computed in other batches."""


@dataclass
class Load:
    """What one way to ask gave, by round."""

    rates: list[float] = field(default_factory=list)
    """Texts a second."""
    computing: list[float] = field(default_factory=list)
    """Seconds of a processor, of the process that computes; what else the machine does matters less to these."""
    latencies: list[float] = field(default_factory=list)
    """Seconds, of all requests of all rounds."""


def texts_of(corpus: str, number: int) -> list[tuple[str, str]]:
    """(text, language) of a corpus' first rows, of all files in turn; over again if there are too few."""
    its = open_corpus(corpus)
    rows = [[(e.text, e.language) for e in its.read(f, on_reject=lambda _: None, tally=Tally(f))] for f in its.files]
    mixed = [row for turn in zip(*rows, strict=False) for row in turn]
    return [mixed[n % len(mixed)] for n in range(number)]


@contextlib.contextmanager
def server(run: str, threads: int, precision: str) -> Iterator[tuple[int, psutil.Process]]:
    """A server's port, and its process."""
    code = "from mere_ds.cli import main; main()"
    flags = ["--port=0", f"--threads={threads}", f"--precision={precision}"]
    with subprocess.Popen([sys.executable, "-c", code, "serve", run, *flags], stderr=subprocess.PIPE, text=True) as its:
        assert its.stderr
        line = its.stderr.readline()
        yield urlsplit(line.split()[0]).port or 0, psutil.Process(its.pid)
        its.terminate()
        assert its.wait(60) == 0, its.stderr.read()


async def asked(port: int, bodies: Sequence[bytes], connections: int) -> tuple[float, list[float], list[dict]]:
    """(seconds, seconds of each request, answers) with so many connections at a time, each open before the first
    request."""
    streams = [await asyncio.open_connection("127.0.0.1", port, limit=1 << 24) for _ in range(connections)]
    waiting = iter(enumerate(bodies))
    latencies, answers = [0.0] * len(bodies), [{}] * len(bodies)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, body in waiting:
            sent = time.perf_counter()
            writer.write(HEAD % len(body) + body)
            status, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            length = next(int(h.split(":")[1]) for h in headers if h.lower().startswith("content-length"))
            content = await reader.readexactly(length)
            latencies[number] = time.perf_counter() - sent
            assert " 200 " in status, (status, content)
            answers[number] = json.loads(content)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(work(*stream) for stream in streams))
    return time.perf_counter() - started, latencies, answers


def differences(answers: Sequence[dict], expected: Sequence[dict]) -> int:
    """How many answers have other triples or notes, or other scores beyond what the order of sums makes."""

    def alike(one: dict, other: dict) -> bool:
        pairs = list(zip(one["triples"], other["triples"], strict=False))
        same = all(a | {"score": 0} == b | {"score": 0} and abs(a["score"] - b["score"]) < SCORE for a, b in pairs)
        counts = len(one["triples"]) == len(other["triples"])
        return same and counts and all(one.get(name) == other.get(name) for name in ("text", "lang", "note"))

    return sum(not alike(one, other) for one, other in zip(answers, expected, strict=True))


def measure(given: argparse.Namespace) -> str:
    rows = texts_of(given.corpus, given.texts)
    texts, languages = zip(*rows, strict=True)
    extractor = Extractor.load(model_folder(given.run), threads=given.threads, precision=given.precision)
    singles = [json.dumps({"text": text, "lang": language}).encode() for text, language in rows]
    pairs = iter(rows)
    chunks = [[{"text": t, "lang": lang} for t, lang in c] for c in iter(lambda: list(islice(pairs, 64)), [])]
    many = [json.dumps({"texts": chunk}).encode() for chunk in chunks]
    library, one, lots = Load(), Load(), Load()
    memory, wrong = [], 0
    with server(given.run, given.threads, given.precision) as (port, process):
        for round in range(given.rounds + 1):  # the first one warms up
            started, computed = time.perf_counter(), [time.process_time()]
            expected = list(extractor.extract(texts, languages))
            seconds = time.perf_counter() - started
            computed += [time.process_time(), used(process)]
            taken, latencies, answers = asyncio.run(asked(port, singles, given.connections))
            computed += [used(process)]
            taken_many, latencies_many, answers_many = asyncio.run(asked(port, many, 4))
            computed += [used(process)]
            wrong += differences(answers, expected)
            wrong += differences([a for answer in answers_many for a in answer["answers"]], expected)
            memory.append(process.memory_info().rss / 2**20)
            if round:
                begun = {0: library, 2: one, 3: lots}
                for number, its in ((0, seconds), (2, taken), (3, taken_many)):
                    begun[number].rates.append(len(rows) / its)
                    begun[number].computing.append(computed[number + 1] - computed[number])
                one.latencies += latencies
                lots.latencies += latencies_many
            print(f"round {round}: {library.rates[-1:]} {one.rates[-1:]} {lots.rates[-1:]}, {wrong} wrong", flush=True)
    return table(given, library, one, lots, memory, wrong)


def used(process: psutil.Process) -> float:
    """Seconds of a processor that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


def table(given: argparse.Namespace, library: Load, one: Load, lots: Load, memory: list[float], wrong: int) -> str:
    def spread(values: Sequence[float], digits: int) -> str:
        ordered = sorted(values)
        return " / ".join(f"{v:.{digits}f}" for v in (ordered[0], statistics.median(ordered), ordered[-1]))

    lines = [
        f"{cpu_model()}, {given.threads} thread(s), {given.precision}; {given.texts} texts, {given.rounds} rounds.",
        f"Answers unlike the library's: {wrong}. Resident memory of the server in MiB, after each round: "
        + ", ".join(f"{m:.0f}" for m in memory),
        "",
        "| | texts a second | of the library's | by processor time | seconds of a request: median, p95, most |",
        "|---|---|---|---|---|",
        f"| library | {spread(library.rates, 0)} | | | |",
    ]
    for name, load in (
        (f"one text a request, {given.connections} at once", one),
        ("64 texts a request, 4 at once", lots),
    ):
        shares = [its / own for its, own in zip(load.rates, library.rates, strict=True)]
        by_processor = [own / its for its, own in zip(load.computing, library.computing, strict=True)]
        cuts = statistics.quantiles(load.latencies, n=100)
        times = f"{statistics.median(load.latencies):.2f}, {cuts[94]:.2f}, {max(load.latencies):.2f}"
        lines.append(
            f"| {name} | {spread(load.rates, 0)} | {spread(shares, 2)} | {spread(by_processor, 2)} | {times} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("corpus")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    print(measure(parser.parse_args()))
