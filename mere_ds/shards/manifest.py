"""The manifest of a shards folder: its content, where it came from, and the digests to verify it.

`manifest.json` describes the folder; `index.npz` counts the sentences of each shard by language and those of each
language by length, from which the batch plan is made, and beside each shard its sentences' lengths and languages are.
"""

from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from mere_ds.encoders.info import EncoderInfo
from mere_ds.errors import UserError
from mere_ds.files import digest_of, write_whole
from mere_ds.shards.arrays import read_columns, read_index
from mere_ds.shards.entries import SPLITS, fault_in, unseen_labels
from mere_ds.shards.index import INDEX, SplitIndex
from mere_ds.shards.packing import ADVICE, Sentences, Shard, ShardSource, StoredFile
from mere_ds.shards.remote import CACHE_GIB, open_source
from mere_ds.shards.sealing import seal, unseal

MANIFEST, ENCODER, REJECTS = "manifest.json", "encoder", "rejects.jsonl"

_PERCENTILES = (50, 90, 99)
_SHOWN = 8
"""Maximum number of languages or labels listed in a message."""
_IF_ANY = ("label_map", "dropped_leaks", "windows", "read_as")
_NOT_STORED = ("source", "sha256", "stored_languages")


@dataclass
class Split:
    """One split; counts by language omit languages with a count of 0."""

    sentences: int
    tokens: int
    shards: list[Shard]
    lengths: dict[str, int]
    """Percentiles of the sentences' token lengths: p50, p90, p99, max; all 0 in an empty split."""
    counts: dict[str, dict[str, int]]
    """Triples by language and label."""
    truncated: dict[str, int]
    """By language: sentences that were cut off at `max_length`."""
    unaligned: dict[str, int]
    """By language: sentences with a gold mark inside a token, whose entities are not whole tokens."""
    cut_spans: dict[str, int]
    """By language: sentences of test and dev files without a position for a head or tail, which always count as
    misses."""
    by_language: dict[str, int] = field(default_factory=dict)
    """Sentences by language; derived from `counts` for shards of older versions, which lack it."""
    by_triples: dict[str, dict[str, int]] = field(default_factory=dict)
    """With many triples, by language: how many sentences have "0", "1", ... triples."""

    def __post_init__(self) -> None:
        if not self.by_language:  # a triple each
            self.by_language = {language: sum(labels.values()) for language, labels in self.counts.items()}


