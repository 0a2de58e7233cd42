"""The manifest of a shards folder: what is in it, where it came from, and the digests that prove it.

`manifest.json` holds everything a person or a program asks for; `index.npz` each sentence's token length and language,
from which the batch plan is made.
"""

import io
import json
import re
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from mere_ds.encoders.sources import EncoderInfo
from mere_ds.errors import UserError
from mere_ds.shards.packing import Sentences, Shard, read_verified, save_arrays

VERSION = 1
MANIFEST, INDEX, ENCODER, REJECTS = "manifest.json", "index.npz", "encoder", "rejects.jsonl"
SPLITS = ("train", "dev", "test")

_PERCENTILES = (50, 90, 99)
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADVICE = "copy the folder anew or run mere-ds shard again"


@dataclass
class Split:
    """One split; every count by language has only the languages where it isn't 0."""

    sentences: int
    tokens: int
    shards: list[Shard]
    lengths: dict[str, int]
    """Percentiles of the sentences' token lengths: p50, p90, p99, max; all 0 in an empty split."""
    counts: dict[str, dict[str, int]]
    """Sentences by language and label."""
    truncated: dict[str, int]
    """By language: sentences that lost words to `max_length`."""
    unaligned: dict[str, int]
    """By language: sentences with a gold mark inside a token, so that tokens cannot give the exact characters."""
    cut_spans: dict[str, int]
    """By language: test sentences without a position for head or tail, which can only be misses."""

    @property
    def by_language(self) -> dict[str, int]:
        """Sentences by language."""
        return {language: sum(labels.values()) for language, labels in self.counts.items()}


@dataclass
class Manifest:
    """What `mere-ds shard` made. Loaded with `Manifest.load`; then `folder` is where it lies."""

    languages: list[str]
    labels: list[str]
    """All labels of all splits, sorted."""
    label_mask: list[list[int]]
    """languages x labels; 1 where the training files (dev part included) show the label in the language. A language
    without training sentences may have every label."""
    splits: dict[str, Split]
    """train, dev and test, whatever of them is empty."""
    files: list[dict]
    """What became of each TSV file's rows: `mere_ds.corpus.reading.FileCounts.as_dict`."""
    missed_test: dict[str, int]
    """By language: test sentences that were rejected, to be counted as misses."""
    unseen_labels: dict[str, int]
    """Labels of the test files that training never shows, with their test sentences."""
    encoder: EncoderInfo
    """What `encoder/` inside the folder holds; its fingerprint is of the tokenizer, language symbols included."""
    pad_id: int
    max_length: int
    cut_marks: str
    seed: int
    index_sha256: str
    version: int = VERSION
    folder: Path = field(default=Path(), compare=False)
    """Not stored."""

    def save(self, folder: Path) -> None:
        """Writes `manifest.json`: equal manifests give equal bytes."""
        plain = {**asdict(self), "encoder": self.encoder.as_dict()}
        del plain["folder"]
        text = json.dumps(plain, ensure_ascii=False, indent=1)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "Manifest":
        """Reads a shards folder's manifest and checks that all is there: index, and every shard at its size.

        Shards' digests are checked when they are read. Raises UserError that names the file and what to do.
        """
        folder = Path(folder).resolve()
        path = folder / MANIFEST
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            raise UserError(f"{folder}: holds no {MANIFEST}: pass a folder made by mere-ds shard") from None
        except ValueError:
            raise UserError(f"{path}: is not JSON: {_ADVICE}") from None
        if not isinstance(plain, dict) or plain.get("version") != VERSION:
            raise UserError(f"{path}: not of version {VERSION}, which this mere-ds reads: run mere-ds shard again")
        if set(plain) != {f.name for f in fields(cls)} - {"folder"}:
            raise UserError(f"{path}: its entries are not a manifest's: {_ADVICE}")
        for name, split in plain["splits"].items():
            plain["splits"][name] = Split(**{**split, "shards": [Shard(**shard) for shard in split["shards"]]})
        manifest = cls(**{**plain, "encoder": EncoderInfo.from_dict(plain["encoder"])}, folder=folder)
        for split in manifest.splits.values():
            for shard in split.shards:
                _check_shard(folder, shard)
        assert all(len(manifest.lengths(name)) == split.sentences for name, split in manifest.splits.items())
        return manifest

    def check_tokenizer(self, fingerprint: str) -> None:
        """Raises UserError unless the shards were made with the tokenizer of this fingerprint."""
        ours = self.encoder.fingerprint
        if fingerprint != ours:
            raise UserError(
                f"{self.folder}: made with another tokenizer ({self.encoder.source}, fingerprint {ours[:12]}) than the "
                f"encoder's ({fingerprint[:12]}): use that encoder, or run mere-ds shard again with this one"
            )

    def lengths(self, split: str) -> np.ndarray:
        """Tokens of each sentence of a split, in shard order; int16."""
        return self._index[f"{split}_lengths"]

    def language_ids(self, split: str) -> np.ndarray:
        """Language of each sentence of a split, in shard order; int16."""
        return self._index[f"{split}_languages"]

    @cached_property
    def _index(self) -> dict[str, np.ndarray]:
        content = read_verified(self.folder / INDEX, self.index_sha256)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)

    def shard_sizes(self, split: str) -> list[int]:
        """Sentences of each shard of a split."""
        return [shard.sentences for shard in self.splits[split].shards]


def save_index(folder: Path, sentences: Sentences, rows: dict[str, np.ndarray]) -> str:
    """Writes `index.npz` for splits whose shards hold these `rows` of `sentences`, in order; returns its sha256."""
    arrays = {}
    for name, chosen in rows.items():
        arrays |= {f"{name}_lengths": sentences.lengths[chosen], f"{name}_languages": sentences.languages[chosen]}
    return save_arrays(folder / INDEX, arrays)


def length_percentiles(lengths: np.ndarray) -> dict[str, int]:
    """p50, p90, p99 (lengths that occur) and max."""
    if not len(lengths):
        return {**{f"p{p}": 0 for p in _PERCENTILES}, "max": 0}
    values = np.percentile(lengths, _PERCENTILES, method="inverted_cdf")
    return {**{f"p{p}": int(v) for p, v in zip(_PERCENTILES, values, strict=True)}, "max": int(lengths.max())}


def _check_shard(folder: Path, shard: Shard) -> None:
    if not _SAFE_NAME.fullmatch(shard.file):
        raise UserError(f"{folder / MANIFEST}: {shard.file!r} is no plain file name: {_ADVICE}")
    path = folder / shard.file
    if not path.is_file():
        raise UserError(f"{path}: this shard is missing: {_ADVICE}")
    size = path.stat().st_size
    if size != shard.bytes:
        raise UserError(f"{path}: has {size} bytes instead of {shard.bytes}: {_ADVICE}")
