"""TSV files -> shards: read and tokenise once, shuffle everything, write."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mere_ds.columns import align
from mere_ds.corpus.graphemes import compose
from mere_ds.corpus.reading import RejectsFile, TsvFile, read_file, split_files
from mere_ds.corpus.repeats import ReadRows, describe_repeats
from mere_ds.encoders.sources import TinySize, build_encoder, load_tokenizer, most_bytes
from mere_ds.encoders.tiny import SENTENCES, sample
from mere_ds.errors import UserError
from mere_ds.files import check_apart
from mere_ds.shards.collecting import Collected, collect
from mere_ds.shards.encoding import SentenceEncoder
from mere_ds.shards.manifest import ENCODER, REJECTS, SPLITS, Manifest, Split, length_percentiles, save_index
from mere_ds.shards.packing import LocalSource, Shard, describe, write_shard
from mere_ds.shards.splitting import FEW_DEV, draw_dev
from mere_ds.shards.target import making

MOST_DEV_SHARE = 0.5
"""Maximum share of a language's training sentences that can become dev."""

MOST_SEED = 2**63 - 1  # torch's limit
_DISK_FACTOR = 4  # disk space for the sentences, temporary files included, relative to the TSV files


def shard_corpus(
    tsv_dir: str | Path,
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
    tiny: TinySize = TinySize(),  # noqa: B008 (frozen)
    sentences_per_shard: int = 8192,
    sentences_per_member: int = 512,
) -> Manifest:
    """Writes the shards folder `out` atomically and returns its manifest. Same input and seed give the same digests.

    Files, `languages`, `english` and `cut_marks` as in `mere_ds.corpus.reading`; `encoder`, `prune_vocabulary` and
    `tiny` as in `mere_ds.encoders.sources.build_encoder`. `max_length` bounds a sentence in tokens.

    Dev is drawn from the training files, see `splitting.draw_dev`; with `parallel_ids` rows with the same id (see
    `shared_id`) are translations and stay together. A training sentence whose entity would be cut off is rejected; a
    test sentence is kept with positions -1 and always counts as a miss. Raises UserError for bad input, an `out` that
    exists or is inside the corpus, or too little disk space; MachineError while another process writes `out`; OSError
    that names `out`.
    """
    if min(sentences_per_shard, sentences_per_member) < 1:
        raise UserError("sentences_per_shard and sentences_per_member must be greater than 0")
    if not 0 <= seed <= MOST_SEED:
        raise UserError(f"--seed={seed}: must be from 0 to {MOST_SEED}")
    if dev_share is not None and not 0 < dev_share <= MOST_DEV_SHARE:
        raise UserError(f"--dev_share={dev_share}: must be greater than 0 and at most {MOST_DEV_SHARE}")
    files = split_files(tsv_dir, languages, english)
    if not any(file.split == "train" for file in files):
        raise UserError(f"{tsv_dir}: contains no training file: add the *_corpora_train.tsv files")
    out = Path(out)
    check_apart("OUT", out, **{"TSV_DIR": tsv_dir, "--encoder": encoder if Path(encoder).is_dir() else None})
    needed = _DISK_FACTOR * sum(file.path.stat().st_size for file in files) + most_bytes(encoder, tiny)
    codes = list(dict.fromkeys(file.language for file in files))
    with making(out, overwrite, needed) as work:
        part = work / "part"
        rows = ReadRows(codes, keep_ids=parallel_ids)

        def texts() -> Iterable[str]:
            """For `tiny`, which learns its word pieces from them, training without dev; for pruning, all texts."""
            if encoder == "tiny":
                return _training_texts(files, cut_marks, seed, dev_share, rows)
            return (compose(example.text)[0] for file in files for example in read_file(file.path, cut_marks))

        info = build_encoder(encoder, part / ENCODER, texts, codes, seed, prune_vocabulary, tiny)
        if max_length > info.max_length:
            raise UserError(f"--max_length={max_length}: must be at most {info.max_length}, the limit of {encoder}")
        tokenizer = load_tokenizer(part / ENCODER)
        with RejectsFile(part / REJECTS) as rejects:
            sentence_encoder = SentenceEncoder(tokenizer, codes, max_length)
            corpus = collect(files, codes, sentence_encoder, cut_marks, rejects.write, work, rows)
        if len(rows) != len(corpus.is_kept):
            raise UserError(f"{tsv_dir}: its files changed while they were read: run the same command again")
        chosen = _split(corpus, draw_dev(rows, seed, dev_share)[corpus.is_kept], seed)
        shards = {
            name: _write_split(part, name, corpus, chosen[name], sentences_per_shard, sentences_per_member)
            for name in SPLITS
        }
        label_mask, unseen_labels = _labels_shown(corpus, codes)
        index = save_index(part, corpus.sentences, chosen)
        Manifest(
            languages=codes,
            labels=corpus.labels,
            label_mask=label_mask,
            splits={name: _describe(corpus, codes, chosen[name], shards[name]) for name in SPLITS},
            files=[file.as_dict() for file in corpus.counts],
            missed_test=corpus.missed_test,
            unseen_labels=unseen_labels,
            encoder=info,
            pad_id=sentence_encoder.pad_id,
            max_length=max_length,
            cut_marks=cut_marks,
            seed=seed,
            cuts=True,
            index_sha256=index.sha256,
            index_bytes=index.bytes,
            encoder_files=[describe(path) for path in sorted((part / ENCODER).iterdir())],
            repeats=rows.repeats(),
            dev_share=dev_share,
            source=LocalSource(part),
        ).save(part)
    return Manifest.load(out)