@dataclass
class Manifest:
    """Description of a shards folder. Load it with `Manifest.load`; `source` then reads the folder's files.

    Entries with a default may be missing in the file: older shards lack them.
    """

    languages: list[str]
    labels: list[str]
    """All labels of all splits, sorted."""
    label_mask: list[list[int]]
    """languages x labels; 1 if the label occurs in the language's training files (including dev). A language without
    training sentences may have every label."""
    splits: dict[str, Split]
    """train, dev and test, any of which may be empty."""
    files: list[dict]
    """What became of each corpus file's rows, by language: `mere_ds.corpus.rows.FileCounts.as_dict`."""
    missed_test: dict[str, int]
    """By language: test sentences that were rejected, to be counted as misses."""
    unseen_labels: dict[str, int]
    """Labels that occur in test but not in training, with their number of test triples."""
    encoder: EncoderInfo
    """Describes `encoder/` in the folder; its fingerprint is that of the tokenizer, including language symbols."""
    pad_id: int
    max_length: int
    cut_marks: str
    seed: int
    index_sha256: str
    index_bytes: int
    encoder_files: list[StoredFile]
    """The files of `encoder/`, because a server can't list a folder."""
    repeats: dict = field(default_factory=dict)
    """Rows that share a text, in all languages of the folder: `mere_ds.corpus.repeats.ReadRows.repeats`."""
    dev_share: float | None = None
    """The requested share of training for dev, if any."""
    cuts: bool = False
    """Whether the shards contain `Sentences.cuts`."""
    triples: str = "one"
    """"one": each sentence has exactly one triple; "many": each has any number."""
    negative_labels: list[str] = field(default_factory=list)
    """Labels of the corpus that mean "no triple", with many triples only; they are not in `labels`."""
    label_map: dict = field(default_factory=dict)
    """{"sha256", "labels": {label of the corpus: label here, "" where it is dropped}}, if the corpus was read so."""
    dropped_leaks: dict[str, dict[str, int]] | None = None
    """Sentences of the "train" and "dev" files by language that are in no split because test has their text; None if
    they were not looked for."""
    windows: dict[str, dict[str, int]] | None = None
    """Where training sentences were divided into windows, by language: how many "sentences" were, the number of
    "windows", and the "repeated_triples" that are in more than one of them; None without --windows."""
    read_as: dict = field(default_factory=dict)
    """Of another tool's corpus, its "format" and the other options that it was read with, see
    `mere_ds.corpus.formats.options.SourceOptions`."""
    source: ShardSource = field(compare=False, kw_only=True)
    """Not stored."""
    sha256: str = field(default="", compare=False)
    """Digest of `manifest.json` as loaded, which identifies all data. Not stored."""
    stored_languages: list[str] = field(default_factory=list, compare=False)
    """The languages that the numbers in the files refer to; in a view (see `only`) not the same as `languages`. Not
    stored."""

    def __post_init__(self) -> None:
        self.stored_languages = self.stored_languages or self.languages

    def save(self, folder: Path) -> None:
        """Writes `manifest.json`: equal manifests give equal bytes."""
        plain = {**asdict(self), "encoder": self.encoder.as_dict()}
        for name in (*_NOT_STORED, *(name for name in _IF_ANY if not plain[name])):
            del plain[name]
        for split in plain["splits"].values() if self.triples == "one" else []:
            del split["by_triples"]
        write_whole(folder / MANIFEST, seal(plain))

    @classmethod
    def load(cls, place: str | Path, cache: str | Path | None = None, cache_gib: float = CACHE_GIB) -> "Manifest":
        """Reads the manifest of a shards folder; if it is local, checks that all files exist with the right sizes.

        `place`, `cache` and `cache_gib` as in `mere_ds.shards.remote.open_source`. Shards' digests are checked when
        they are read. Raises UserError that names the file and what to do, MachineError if a server can't be reached.
        """
        source = open_source(place, cache, cache_gib)
        content, path = source.read_manifest(MANIFEST), source.path(MANIFEST)
        plain = unseal(content, path)
        stored = {f.name: f for f in fields(cls) if f.name not in _NOT_STORED}
        required = {name for name, f in stored.items() if f.default is MISSING and f.default_factory is MISSING}
        if not required <= set(plain) <= set(stored):
            raise UserError(f"{path}: its entries are not those of a manifest: {ADVICE}")
        if fault := fault_in(plain):
            raise UserError(f"{path}: {fault}: {ADVICE}")
        plain["encoder_files"] = [StoredFile(**file) for file in plain["encoder_files"]]
        for name, split in plain["splits"].items():
            plain["splits"][name] = Split(**{**split, "shards": list(map(_shard, split["shards"]))})
        plain["encoder"] = EncoderInfo.from_dict(plain["encoder"])
        manifest = cls(**plain, source=source, sha256=digest_of(content))
        for split in manifest.splits.values():
            for shard in split.shards:
                for file in (shard, shard.index) if shard.index else (shard,):
                    source.check(file)
        manifest._check_index()
        return manifest

    def check_tokenizer(self, fingerprint: str) -> None:
        """Raises UserError unless the shards were made with the tokenizer of this fingerprint."""
        if fingerprint != self.encoder.fingerprint:
            raise UserError(
                f"{self.source}: made with another tokenizer (encoder {self.encoder.source}, languages "
                f"{', '.join(self.stored_languages)}): use shards and encoder that belong together, or run mere-ds "
                "shard again"
            )

    def differences(self, languages: Sequence[str], labels: Sequence[str], others_too: bool = False) -> str | None:
        """How languages and labels differ from a model's, in words; None if they are the same.

        With `others_too` there may be additional languages, in any order.
        """
        found = [_difference("languages", self.languages, languages, others_too)]
        found.append(_difference("labels", self.labels, labels))
        return "; ".join(filter(None, found)) or None

    def only(self, languages: Sequence[str]) -> "Manifest":
        """A view of the shards with only these languages, in this order; labels and digest stay the same.

        Rows of a split are renumbered, and shards without a sentence in these languages are omitted. Raises UserError
        for a language that the shards don't have.
        """
        if absent := [language for language in languages if language not in self.languages]:
            raise UserError(f"{self.source}: contains no {', '.join(absent)}, only {', '.join(self.languages)}")
        if list(languages) == self.languages:
            return self
        splits = {name: self._only(name, languages) for name in self.splits}
        return replace(
            self,
            languages=list(languages),
            label_mask=[self.label_mask[self.languages.index(language)] for language in languages],
            splits=splits,
            files=[file for file in self.files if file["language"] in (*languages, "")],
            missed_test=_of(languages, self.missed_test),
            unseen_labels=unseen_labels({name: split.counts for name, split in splits.items()}),
            windows=self.windows and {name: _of(languages, counts) for name, counts in self.windows.items()},
        )

    def _only(self, name: str, languages: Sequence[str]) -> Split:
        split, index = self.splits[name], self.index_of(name)
        chosen = [self.languages.index(language) for language in languages]
        left, counts_L = index.counts_HU[:, chosen].sum(axis=1), index.lengths_UL[chosen].sum(axis=0)
        by_language = ("counts", "truncated", "unaligned", "cut_spans", "by_language", "by_triples")
        return Split(
            sentences=int(counts_L.sum()),
            tokens=int(counts_L @ np.arange(len(counts_L))),
            shards=[replace(shard, sentences=int(n)) for shard, n in zip(split.shards, left, strict=True) if n],
            lengths=percentiles(counts_L),
            **{what: _of(languages, getattr(split, what)) for what in by_language},
        )

    def chosen(self, sentences: Sentences) -> Sentences:
        """The sentences of a shard that are in this manifest's languages, with this manifest's language numbers."""
        if self.languages == self.stored_languages:
            return sentences
        numbers = self._numbers[sentences.languages]
        kept = np.flatnonzero(numbers >= 0)
        return replace(sentences.take(kept), languages=numbers[kept])

    @cached_property
    def _numbers(self) -> np.ndarray:
        """int16; this manifest's number of each stored language, -1 for other languages."""
        number = {language: i for i, language in enumerate(self.languages)}
        return np.array([number.get(language, -1) for language in self.stored_languages], np.int16)

    @property
    def index(self) -> StoredFile:
        """Size and digest of `index.npz`."""
        return StoredFile(INDEX, self.index_bytes, self.index_sha256)

    @cached_property
    def encoder_folder(self) -> Path:
        """The local folder of encoder and tokenizer. Raises UserError and MachineError like `load`."""
        return self.source.folder_of(ENCODER, self.encoder_files)

    def lengths(self, split: str) -> np.ndarray:
        """Tokens of each sentence of a split, in shard order; int16. Reads the index of every shard."""
        return self.index_of(split).columns[0]

    def language_ids(self, split: str) -> np.ndarray:
        """Language of each sentence of a split, in shard order; int16. Reads the index of every shard."""
        return self.index_of(split).columns[1]

    def index_of(self, split: str) -> SplitIndex:
        """The index of a split, for its batch plan."""
        return self._indices[split]

    def _check_index(self) -> None:
        """Raises UserError unless the index matches the splits' counts."""
        for name, split in self.splits.items():
            index = self.index_of(name)
            counted, counts_L = index.counts_HU.sum(axis=0).tolist(), index.counts_L
            found = int(counts_L @ np.arange(len(counts_L))), len(counts_L) - 1, counted, index.sizes_H.tolist()
            by_language = [split.by_language.get(language, 0) for language in self.languages]
            if found != (split.tokens, split.lengths["max"], by_language, self.shard_sizes(name)):
                raise UserError(f"{self.source.path(INDEX)}: its {name} sentences do not match the manifest: {ADVICE}")

    @cached_property
    def _indices(self) -> dict[str, SplitIndex]:
        path, kinds = self.source.path(INDEX), len(self.stored_languages)
        arrays = read_index(self.source.read(self.index), path, SPLITS, kinds)
        by_shard = f"{SPLITS[0]}_counts" in arrays
        if any(bool(shard.index) != by_shard for split in self.splits.values() for shard in split.shards):
            raise UserError(f"{path}: not of the same version as the manifest: {ADVICE}")
        return {name: (self._by_shard if by_shard else self._whole)(name, arrays) for name in SPLITS}

    def _by_shard(self, split: str, arrays: dict[str, np.ndarray]) -> SplitIndex:
        order = [self.stored_languages.index(language) for language in self.languages]
        counts_HU = arrays[f"{split}_counts"][:, order]
        counts_HU = counts_HU[counts_HU.any(axis=1)]  # a view has no shards without a sentence of its languages
        return SplitIndex(counts_HU, arrays[f"{split}_lengths"][order], partial(self._columns_of, split))

    def _whole(self, split: str, arrays: dict[str, np.ndarray]) -> SplitIndex:
        """Of an `index.npz` with all sentences."""
        numbers = self._numbers[arrays[f"{split}_languages"]]
        kept, sizes = numbers >= 0, self.shard_sizes(split)
        if np.count_nonzero(kept) != sum(sizes):
            raise UserError(f"{self.source.path(INDEX)}: its {split} sentences do not match the manifest: {ADVICE}")
        lengths = arrays[f"{split}_lengths"][kept]
        return SplitIndex.of(lengths, numbers[kept], sizes, len(self.languages), drawn_by_shard=False)

    def _columns_of(self, split: str, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """Lengths and languages of a shard's sentences, which match the counts."""
        file, index = self.splits[split].shards[shard].index, self.index_of(split)
        assert file, "older shards have one index for all"
        path = self.source.path(file.file)
        lengths, languages = read_columns(self.source.read(file), path, len(self.stored_languages))
        numbers = self._numbers[languages]
        kept = numbers >= 0
        lengths, numbers = lengths[kept], numbers[kept]
        counts_U = np.bincount(numbers, minlength=len(self.languages))
        if not np.array_equal(counts_U, index.counts_HU[shard]) or lengths.max() >= index.lengths_UL.shape[1]:
            raise UserError(f"{path}: its sentences do not match {INDEX}: {ADVICE}")
        return lengths, numbers

    def shard_sizes(self, split: str) -> list[int]:
        """Sentences of each shard of a split."""
        return [shard.sentences for shard in self.splits[split].shards]


def _shard(plain: dict) -> Shard:
    return Shard(**{**plain, "index": StoredFile(**plain["index"]) if "index" in plain else None})


def percentiles(counts: np.ndarray) -> dict[str, int]:
    """p50, p90, p99 (numbers that occur) and max, where `counts` says how often each number from 0 on occurs."""
    reached = np.cumsum(counts)
    total = int(reached[-1]) if len(reached) else 0
    found = [int(np.searchsorted(reached, max(1, -(-p * total // 100)))) if total else 0 for p in _PERCENTILES]
    most = int(np.flatnonzero(counts).max(initial=0))
    return {**{f"p{p}": number for p, number in zip(_PERCENTILES, found, strict=True)}, "max": most}


def _difference(what: str, here: Sequence[str], there: Sequence[str], others_too: bool = False) -> str | None:
    lacking = [name for name in there if name not in here]
    besides = [name for name in here if name not in there and not others_too]
    parts = [f"lacks the {what} {shortened(lacking)}"] if lacking else []
    parts += [f"has additional {what} {shortened(besides)}"] if besides else []
    if not parts and not others_too and list(here) != list(there):
        parts = [f"has the {what} in another order"]
    return " and ".join(parts) or None


def shortened(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _of(languages: Sequence[str], by_language: dict) -> dict:
    return {language: by_language[language] for language in languages if language in by_language}
