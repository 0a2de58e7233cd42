"""Writes a synthetic corpus with SMiLER's languages, proportions, labels, file names and quirks, but own sentences."""

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import BinaryIO

from tqdm import tqdm

from mere_ds.corpus.languages import SMILER_LANGUAGES, parse_languages
from mere_ds.corpus.reading import COLUMNS, ENGLISH_SIZES
from mere_ds.corpus.smiler import LABEL_COUNTS
from mere_ds.corpus.synthetic.grammar import load_language
from mere_ds.corpus.synthetic.quirks import Quirks, Row
from mere_ds.corpus.synthetic.sentences import Sentence, Writer
from mere_ds.corpus.synthetic.shares import (
    FEWEST_TRAIN_OF_LABEL,
    LABELS,
    label_sizes,
    split_sizes,
)
from mere_ds.errors import UserError
from mere_ds.files import writing

CHUNK = 10_000
FEWEST_OF_LANGUAGE = 10
MOST_SENTENCES = 10**9
"""Each takes one byte of memory."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Up to `CHUNK` sentences of one file: indices of their labels in the language's `LABELS`, one byte each."""

    file: str
    language: str
    test: bool
    number: int
    labels: bytes
    seed: int
    quirks: bool


def synthesize(
    out: str | Path,
    sentences: int,
    seed: int = 0,
    languages: str | Sequence[str] = "all",
    english: str = "small",
    quirks: bool = True,
    at_least: int = 0,
    processes: int | None = None,
) -> dict:
    """Write `{language}_corpora_{train,test}.tsv` files with exactly `sentences` sentences in all to the folder `out`.

    Languages get the shares of Table 1 of the mERE paper, labels those of SMiLER; `english` (small, mid, full) sets the
    share of English and its file name. Test is 2.0 % of every language, but at least 20 sentences if three training
    sentences per label remain. Entities of the test files never occur in training files, ignoring case.
    Every language gets at least `at_least` sentences if `sentences` is enough for that (Table 1 gives Ukrainian 0.3 %).
    `quirks=False` omits SMiLER's quirks, so that every row can be kept. The files depend on the arguments but not on
    `processes` (all processors if None). Memory is bounded by some chunks of 10,000 sentences.

    Returns {"sentences", "train", "test", "quirks": {quirk: rows}, "files": {name: {"sentences", "labels"}}}.
    Raises UserError for numbers out of bounds, an unknown language or an unknown size of English, and OSError that
    names a file that can't be written; no file of `out` is changed then.
    """
    codes = _codes(languages)
    if english not in ENGLISH_SIZES:
        raise UserError(f"--english={english}: must be one of {', '.join(ENGLISH_SIZES)}")
    if sentences < FEWEST_OF_LANGUAGE * len(codes):
        raise UserError(
            f"--sentences={sentences}: must be at least {FEWEST_OF_LANGUAGE * len(codes)} for {len(codes)} languages"
        )
    if sentences > MOST_SENTENCES:
        raise UserError(f"--sentences={sentences}: must be at most {MOST_SENTENCES}")
    if seed < 0:
        raise UserError(f"--seed={seed}: must be at least 0")
    if at_least < 0:
        raise UserError(f"--at_least={at_least}: must be at least 0")
    if processes is not None and processes < 1:
        raise UserError(f"--processes={processes}: must be at least 1")
    files = _files(codes, sentences, english, at_least)
    chunks = [list(_chunks(name, *file, seed, quirks)) for name, file in files.items()]
    counts: Counter = Counter()
    with (
        tqdm(total=sentences, unit=" sentences", unit_scale=True, disable=None) as bar,
        _ordered(list(chain(*chunks)), processes or os.cpu_count() or 1) as written,
        ExitStack() as whole,
    ):
        for name, of_file in zip(files, chunks, strict=True):
            file = whole.enter_context(writing(Path(out) / name))  # all files appear at the end, or none
            _write(file, of_file, written, counts, bar)
            file.flush()
    sizes = {name: {"sentences": sum(labels.values()), "labels": labels} for name, (_, _, labels) in files.items()}
    test = sum(sum(labels.values()) for _, is_test, labels in files.values() if is_test)
    return {
        "sentences": sentences,
        "train": sentences - test,
        "test": test,
        "quirks": dict(sorted(counts.items())),
        "files": sizes,
    }


