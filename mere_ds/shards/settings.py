"""What shards are made from besides a corpus' files, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mere_ds.corpus.folder import Corpus, open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.encoders.sources import TinySize, most_bytes
from mere_ds.errors import UserError

MOST_DEV_SHARE = 0.5
"""Maximum share of a language's training sentences that can become dev."""

MOST_SEED = 2**63 - 1  # what torch takes
_DISK_FACTOR = 4  # what is written for sentences, spill included, in sizes of the corpus files


@dataclass(frozen=True)
class ShardSettings:
    """Raises UserError for values out of bounds.

    `languages`, `english`, `cut_marks`, `triples`, `negative_labels`, `options`, `label_map` as in
    `mere_ds.corpus.folder.open_corpus`; `encoder`, `prune_vocabulary` and `tiny` as in
    `mere_ds.encoders.sources.build_encoder`.
    """

    encoder: str = "bert-base-multilingual-cased"
    languages: str | Sequence[str] = "all"
    english: str = "auto"
    cut_marks: str = "repair"
    max_length: int = 256
    """Bounds a sentence in tokens."""
    seed: int = 0
    prune_vocabulary: bool = False
    parallel_ids: bool = False
    """Whether rows with the same id (see `shared_id`) are translations, which stay together."""
    dev_share: float | None = None
    triples: str = "auto"
    negative_labels: Sequence[str] = ()
    options: SourceOptions = SourceOptions()  # noqa: RUF009 (frozen)
    tiny: TinySize = TinySize()  # noqa: RUF009 (frozen)
    sentences_per_shard: int = 8192
    sentences_per_member: int = 4096
    label_map: str | Path | None = None
    drop_leaks: bool = False
    """Whether sentences of training and dev are taken out whose text (see `repeats.fold`) is in test."""
    windows: bool = False
    """Whether a training sentence of more than `max_length` tokens becomes several, see `mere_ds.shards.windows`, and
    isn't cut off; sentences of dev and test always are."""

    def __post_init__(self) -> None:
        if min(self.sentences_per_shard, self.sentences_per_member) < 1:
            raise UserError("sentences_per_shard and sentences_per_member must be greater than 0")
        if not 0 <= self.seed <= MOST_SEED:
            raise UserError(f"--seed={self.seed}: must be from 0 to {MOST_SEED}")

    def open(self, source: str | Path) -> Corpus:
        """The corpus. Raises UserError for one that can't be sharded, or not so."""
        corpus = open_corpus(
            source,
            self.languages,
            self.english,
            self.cut_marks,
            self.triples,
            self.negative_labels,
            self.options,
            self.label_map,
        )
        share = self.dev_share
        if share is not None and not 0 < share <= MOST_DEV_SHARE:
            raise UserError(f"--dev_share={share}: must be greater than 0 and at most {MOST_DEV_SHARE}")
        if not corpus.has("train"):
            raise UserError(
                f"{corpus.folder}: contains no training file: add files for training, or pass --split=train"
            )
        if corpus.has("dev") and share is not None:
            raise UserError(f"--dev_share={share}: {corpus.folder} contains dev files, so dev isn't drawn: omit it")
        if self.windows and corpus.triples == "one":
            raise UserError("--windows is for many triples a sentence: omit it, or pass --triples=many")
        return corpus

    def most_bytes(self, corpus: Corpus) -> int:
        """Approximate upper bound of what is written."""
        return _DISK_FACTOR * corpus.bytes + most_bytes(self.encoder, self.tiny)
