"""Shards of any number of sentences for the batch plan: all that a start reads of a folder, and no content of training.

Lengths are random (40 tokens in the middle, at most 256), languages in SMiLER's shares.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from mere_ds.corpus.smiler import ENGLISH_SENTENCES, SENTENCES
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.encoders.sources import TinySize
from mere_ds.shards.index import INDEX, pair_counts
from mere_ds.shards.manifest import SPLITS, Manifest, Split, percentiles
from mere_ds.shards.packing import Shard, StoredFile, describe, save_arrays
from mere_ds.shards.writing import shard_corpus

LONGEST = 256
DISTINCT = 256  # shards; further ones repeat them, for all would take GiB
_TAR_BYTES = 1 << 20  # of each tar, which is empty and takes no disk


def simulate(folder: Path, sentences: int, per_shard: int) -> Path:
    """Writes such shards below `folder`, and returns their folder."""
    synthesize(folder / "corpus", 420, seed=1, processes=1)
    place = folder / "shards"
    manifest = shard_corpus(folder / "corpus", place, encoder="tiny", tiny=TinySize(16, 1, vocabulary=1000))
    random, kinds = np.random.default_rng(0), len(manifest.languages)
    counts = SENTENCES | {"en": ENGLISH_SENTENCES["full"]}
    shares = np.array([counts[language] for language in manifest.languages])
    sizes = [min(per_shard, sentences - first) for first in range(0, sentences, per_shard)]
    assert len(sizes) <= DISTINCT or sentences % per_shard == 0, "so that repeated shards are of one size"
    files, of_languages, of_lengths = [], [], []
    for h, size in enumerate(sizes[:DISTINCT]):
        lengths = np.clip(np.exp(random.normal(3.6, 0.45, size)), 6, LONGEST).astype(np.int16)
        languages = random.choice(kinds, size, p=shares / shares.sum()).astype(np.int16)
        path = place / f"train-{h:05d}.index.npy"
        np.save(path, np.stack([lengths, languages]))
        files.append(describe(path))
        of_languages.append(np.bincount(languages, minlength=kinds))
        of_lengths.append(pair_counts(languages, kinds, lengths, LONGEST + 1))
    repeated = np.arange(len(sizes)) % len(files)
    counts_HU, lengths_UL = np.stack(of_languages)[repeated], np.stack(of_lengths)[repeated].sum(axis=0)
    arrays = {f"train_{name}": table for name, table in (("counts", counts_HU), ("lengths", lengths_UL))}
    for name in SPLITS[1:]:
        index = manifest.index_of(name)
        arrays |= {f"{name}_counts": index.counts_HU, f"{name}_lengths": index.lengths_UL}
    stored = save_arrays(place / INDEX, arrays)
    shards = [_shard(place, h, size, files[h % len(files)]) for h, size in enumerate(sizes)]
    splits = manifest.splits | {"train": _split(manifest, shards, counts_HU.sum(axis=0), lengths_UL.sum(axis=0))}
    replace(manifest, splits=splits, index_sha256=stored.sha256, index_bytes=stored.bytes).save(place)
    return place


def _shard(place: Path, h: int, size: int, index: StoredFile) -> Shard:
    """A tar without content, and an index that is another shard's."""
    name = f"train-{h:05d}"
    with open(place / f"{name}.tar", "wb") as tar:
        tar.truncate(_TAR_BYTES)
    if index.file != f"{name}.index.npy":
        os.link(place / index.file, place / f"{name}.index.npy")
    return Shard(f"{name}.tar", _TAR_BYTES, "0" * 64, size, replace(index, file=f"{name}.index.npy"))


def _split(manifest: Manifest, shards: list[Shard], counts_U: np.ndarray, counts_L: np.ndarray) -> Split:
    by_language, counts = dict(zip(manifest.languages, counts_U.tolist(), strict=True)), {}
    for language, labels in manifest.splits["train"].counts.items():
        more = by_language[language] - sum(labels.values())
        counts[language] = {label: n + (more if i == 0 else 0) for i, (label, n) in enumerate(labels.items())}
    return replace(
        manifest.splits["train"],
        sentences=int(counts_U.sum()),
        tokens=int(counts_L @ np.arange(len(counts_L))),
        shards=shards,
        lengths=percentiles(counts_L),
        counts=counts,
        by_language=by_language,
    )
