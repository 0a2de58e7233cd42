"""Corpus files -> shards: read and tokenise once, shuffle everything, write."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mere_ds.corpus.folder import Corpus, open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.graphemes import compose
from mere_ds.corpus.repeats import ReadRows
from mere_ds.corpus.rows import RejectsFile
from mere_ds.encoders.sources import TinySize, build_encoder, load_tokenizer, most_bytes
from mere_ds.errors import UserError
from mere_ds.files import check_apart
from mere_ds.shards.collecting import Collected, collect
from mere_ds.shards.dividing import Division
from mere_ds.shards.encoding import SentenceEncoder
from mere_ds.shards.manifest import ENCODER, MANIFEST, REJECTS, SPLITS, Manifest, Split, length_percentiles, save_index
from mere_ds.shards.packing import LocalSource, Shard, describe, write_shard
from mere_ds.target import making

MOST_DEV_SHARE = 0.5
"""Maximum share of a language's training sentences that can become dev."""

MOST_SEED = 2**63 - 1  # what torch takes
_DISK_FACTOR = 4  # what is written for sentences, spill included, in sizes of the corpus files


def shard_corpus(
    source: str | Path,
    out: str | Path,
    encoder: str = "bert-base-multilingual-cased",
    languages: str | Sequence[str] = "all",
    english: str = "auto",
    cut_marks: str = "repair",
    max_length: int = 256,
    seed: int = 0,
    prune_vocabulary: bool = False,
    parallel_ids: bool = False,
    overwrite: bool = False,
    dev_share: float | None = None,
    triples: str = "auto",
    negative_labels: Sequence[str] = (),
    options: SourceOptions = SourceOptions(),  # noqa: B008 (frozen)
    tiny: TinySize = TinySize(),  # noqa: B008 (frozen)
    sentences_per_shard: int = 8192,
    sentences_per_member: int = 4096,
    label_map: str | Path | None = None,
    drop_leaks: bool = False,
    windows: bool = False,
) -> Manifest:
    """Writes the shards folder `out` atomically and returns its manifest. Same input and seed give the same digests.

    Files, `languages`, `english`, `cut_marks`, `triples`, `negative_labels`, `options`, `label_map` as in
    `folder.open_corpus`; `encoder`, `prune_vocabulary` and `tiny` as in `mere_ds.encoders.sources.build_encoder`.
    `max_length` bounds a sentence in tokens; with `windows` a longer one of training becomes several sentences, see
    `mere_ds.shards.windows`, not one that is cut off. Sentences of dev and test are always cut off.

    Dev is the dev files; without any, it is drawn from the training files, see `splitting.draw_dev`; with
    `parallel_ids` rows with the same id (see `shared_id`) are translations and stay together. `drop_leaks` takes
    sentences out of training and dev whose text (see `repeats.fold`) is in test. For entities that would
    be cut off, see `collecting.collect`. Raises UserError for bad input, an `out` that exists or is inside the corpus,
    or too little disk space; MachineError while another process writes `out`; OSError that names `out`.
    """
    if min(sentences_per_shard, sentences_per_member) < 1:
        raise UserError("sentences_per_shard and sentences_per_member must be greater than 0")
    if not 0 <= seed <= MOST_SEED:
        raise UserError(f"--seed={seed}: must be from 0 to {MOST_SEED}")
    corpus = open_corpus(source, languages, english, cut_marks, triples, negative_labels, options, label_map)
    _check_fit(corpus, dev_share, windows)
    out = Path(out)
    check_apart("OUT", out, **{"SOURCE": source, "--encoder": encoder if Path(encoder).is_dir() else None})
    needed = _DISK_FACTOR * corpus.bytes + most_bytes(encoder, tiny)
    codes = corpus.languages
    division = Division(corpus, ReadRows(codes, keep_ids=parallel_ids), seed, dev_share, drop_leaks)
    with making(out, overwrite, needed, MANIFEST, "shards") as work:
        part = work / "part"
        # tiny learns its word pieces from training without dev; pruning keeps those of all texts
        texts = division.training_texts if encoder == "tiny" else partial(_all_texts, corpus)
        info = build_encoder(encoder, part / ENCODER, texts, codes, seed, prune_vocabulary, tiny)
        if max_length > info.max_length:
            raise UserError(f"--max_length={max_length}: must be at most {info.max_length}, the limit of {encoder}")
        sentence_encoder = SentenceEncoder(load_tokenizer(part / ENCODER), codes, max_length)
        divisible = division.divisible() if windows else None
        with RejectsFile(part / REJECTS) as rejects:
            collected = collect(corpus, sentence_encoder, rejects.write, work, division.rows, divisible)
        if len(division.rows) != collected.rows_read:
            raise UserError(f"{source}: its files changed while they were read: run the same command again")
        leaks, dev = division.held_out()
        chosen = _split(collected, dev[collected.rows], leaks[collected.rows], seed)
        if drop_leaks:
            collected.forget_other_labels(np.concatenate(list(chosen.values())))
        per_file = sentences_per_shard, sentences_per_member
        shards = {name: _write_split(part, name, collected, chosen[name], *per_file) for name in SPLITS}
        _described(
            part, corpus, collected, chosen, shards,
            encoder=info, pad_id=sentence_encoder.pad_id, max_length=max_length, cut_marks=cut_marks, seed=seed,
            repeats=division.rows.repeats(), dev_share=dev_share,
            dropped_leaks=_by_split(corpus, collected, leaks) if drop_leaks else None,
            windows=_by_language(collected, codes) if windows else None,
        ).save(part)  # fmt: skip
    return Manifest.load(out)


