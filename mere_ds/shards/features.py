"""What stage two starts from, on disk: the frozen encoder's and LA's view of every sentence, computed once.

A split lies in files of `BLOCK` consecutive sentences; a sentence is its pooled vector and then a vector a token, in 16
bits. Where each stands follows from the manifest's sentence lengths.

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, V vectors of a block or a sentence.
"""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from mere_ds.errors import MachineError
from mere_ds.files import writing
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import FILLER

BLOCK = 1024
_OPEN_FILES = 256  # more blocks than a window of the plan touches, fewer than a process may open
_ADVICE = "remove the folder, then the same command makes the features anew"


class FeatureStore:
    """The features of one split in `folder`, of `hidden_size` numbers a vector and a 16-bit `dtype`."""

    def __init__(self, folder: Path, manifest: Manifest, split: str, hidden_size: int, dtype: torch.dtype):
        assert dtype in (torch.float16, torch.bfloat16)
        self.folder, self.split, self.hidden_size, self.dtype = folder, split, hidden_size, dtype
        self._vectors = 1 + manifest.lengths(split).astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._vectors)])
        self.blocks = -(-len(self._vectors) // BLOCK)
        self._open = lru_cache(_OPEN_FILES)(lambda block: self._path(block).open("rb", buffering=0))

    @property
    def bytes(self) -> int:
        """Of all blocks together."""
        return int(self._starts[-1]) * self.hidden_size * self.dtype.itemsize

    def rows_of(self, block: int) -> np.ndarray:
        """The rows (sentences of the split) that a block holds."""
        return np.arange(block * BLOCK, min((block + 1) * BLOCK, len(self._vectors)))

    def has(self, block: int) -> bool:
        """Whether the block is there; it is written whole or not at all."""
        try:
            return self._path(block).stat().st_size == self._shape(block)[0] * self.hidden_size * self.dtype.itemsize
        except OSError:
            return False

    def write(self, block: int, sentences: list[torch.Tensor]) -> None:
        """Put a block on disk: of each of its rows the pooled vector and the tokens' (V x D). Raises OSError."""
        vectors_VD = torch.cat(sentences).to(self.dtype)
        assert vectors_VD.shape == self._shape(block)
        with writing(self._path(block)) as file:
            file.write(vectors_VD.view(torch.int16).numpy().data)

    def read(self, rows_B: np.ndarray, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Unified representation (B x `width` x D, 0 on padding) and pooled vectors (B x D); fillers are 0.

        Raises MachineError where a file is gone or cut.
        """
        unified_BMD = torch.zeros(len(rows_B), width, self.hidden_size, dtype=self.dtype)
        pooled_BD = torch.zeros(len(rows_B), self.hidden_size, dtype=self.dtype)
        bits_BD, bits_BMD = (x.view(torch.int16).numpy() for x in (pooled_BD, unified_BMD))
        for row, pooled_D, unified_MD in zip(rows_B.tolist(), bits_BD, bits_BMD, strict=True):
            if row != FILLER:
                self._read(row, pooled_D, unified_MD[: self._vectors[row] - 1])
        return unified_BMD, pooled_BD

    def _read(self, row: int, pooled_D: np.ndarray, tokens_MD: np.ndarray) -> None:
        """Read rather than mapped: pages of a map would count as this process' memory."""
        block = row // BLOCK
        offset = int(self._starts[row] - self._starts[block * BLOCK]) * pooled_D.nbytes
        try:
            got = os.preadv(self._open(block).fileno(), [pooled_D, tokens_MD], offset)
        except OSError as error:
            raise MachineError(f"{self._path(block)}: {error.strerror}: {_ADVICE}") from error
        if got != pooled_D.nbytes + tokens_MD.nbytes:
            raise MachineError(f"{self._path(block)} is cut: {_ADVICE}")

    def _shape(self, block: int) -> tuple[int, int]:
        rows = self.rows_of(block)
        return int(self._starts[rows[-1] + 1] - self._starts[rows[0]]), self.hidden_size

    def _path(self, block: int) -> Path:
        return self.folder / f"{self.split}-{block:06d}.features"
