"""Corpus files -> shards: read and tokenise once, shuffle everything, write; or make parts of this and join them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mere_ds.corpus.folder import Corpus
from mere_ds.errors import UserError
from mere_ds.files import check_apart
from mere_ds.parts import Part
from mere_ds.shards.collecting import Collected
from mere_ds.shards.index import pair_counts, save_index
from mere_ds.shards.manifest import ENCODER, MANIFEST, SPLITS, Manifest, Split, percentiles
from mere_ds.shards.packing import LocalSource, Shard, describe, write_shard
from mere_ds.shards.parts import PARTS, RECORD, is_whole, join, made_from, read_parts, save_part
from mere_ds.shards.settings import ShardSettings
from mere_ds.shards.tokenising import Tokenised, tokenise
from mere_ds.target import check_new, making

_SHARDS = MANIFEST, "shards"  # what a folder of this kind has, and what it is called


def shard_corpus(source: str | Path, out: str | Path, *, overwrite: bool = False, **how: Any) -> Manifest:
    """Writes the shards folder `out` atomically and returns its manifest. Same input and seed give the same digests.

    `how` are the fields of `ShardSettings`. Dev is the dev files; without any, it is drawn from the training files, see
    `splitting.draw_dev`. For entities that would be cut off, see `collecting.collect`. Raises UserError for bad input,
    an `out` that exists or is inside the corpus, or too little disk space; MachineError while another process writes
    `out`; OSError that names `out`.
    """
    settings, out = ShardSettings(**how), Path(out)
    corpus = _opened(source, out, settings)
    with making(out, overwrite, settings.most_bytes(corpus), *_SHARDS) as work:
        tokenised = tokenise(corpus, settings, work / "part", work)
        _write(work / "part", work, corpus, settings, tokenised)
    return Manifest.load(out)


def shard_part(source: str | Path, out: str | Path, part: Part, *, overwrite: bool = False, **how: Any) -> int | None:
    """Writes a part of the shards folder `out`, `out/parts/2-of-4` for `Part(2, 4)`, atomically, for `join_shards`;
    returns the number of its sentences, None if it is there already. The other arguments, and what is raised, as in
    `shard_corpus`; UserError also for a part that is there but was made from something else or is damaged.
    """
    settings, out = ShardSettings(**how), Path(out)
    corpus = _opened(source, out, settings)
    check_new(out, overwrite, *_SHARDS, besides=PARTS)
    origin = made_from(corpus, settings)
    folder = out / PARTS / str(part)
    if not overwrite and is_whole(folder, part, origin):
        return None
    with making(folder, overwrite, settings.most_bytes(corpus), RECORD, "part") as work:
        tokenised = tokenise(corpus, settings, work / "part", work / "part", part)
        save_part(work / "part", part, origin, tokenised)
    return len(tokenised.gathered.columns["rows"])


def join_shards(source: str | Path, out: str | Path, of: int, *, overwrite: bool = False, **how: Any) -> Manifest:
    """Makes the shards folder `out`, atomically, of its `of` parts, which are removed: the folder has the same bytes as
    that of `shard_corpus` with these arguments. `source` is compared by its digest. Raises what that raises, and
    UserError if a part is missing, was made from something else or is damaged, or if there are others.
    """
    settings, out = ShardSettings(**how), Path(out)
    corpus = _opened(source, out, settings)
    with making(out, overwrite, settings.most_bytes(corpus), *_SHARDS, besides=PARTS) as work:
        parts = read_parts(out, of, made_from(corpus, settings))
        tokenised = join(parts, work / "part", work)
        _write(work / "part", work, replace(corpus, chosen=tokenised.languages), settings, tokenised)
    return Manifest.load(out)


def _opened(source: str | Path, out: Path, settings: ShardSettings) -> Corpus:
    corpus, encoder = settings.open(source), settings.encoder
    check_apart("OUT", out, **{"SOURCE": source, "--encoder": encoder if Path(encoder).is_dir() else None})
    return corpus


def _write(part: Path, work: Path, corpus: Corpus, settings: ShardSettings, tokenised: Tokenised) -> None:
    """The shards, the index and the manifest go to the folder `part`; the flat files are in `work`."""
    collected, leaks = tokenised.gathered.collected(work), tokenised.leaks
    chosen = _split(collected, tokenised.dev[collected.rows], leaks[collected.rows], settings.seed)
    if settings.drop_leaks:
        collected.forget_other_labels(np.concatenate(list(chosen.values())))
    per_file = settings.sentences_per_shard, settings.sentences_per_member
    shards = {name: _write_split(part, name, collected, chosen[name], *per_file) for name in SPLITS}
    _described(
        part, corpus, collected, chosen, shards,
        encoder=tokenised.encoder, pad_id=tokenised.pad_id, repeats=tokenised.repeats,
        max_length=settings.max_length, cut_marks=settings.cut_marks, seed=settings.seed, dev_share=settings.dev_share,
        dropped_leaks=_by_split(corpus, collected, leaks) if settings.drop_leaks else None,
        windows=_by_language(collected, corpus.languages) if settings.windows else None,
    ).save(part)  # fmt: skip


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
    sizes = {name: [shard.sentences for shard in written] for name, written in shards.items()}
    index = save_index(part, collected.sentences, chosen, sizes, len(codes))
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
    return pair_counts(of_triples, len(languages), s.labels[s.triples_of(rows)], len(collected.labels))


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
    by_triples = (
        pair_counts(s.languages[rows], len(languages), s.counts[rows], most) if corpus.triples == "many" else None
    )
    return Split(
        sentences=len(rows),
        tokens=int(lengths.sum(dtype=np.int64)),
        shards=shards,
        lengths=percentiles(np.bincount(lengths)),
        counts=of_table(_count_labels(collected, languages, rows), collected.labels),
        truncated=by_language(collected.truncated[rows]),
        unaligned=by_language(collected.unaligned[rows]),
        cut_spans=by_language(is_cut),
        by_language=by_language(np.ones(len(rows), bool)),
        by_triples={} if by_triples is None else of_table(by_triples, [str(n) for n in range(most)]),
    )