def _described(
    part: Path,
    corpus: Corpus,
    collected: Collected,
    chosen: dict[str, np.ndarray],
    shards: dict[str, list[Shard]],
    **others: Any,
) -> Manifest:
    """The manifest of the folder `part` with `chosen` rows and `shards` by split; `others` are entries of it."""
    codes = corpus.languages
    label_mask, unseen_labels = _labels_shown(collected, codes, chosen)
    index = save_index(part, collected.sentences, chosen)
    return Manifest(
        languages=codes,
        labels=collected.labels,
        label_mask=label_mask,
        splits={name: _describe(collected, corpus, chosen[name], shards[name]) for name in SPLITS},
        files=[counts.as_dict() for counts in collected.counts],
        missed_test=collected.missed_test,
        unseen_labels=unseen_labels,
        cuts=True,
        index_sha256=index.sha256,
        index_bytes=index.bytes,
        encoder_files=[describe(path) for path in sorted((part / ENCODER).iterdir())],
        triples=corpus.triples,
        negative_labels=list(corpus.negative_labels),
        label_map=corpus.label_map.as_dict() if corpus.label_map else {},
        read_as=corpus.read_as,
        source=LocalSource(part),
        **others,
    )


def _check_fit(corpus: Corpus, dev_share: float | None, windows: bool) -> None:
    """Raises UserError for a corpus that can't be sharded, or not so."""
    if dev_share is not None and not 0 < dev_share <= MOST_DEV_SHARE:
        raise UserError(f"--dev_share={dev_share}: must be greater than 0 and at most {MOST_DEV_SHARE}")
    if not corpus.has("train"):
        raise UserError(f"{corpus.folder}: contains no training file: add files for training, or pass --split=train")
    if corpus.has("dev") and dev_share is not None:
        raise UserError(f"--dev_share={dev_share}: {corpus.folder} contains dev files, so dev isn't drawn: omit it")
    if windows and corpus.triples == "one":
        raise UserError("--windows is for many triples a sentence: omit it, or pass --triples=many")


def _all_texts(corpus: Corpus) -> Iterator[str]:
    return (compose(example.text)[0] for file in corpus.files for example in corpus.read(file))


def _by_language(collected: Collected, languages: list[str]) -> dict[str, dict[str, int]]:
    return {
        name: {code: counts[code] for code in languages if counts[code]} for name, counts in collected.windows.items()
    }


def _by_split(corpus: Corpus, collected: Collected, rows: np.ndarray) -> dict[str, dict[str, int]]:
    """How many of the sentences that come from `rows` (bool [rows read]) are of which files and languages."""
    counted, chosen = {}, rows[collected.rows]
    for split in ("train", "dev"):
        languages = collected.sentences.languages[chosen & collected.is_of(split)]
        totals = np.bincount(languages, minlength=len(corpus.languages)).tolist()
        counted[split] = {language: n for language, n in zip(corpus.languages, totals, strict=True) if n}
    return {split: counts for split, counts in counted.items() if corpus.has(split)}