def _codes(languages: str | Sequence[str]) -> list[str]:
    codes = parse_languages(languages)
    if codes == "all":
        return list(SMILER_LANGUAGES)
    unknown = [code for code in codes if code not in SMILER_LANGUAGES]
    if unknown:
        raise UserError(f"--languages: {', '.join(unknown)} not available: choose from {', '.join(SMILER_LANGUAGES)}")
    return codes


def _files(
    codes: Sequence[str], sentences: int, english: str, at_least: int
) -> dict[str, tuple[str, bool, dict[str, int]]]:
    """{file name: (language, whether it is a test file, {label: sentences})}."""
    files = {}
    for code, (train, test) in split_sizes(sentences, codes, english, at_least).items():
        stem = ENGLISH_SIZES[english] if code == "en" else code
        files[f"{stem}_corpora_train.tsv"] = (code, False, label_sizes(code, train, FEWEST_TRAIN_OF_LABEL))
        files[f"{stem}_corpora_test.tsv"] = (code, True, label_sizes(code, test, 0))
    return files


def _chunks(file: str, code: str, test: bool, labels: dict[str, int], seed: int, quirks: bool) -> Iterator[Chunk]:
    order = bytearray().join(bytes([LABELS[code].index(label)]) * count for label, count in labels.items())
    Random(f"{seed}/{file}/labels").shuffle(order)
    for number, start in enumerate(range(0, len(order), CHUNK)):
        yield Chunk(file, code, test, number, bytes(order[start : start + CHUNK]), seed, quirks)


@contextmanager
def _ordered(chunks: list[Chunk], processes: int) -> Iterator[Iterator[tuple[bytes, Counter]]]:
    """The results of `write_chunk` for the chunks, in order, from several processes; few results wait in memory."""
    if processes == 1 or len(chunks) == 1:
        yield map(write_chunk, chunks)
        return
    with ProcessPoolExecutor(min(processes, len(chunks)), mp_context=get_context("spawn")) as pool:
        try:
            yield _in_order(pool, iter(chunks), 2 * processes)
        finally:
            pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, chunks: Iterator[Chunk], ahead: int) -> Iterator[tuple[bytes, Counter]]:
    # Ctrl-C is sent to all processes of a terminal; the worker processes must ignore it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    waiting = [pool.submit(write_chunk, chunk) for chunk in islice(chunks, ahead)]
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    while waiting:
        result = waiting.pop(0).result()
        waiting += [pool.submit(write_chunk, chunk) for chunk in islice(chunks, 1)]
        yield result


def _write(
    file: BinaryIO, chunks: list[Chunk], written: Iterator[tuple[bytes, Counter]], counts: Counter, bar: tqdm
) -> None:
    file.write(("\t".join(COLUMNS) + "\n").encode())
    for chunk in chunks:
        text, quirks = next(written)
        file.write(text)
        counts.update(quirks)
        bar.update(len(chunk.labels))


def write_chunk(chunk: Chunk) -> tuple[bytes, Counter]:
    """The chunk's rows as UTF-8, and how many rows of each quirk they hold. Ids continue from chunk to chunk."""
    rng = Random(f"{chunk.seed}/{chunk.file}/{chunk.number}")
    writer = Writer(load_language(chunk.language), rng, chunk.test)
    names = LABELS[chunk.language]
    quirks = Quirks(writer, {label: LABEL_COUNTS[label] for label in names})
    counts: Counter = Counter()
    lines = []
    for place, index in enumerate(chunk.labels, start=chunk.number * CHUNK):
        label = names[index]
        quirk = quirks.draw(label) if chunk.quirks else ""

        def plain(sentence: Sentence, row_id: str = str(place)) -> Row:
            return Row(row_id, sentence.head, sentence.tail, sentence.label, sentence.text, chunk.language)

        if quirk:
            counts[quirk] += 1
            lines += [row.line() for row in quirks.rows(quirk, label, plain)]
        else:
            lines.append(plain(writer.sentence(label)).line())
    return "".join(lines).encode(), counts
