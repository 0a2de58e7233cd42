"""Writes a synthetic corpus with SMiLER's languages and proportions, but own sentences.

Either in SMiLER's form, with its labels, file names and quirks, or as JSON lines with any number of triples a sentence.
"""

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
from typing import BinaryIO, Literal

from tqdm import tqdm

from mere_ds.columns import align
from mere_ds.corpus.languages import SMILER_LANGUAGES, parse_languages
from mere_ds.corpus.reading import COLUMNS, ENGLISH_SIZES
from mere_ds.corpus.smiler import LABEL_COUNTS
from mere_ds.corpus.synthetic.grammar import load_language
from mere_ds.corpus.synthetic.many import OVERLAPS, TRIPLE_SHARES, ManyWriter, overlaps
from mere_ds.corpus.synthetic.quirks import Quirks, Row
from mere_ds.corpus.synthetic.sentences import Sentence, Writer
from mere_ds.corpus.synthetic.shares import (
    FEWEST_TRAIN_OF_LABEL,
    LABELS,
    apportion,
    label_sizes,
    split_sizes,
)
from mere_ds.errors import UserError
from mere_ds.files import json_line, writing

CHUNK = 10_000
FEWEST_OF_LANGUAGE = 10
MOST_SENTENCES = 10**9
"""Each takes one byte of memory."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Up to `CHUNK` sentences of one file, one byte each: the index of the label in the language's `LABELS`, or, with
    `many`, the number of triples."""

    file: str
    language: str
    test: bool
    number: int
    plan: bytes
    seed: int
    quirks: bool
    many: bool


@dataclass(frozen=True, slots=True)
class _File:
    """What goes into a file: how many sentences of each byte of `Chunk.plan`."""

    language: str
    test: bool
    sizes: list[int]


def synthesize(
    out: str | Path,
    sentences: int,
    seed: int = 0,
    languages: str | Sequence[str] = "all",
    english: str = "small",
    quirks: bool = True,
    at_least: int = 0,
    processes: int | None = None,
    triples: Literal["one", "many"] = "one",
) -> dict:
    """Write `{language}_corpora_{train,test}.tsv` files with exactly `sentences` sentences in all to the folder `out`.

    With `triples="many"` they are `{language}.{train,test}.jsonl` files of rows {"id", "lang", "text", "triples":
    [{"head": [start, end], "relation", "tail": [start, end]}]}, offsets in code points, end exclusive. Of the sentences
    `TRIPLE_SHARES` have 0 to 5 triples; labels of a language are about equally frequent. There are no quirks then.

    Languages get the shares of Table 1 of the mERE paper, labels those of SMiLER; `english` (small, mid, full) sets the
    share of English and its file name. Test is 2.0 % of every language, but at least 20 sentences if three training
    sentences per label remain. Entities of the test files never occur in training files, ignoring case.
    Every language gets at least `at_least` sentences if `sentences` is enough for that (Table 1 gives Ukrainian 0.3 %).
    `quirks=False` omits SMiLER's quirks, so that every row can be kept. The files depend on the arguments but not on
    `processes` (all processors if None). Memory is bounded by some chunks of 10,000 sentences.

    Returns {"sentences", "train", "test", "quirks": {quirk: rows}, "files": {name: {"sentences", "labels"}}}; with many
    triples "files" are {name: {"language", "sentences", "triples", "without", "overlaps": {kind: sentences}}}.
    Raises UserError for numbers out of bounds, an unknown language or an unknown size of English, and OSError that
    names a file that can't be written; no file of `out` is changed then.
    """
    codes = _codes(languages)
    if english not in ENGLISH_SIZES:
        raise UserError(f"--english={english}: must be one of {', '.join(ENGLISH_SIZES)}")
    if triples not in ("one", "many"):
        raise UserError(f"--triples={triples}: must be one or many")
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
    many = triples == "many"
    split = split_sizes(sentences, codes, english, at_least)
    files = _json_files(split) if many else _files(split, english)
    chunks = [list(_chunks(name, file, seed, quirks, many)) for name, file in files.items()]
    counts: dict[str, Counter] = {}
    with (
        tqdm(total=sentences, unit=" sentences", unit_scale=True, disable=None) as bar,
        _ordered(list(chain(*chunks)), processes or os.cpu_count() or 1) as written,
        ExitStack() as whole,
    ):
        for name, of_file in zip(files, chunks, strict=True):
            file = whole.enter_context(writing(Path(out) / name))  # all files appear at the end, or none
            if not many:
                file.write(("\t".join(COLUMNS) + "\n").encode())
            counts[name] = _write(file, of_file, written, bar)
            file.flush()
    test = sum(sum(file.sizes) for file in files.values() if file.test)
    totals = {"sentences": sentences, "train": sentences - test, "test": test}
    if many:
        return totals | {"files": {name: _counted(file, counts[name]) for name, file in files.items()}}
    labels = {name: dict(zip(LABELS[file.language], file.sizes, strict=True)) for name, file in files.items()}
    return totals | {
        "quirks": dict(sorted(sum(counts.values(), Counter()).items())),
        "files": {name: {"sentences": sum(files[name].sizes), "labels": labels[name]} for name in files},
    }