def _training_texts(
    files: list[TsvFile], cut_marks: str, seed: int, dev_share: float | None, rows: ReadRows
) -> list[str]:
    """The training texts without dev, or a sample of them; all rows of the files are added to `rows`."""

    def numbered() -> Iterator[tuple[int, str]]:
        for file in files:
            is_test = file.split == "test"
            for example in read_file(file.path, cut_marks):
                rows.add(example, is_test)
                if not is_test:
                    yield len(rows) - 1, compose(example.text)[0]

    drawn = sample(numbered(), SENTENCES, seed)
    dev = draw_dev(rows, seed, dev_share)
    return [text for row, text in drawn if not dev[row]]


def _split(corpus: Collected, dev: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Rows of each split in shard order: training shuffled, dev and test in file order."""
    train = np.flatnonzero(~corpus.is_test & ~dev)
    if not len(train):
        raise UserError("the training files contain no usable sentence: run mere-ds inspect to see why")
    return {
        "train": np.random.default_rng(seed).permutation(train),
        "dev": np.flatnonzero(dev),
        "test": np.flatnonzero(corpus.is_test),
    }


def _write_split(
    folder: Path, name: str, corpus: Collected, rows: np.ndarray, per_shard: int, per_member: int
) -> list[Shard]:
    shards: list[Shard] = []
    for start in tqdm(range(0, len(rows), per_shard), desc=f"writing {name}", unit="shard", disable=None):
        chosen = rows[start : start + per_shard]
        records = None if name == "train" else [corpus.record(row) for row in chosen]
        path = folder / f"{name}-{len(shards):05d}.tar"
        shards.append(write_shard(path, corpus.sentences.take(chosen), per_member, records))
    return shards


def _labels_shown(corpus: Collected, languages: list[str]) -> tuple[list[list[int]], dict[str, int]]:
    """The label mask [languages][labels] from training, and the number of test sentences for labels not in training."""
    train, test = (
        _count_labels(corpus, languages, np.flatnonzero(corpus.is_test == is_test)) for is_test in (False, True)
    )
    shown = train > 0
    shown[~shown.any(axis=1)] = shown.any(axis=0)
    unseen = {label: int(n) for label, n in zip(corpus.labels, test.sum(0) * ~shown.any(axis=0), strict=True) if n}
    return shown.astype(int).tolist(), unseen


def _count_labels(corpus: Collected, languages: list[str], rows: np.ndarray) -> np.ndarray:
    """Triples [languages, labels] of the sentences `rows`."""
    shape, s = (len(languages), len(corpus.labels)), corpus.sentences
    of_triples = np.repeat(s.languages[rows], s.counts[rows])
    places = np.ravel_multi_index((of_triples, s.labels[s.triples_of(rows)]), shape)
    return np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)


def _describe(corpus: Collected, languages: list[str], rows: np.ndarray, shards: list[Shard]) -> Split:
    s = corpus.sentences
    lengths, is_cut = s.lengths[rows], s.have(np.any(s.positions[:, ::2] < 0, axis=1))[rows]

    def by_language(chosen: np.ndarray) -> dict[str, int]:
        totals = np.bincount(s.languages[rows[chosen]], minlength=len(languages)).tolist()
        return {language: n for language, n in zip(languages, totals, strict=True) if n}

    table = _count_labels(corpus, languages, rows).tolist()
    counts = {
        a: {b: n for b, n in zip(corpus.labels, row, strict=True) if n} for a, row in zip(languages, table, strict=True)
    }
    return Split(
        sentences=len(rows),
        tokens=int(lengths.sum(dtype=np.int64)),
        shards=shards,
        lengths=length_percentiles(lengths),
        counts={language: labels for language, labels in counts.items() if labels},
        truncated=by_language(corpus.truncated[rows]),
        unaligned=by_language(corpus.unaligned[rows]),
        cut_spans=by_language(is_cut),
        by_language=by_language(np.ones(len(rows), bool)),
    )


def summary(manifest: Manifest) -> str:
    """A readable table: sentences by language and split, and how many are repaired, rejected, truncated, unaligned."""
    columns = ["language", *SPLITS, "repaired", "rejected", "truncated", "unaligned", "missed in test"]
    rows = {language: _row_of(manifest, language) for language in manifest.languages}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    cells = [columns, *[[name, *[f"{n:,}" for n in row]] for name, row in rows.items()]]
    lines = [align(cells, left=()), ""]
    for name, split in manifest.splits.items():
        percentiles = ", ".join(f"{k} {v}" for k, v in split.lengths.items())
        lines.append(
            f"{name}: {split.tokens:,} tokens in {len(split.shards)} shards; tokens per sentence: {percentiles}"
        )
    for what in ("repaired", "rejected"):
        reasons = sorted({reason for file in manifest.files for reason in file[what]})
        totals = [f"{reason} {sum(file[what].get(reason, 0) for file in manifest.files):,}" for reason in reasons]
        lines.append(f"{what}: {', '.join(totals) or 'none'}")
    if manifest.unseen_labels:
        unseen = ", ".join(f"{label} {count:,}" for label, count in manifest.unseen_labels.items())
        lines.append(f"labels only in test (sentences): {unseen}")
    if manifest.repeats:
        lines += describe_repeats(manifest.repeats)
    train, dev = (manifest.splits[name].by_language for name in ("train", "dev"))
    few = [f"{dev.get(language, 0):,} of {language}" for language in train if dev.get(language, 0) < FEW_DEV]
    if few:
        lines.append(
            f"warning: dev has few sentences ({', '.join(few)}), so its scores say little: a larger --dev_share, such "
            "as 0.1, moves more training sentences to dev"
        )
    return "\n".join(lines)


def _row_of(manifest: Manifest, language: str) -> list[int]:
    files = [file for file in manifest.files if file["language"] == language]
    splits = manifest.splits.values()
    return [
        *[manifest.splits[name].by_language.get(language, 0) for name in SPLITS],
        *[sum(sum(file[what].values()) for file in files) for what in ("repaired", "rejected")],
        *[sum(getattr(split, what).get(language, 0) for split in splits) for what in ("truncated", "unaligned")],
        manifest.missed_test.get(language, 0) + manifest.splits["test"].cut_spans.get(language, 0),
    ]
