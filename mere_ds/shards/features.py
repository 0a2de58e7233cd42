"""What stage two starts from, on disk: the frozen encoder's and LA's view of every sentence, computed once.

A split lies in files of `BLOCK` consecutive sentences; a sentence is its pooled vector and then a vector a token, in 16
bits. Where each stands follows from the manifest's sentence lengths. A block ends with a seal, by which damage shows.

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, V vectors of a block or a sentence.
"""

import hashlib
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
_PIECE = 4096  # bytes that one number of a seal stands for
_SEAL_BYTES = 32
_ADVICE = "remove the folder, then the same command makes the features again"


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
    def total_bytes(self) -> int:
        """Of all blocks together."""
        return int(self._starts[-1]) * self.hidden_size * self.dtype.itemsize + self.blocks * _SEAL_BYTES

    def rows_of(self, block: int) -> np.ndarray:
        """The rows (sentences of the split) that a block holds."""
        return np.arange(block * BLOCK, min((block + 1) * BLOCK, len(self._vectors)))

    def has(self, block: int) -> bool:
        """Whether the block is there at its size; it is written whole or not at all."""
        try:
            return self._path(block).stat().st_size == self._bytes(block) + _SEAL_BYTES
        except OSError:
            return False

    def is_whole(self, block: int) -> bool:
        """Whether the block is there as it was written: all of it is read."""
        if not self.has(block):
            return False
        try:
            content = np.fromfile(self._path(block), np.uint8)
        except OSError:
            return False
        return content[-_SEAL_BYTES:].tobytes() == self._seal(block, content[:-_SEAL_BYTES])

    def is_spoilt(self, block: int) -> bool:
        """Whether a file is there that is not the block as it was written: damaged, or of a version without seals."""
        return self._path(block).exists() and not self.is_whole(block)

    def write(self, block: int, sentences: list[torch.Tensor]) -> None:
        """Put a block on disk: of each of its rows the pooled vector and the tokens' (V x D). Raises OSError."""
        vectors_VD = torch.cat(sentences).to(self.dtype)
        content = vectors_VD.view(torch.int16).numpy().reshape(-1).view(np.uint8)
        assert len(content) == self._bytes(block)
        with writing(self._path(block)) as file:
            file.write(content.data)
            file.write(self._seal(block, content))

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
            got = os.preadv(self._open(block).fileno(), [pooled_D.data, tokens_MD.data], offset)
        except OSError as error:
            raise MachineError(f"{self._path(block)}: {error.strerror}: {_ADVICE}") from error
        if got != pooled_D.nbytes + tokens_MD.nbytes:
            raise MachineError(f"{self._path(block)} is cut: {_ADVICE}")

    def _bytes(self, block: int) -> int:
        """Of a block without its seal."""
        rows = self.rows_of(block)
        vectors = int(self._starts[rows[-1] + 1] - self._starts[rows[0]])
        return vectors * self.hidden_size * self.dtype.itemsize

    def _seal(self, block: int, content: np.ndarray) -> bytes:
        """A sha256 of the sums of the content's pieces, as 64-bit numbers.

        Flipped bits, zeros or other vectors change a sum, and adding up is ten times as fast as digesting everything.
        """
        pieces, rest = np.split(content, [len(content) // _PIECE * _PIECE])
        sums = pieces.view(np.uint64).reshape(-1, _PIECE // 8).sum(axis=1, dtype=np.uint64)
        digest = hashlib.sha256(f"{self.split} {block} {self.dtype} {self.hidden_size}".encode())
        digest.update(sums.tobytes())
        digest.update(rest.tobytes())
        return digest.digest()

    def _path(self, block: int) -> Path:
        return self.folder / f"{self.split}-{block:06d}.features"