def _counted(file: _File, counts: Counter) -> dict:
    kinds = {kind: counts[kind] for kind in OVERLAPS}
    triples = sum(triples * sentences for triples, sentences in enumerate(file.sizes))
    sentences = {"sentences": sum(file.sizes), "triples": triples, "without": file.sizes[0]}
    return {"language": file.language, **sentences, "overlaps": kinds}


def format_table(counts: dict) -> str:
    """What `synthesize` returns for many triples as a table: a row a language, train and test together, and the sum."""
    rows: dict[str, Counter] = {}
    for file in counts["files"].values():
        numbers = Counter({key: file[key] for key in ("sentences", "triples", "without")} | file["overlaps"])
        for row in (file["language"], "all"):
            rows[row] = rows.get(row, Counter()) + numbers
    lines = [["language", "sentences", "triples", "without", *OVERLAPS]]
    for name in [*(row for row in rows if row != "all"), "all"]:
        row = rows[name]
        share = f"{row['without'] / row['sentences']:.1%}"
        lines.append([name, f"{row['sentences']:,}", f"{row['triples']:,}", share, *(f"{row[k]:,}" for k in OVERLAPS)])
    return align(lines)


def _codes(languages: str | Sequence[str]) -> list[str]:
    codes = parse_languages(languages)
    if codes == "all":
        return list(SMILER_LANGUAGES)
    unknown = [code for code in codes if code not in SMILER_LANGUAGES]
    if unknown:
        raise UserError(f"--languages: {', '.join(unknown)} not available: choose from {', '.join(SMILER_LANGUAGES)}")
    return codes


def _files(sizes: dict[str, tuple[int, int]], english: str) -> dict[str, _File]:
    """{name: a file of SMiLER's form} from {language: (train, test)} sentences."""
    files = {}
    for code, (train, test) in sizes.items():
        stem = ENGLISH_SIZES[english] if code == "en" else code
        of_train, of_test = label_sizes(code, train, FEWEST_TRAIN_OF_LABEL), label_sizes(code, test, 0)
        files[f"{stem}_corpora_train.tsv"] = _File(code, False, list(of_train.values()))
        files[f"{stem}_corpora_test.tsv"] = _File(code, True, list(of_test.values()))
    return files


def _json_files(sizes: dict[str, tuple[int, int]]) -> dict[str, _File]:
    """{name: a file of JSON lines} from {language: (train, test)} sentences."""
    floors = [0] * len(TRIPLE_SHARES)
    return {
        f"{code}.{split}.jsonl": _File(code, split == "test", apportion(total, TRIPLE_SHARES, floors))
        for code, totals in sizes.items()
        for split, total in zip(("train", "test"), totals, strict=True)
    }


def _chunks(name: str, file: _File, seed: int, quirks: bool, many: bool) -> Iterator[Chunk]:
    order = bytearray().join(bytes([kind]) * count for kind, count in enumerate(file.sizes))
    Random(f"{seed}/{name}/labels").shuffle(order)
    for number, start in enumerate(range(0, len(order), CHUNK)):
        plan = bytes(order[start : start + CHUNK])
        yield Chunk(name, file.language, file.test, number, plan, seed, quirks, many)


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


def _write(file: BinaryIO, chunks: list[Chunk], written: Iterator[tuple[bytes, Counter]], bar: tqdm) -> Counter:
    counts: Counter = Counter()
    for chunk in chunks:
        text, of_chunk = next(written)
        file.write(text)
        counts.update(of_chunk)
        bar.update(len(chunk.plan))
    return counts


def write_chunk(chunk: Chunk) -> tuple[bytes, Counter]:
    """The chunk's rows as UTF-8, and how many of them have each quirk, or each overlap. Ids continue over chunks."""
    rng = Random(f"{chunk.seed}/{chunk.file}/{chunk.number}")
    return (_json_lines if chunk.many else _rows)(chunk, rng)


def _json_lines(chunk: Chunk, rng: Random) -> tuple[bytes, Counter]:
    writer = ManyWriter(load_language(chunk.language), rng, chunk.test)
    counts: Counter = Counter()
    lines = []
    for place, triples in enumerate(chunk.plan, start=chunk.number * CHUNK):
        sentence = writer.sentence(triples)
        counts.update(overlaps(sentence.triples))
        stated = [{"head": head, "relation": relation, "tail": tail} for head, relation, tail in sentence.triples]
        row = {"id": str(place), "lang": chunk.language, "text": sentence.text, "triples": stated}
        lines.append(json_line(row))
    return b"".join(lines), counts


def _rows(chunk: Chunk, rng: Random) -> tuple[bytes, Counter]:
    writer = Writer(load_language(chunk.language), rng, chunk.test)
    names = LABELS[chunk.language]
    quirks = Quirks(writer, {label: LABEL_COUNTS[label] for label in names})
    counts: Counter = Counter()
    lines = []
    for place, index in enumerate(chunk.plan, start=chunk.number * CHUNK):
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
