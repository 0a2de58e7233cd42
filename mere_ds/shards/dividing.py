"""Which rows of a corpus become training, dev and test; what that needs to know of all rows is read once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mere_ds.corpus.example import Example
from mere_ds.corpus.folder import Corpus
from mere_ds.corpus.graphemes import compose
from mere_ds.corpus.repeats import ReadRows
from mere_ds.encoders.tiny import SENTENCES, sample
from mere_ds.errors import UserError
from mere_ds.shards.splitting import draw_dev


@dataclass(frozen=True)
class Division:
    """Of a corpus; `dev_share` and `drop_leaks` as in `shard_corpus`. Raises UserError if no training is left."""

    corpus: Corpus
    rows: ReadRows
    """What was read of it; no row at first."""
    seed: int
    dev_share: float | None
    drop_leaks: bool

    def training_texts(self) -> list[str]:
        """The training texts without dev and leaks, or a sample of them. Reads all rows."""

        def numbered() -> Iterator[tuple[int, str]]:
            for example, split in self._read():
                if split == "train":
                    yield len(self.rows) - 1, compose(example.text)[0]

        drawn = sample(numbered(), SENTENCES, self.seed)
        leaks, dev = self.held_out()
        return [text for row, text in drawn if not (leaks | dev)[row]]

    def divisible(self) -> np.ndarray:
        """bool [n]: the rows that are training in the shards, which may be divided into windows. What was drawn for dev
        isn't, so that its scores are of whole sentences, as in test. Reads all rows, unless that was done."""
        if not len(self.rows):
            for _ in self._read():
                pass
        leaks, dev = self.held_out()
        return self.rows.is_of("train") & ~leaks & ~dev

    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """bool [n] each: the rows that are left out because test has their text, and those that are dev."""
        leaks = self._leaks()
        if self.corpus.has("dev"):
            return leaks, self.rows.is_of("dev") & ~leaks
        return leaks, draw_dev(self.rows, self.seed, self.dev_share, leaks)

    def _read(self) -> Iterator[tuple[Example, str]]:
        """All examples with the splits of their files; they are added to `rows`."""
        for file in self.corpus.files:
            for example in self.corpus.read(file):
                self.rows.add(example, file.split)
                yield example, file.split

    def _leaks(self) -> np.ndarray:
        if not self.drop_leaks:
            return np.zeros(len(self.rows), bool)
        leaks, is_train = self.rows.leaks(), self.rows.is_of("train")
        if is_train.any() and leaks[is_train].all():
            raise UserError("--drop_leaks leaves no training sentence: omit it, or use other test files")
        return leaks