def _split(collected: Collected, dev: np.ndarray, leaks: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Rows of each split in shard order: training shuffled, dev and test in file order."""
    train = np.flatnonzero(collected.is_of("train") & ~dev & ~leaks)
    if not len(train):
        raise UserError("the training files contain no usable sentence: run mere-ds inspect to see why")
    return {
        "train": np.random.default_rng(seed).permutation(train),
        "dev": np.flatnonzero(dev),
        "test": np.flatnonzero(collected.is_of("test")),
    }


def _write_split(
    folder: Path, name: str, collected: Collected, rows: np.ndarray, per_shard: int, per_member: int
) -> list[Shard]:
    shards: list[Shard] = []
    for start in tqdm(range(0, len(rows), per_shard), desc=f"writing {name}", unit="shard", disable=None):
        chosen = rows[start : start + per_shard]
        records = None if name == "train" else [collected.record(row) for row in chosen]
        path = folder / f"{name}-{len(shards):05d}.tar"
        shards.append(write_shard(path, collected.sentences.take(chosen), per_member, records))
    return shards


def _labels_shown(
    collected: Collected, languages: list[str], chosen: dict[str, np.ndarray]
) -> tuple[list[list[int]], dict[str, int]]:
    """The label mask [languages][labels] from training and dev, and the number of test triples for labels that these
    lack."""
    shown_rows = np.concatenate([chosen["train"], chosen["dev"]])
    others, test = (_count_labels(collected, languages, rows) for rows in (shown_rows, chosen["test"]))
    shown = others > 0
    if not shown.any():
        raise UserError("no sentence of the training files has a triple: run mere-ds inspect to see what they contain")
    shown[~shown.any(axis=1)] = shown.any(axis=0)
    unseen = {label: int(n) for label, n in zip(collected.labels, test.sum(0) * ~shown.any(axis=0), strict=True) if n}
    return shown.astype(int).tolist(), unseen


def _count_labels(collected: Collected, languages: list[str], rows: np.ndarray) -> np.ndarray:
    """Triples [languages, labels] of the sentences `rows`."""
    s = collected.sentences
    of_triples = np.repeat(s.languages[rows], s.counts[rows])
    return _table(of_triples, len(languages), s.labels[s.triples_of(rows)], len(collected.labels))


def _table(rows: np.ndarray, height: int, columns: np.ndarray, width: int) -> np.ndarray:
    """How often each pair of a row and a column occurs [height, width]."""
    places = np.ravel_multi_index((rows, columns), (height, width))
    return np.bincount(places, minlength=height * width).reshape(height, width)


def _describe(collected: Collected, corpus: Corpus, rows: np.ndarray, shards: list[Shard]) -> Split:
    s, languages = collected.sentences, corpus.languages
    lengths, is_cut = s.lengths[rows], s.have(np.any(s.positions[:, ::2] < 0, axis=1))[rows]

    def by_language(chosen: np.ndarray) -> dict[str, int]:
        totals = np.bincount(s.languages[rows[chosen]], minlength=len(languages)).tolist()
        return {language: n for language, n in zip(languages, totals, strict=True) if n}

    def of_table(table: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, int]]:
        by = zip(languages, table.tolist(), strict=True)
        counts = {language: {b: n for b, n in zip(names, row, strict=True) if n} for language, row in by}
        return {language: row for language, row in counts.items() if row}

    most = int(s.counts.max(initial=0)) + 1
    by_triples = _table(s.languages[rows], len(languages), s.counts[rows], most) if corpus.triples == "many" else None
    return Split(
        sentences=len(rows),
        tokens=int(lengths.sum(dtype=np.int64)),
        shards=shards,
        lengths=length_percentiles(lengths),
        counts=of_table(_count_labels(collected, languages, rows), collected.labels),
        truncated=by_language(collected.truncated[rows]),
        unaligned=by_language(collected.unaligned[rows]),
        cut_spans=by_language(is_cut),
        by_language=by_language(np.ones(len(rows), bool)),
        by_triples={} if by_triples is None else of_table(by_triples, [str(n) for n in range(most)]),
    )
