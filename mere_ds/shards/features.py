"""Stage two's input on disk: the outputs of the frozen encoder and LA for every sentence, computed once.

A split is stored in files of `BLOCK` consecutive sentences; a sentence is its pooled vector followed by one vector per
token, in 16 bits. Offsets in a block follow from its sentences' lengths, which are read with the shards' indices when
the block is used: memory doesn't grow with the split. A block ends with a seal that reveals damage.

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
_OPEN_FILES = 256  # more blocks than a window of the plan uses, fewer than a process may open
_KNOWN_BLOCKS = 4096  # whose offsets are in memory, 8 KiB each: as many as a window of 4 million sentences has
_KNOWN_SHARDS = 8  # whose lengths are
_PIECE = 4096  # bytes per sum in a seal
_SEAL_BYTES = 32
_ADVICE = "remove the folder, then run the same command again to recompute the features"


class FeatureStore:
    """The features of one split in `folder`, with `hidden_size` numbers per vector in a 16-bit `dtype`."""

    def __init__(self, folder: Path, manifest: Manifest, split: str, hidden_size: int, dtype: torch.dtype):
        assert dtype in (torch.float16, torch.bfloat16)
        self.folder, self.split, self.hidden_size, self.dtype = folder, split, hidden_size, dtype
        described, index = manifest.splits[split], manifest.index_of(split)
        self._sentences, self._tokens = described.sentences, described.tokens
        self._shard_starts = np.concatenate([[0], np.cumsum(manifest.shard_sizes(split), dtype=np.int64)])
        self.blocks = -(-self._sentences // BLOCK)
        self._lengths_of = lru_cache(_KNOWN_SHARDS)(lambda shard: index.columns_of(shard)[0])
        self._starts_of = lru_cache(_KNOWN_BLOCKS)(self._find_starts)
        self._open = lru_cache(_OPEN_FILES)(lambda block: self._path(block).open("rb", buffering=0))

    @property
    def total_bytes(self) -> int:
        """Size of all blocks together."""
        return self._size_of(self._sentences + self._tokens) + self.blocks * _SEAL_BYTES

    def rows_of(self, block: int) -> np.ndarray:
        """The rows (sentences of the split) that a block holds."""
        return np.arange(block * BLOCK, min((block + 1) * BLOCK, self._sentences))

    def is_there(self, block: int) -> bool:
        """Whether the block's file exists; it is written atomically."""
        return self._path(block).exists()

    def has(self, block: int) -> bool:
        """Whether the block's file exists with the right size."""
        try:
            return self._path(block).stat().st_size == self._bytes(block) + _SEAL_BYTES
        except OSError:
            return False

    def is_whole(self, block: int) -> bool:
        """Whether the block is exactly as it was written; reads all of it."""
        if not self.has(block):
            return False
        try:
            content = np.fromfile(self._path(block), np.uint8)
        except OSError:
            return False
        return content[-_SEAL_BYTES:].tobytes() == self._seal(block, content[:-_SEAL_BYTES])

    def is_spoilt(self, block: int) -> bool:
        """Whether the block's file exists but is damaged, or was written by a version without seals."""
        return self.is_there(block) and not self.is_whole(block)

    def write(self, block: int, sentences: list[torch.Tensor]) -> None:
        """Write a block: for each of its rows the pooled vector and the tokens' vectors (V x D). Raises OSError."""
        vectors_VD = torch.cat(sentences).to(self.dtype)
        content = vectors_VD.view(torch.int16).numpy().reshape(-1).view(np.uint8)
        assert len(content) == self._bytes(block)
        with writing(self._path(block)) as file:
            file.write(content.data)
            file.write(self._seal(block, content))

    def read(self, rows_B: np.ndarray, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Unified representation (B x `width` x D, 0 on padding) and pooled vectors (B x D); fillers are 0.

        Raises MachineError if a file is missing or truncated.
        """
        unified_BMD = torch.zeros(len(rows_B), width, self.hidden_size, dtype=self.dtype)
        pooled_BD = torch.zeros(len(rows_B), self.hidden_size, dtype=self.dtype)
        bits_BD, bits_BMD = (x.view(torch.int16).numpy() for x in (pooled_BD, unified_BMD))
        for row, pooled_D, unified_MD in zip(rows_B.tolist(), bits_BD, bits_BMD, strict=True):
            if row != FILLER:
                self._read(row, pooled_D, unified_MD)
        return unified_BMD, pooled_BD

    def _read(self, row: int, pooled_D: np.ndarray, unified_MD: np.ndarray) -> None:
        """Reads one sentence. The file is not mapped, because mapped pages would count as this process' memory."""
        block, place = divmod(row, BLOCK)
        start, end = self._starts_of(block)[place : place + 2].tolist()
        tokens_MD, offset = unified_MD[: end - start - 1], start * pooled_D.nbytes
        try:
            got = os.preadv(self._open(block).fileno(), [pooled_D.data, tokens_MD.data], offset)
        except OSError as error:
            raise MachineError(f"{self._path(block)}: {error.strerror}: {_ADVICE}") from error
        if got != pooled_D.nbytes + tokens_MD.nbytes:
            raise MachineError(f"{self._path(block)}: truncated: {_ADVICE}")

    def _bytes(self, block: int) -> int:
        """Size of a block without its seal."""
        return self._size_of(int(self._starts_of(block)[-1]))

    def _size_of(self, vectors: int) -> int:
        return vectors * self.hidden_size * self.dtype.itemsize

    def _find_starts(self, block: int) -> np.ndarray:
        """int64; the first vector of each of a block's sentences, and the end of the last one."""
        rows = self.rows_of(block)
        first, last = (np.searchsorted(self._shard_starts, rows[[0, -1]], side="right") - 1).tolist()
        lengths = np.concatenate([self._lengths_of(shard) for shard in range(first, last + 1)])
        vectors = 1 + lengths[rows - self._shard_starts[first]].astype(np.int64)
        return np.concatenate([[0], np.cumsum(vectors)])

    def _seal(self, block: int, content: np.ndarray) -> bytes:
        """A sha256 of the 64-bit sums of the content's pieces.

        Flipped bits, zeros or other vectors change a sum, and summing is ten times as fast as hashing everything.
        """
        pieces, rest = np.split(content, [len(content) // _PIECE * _PIECE])
        sums = pieces.view(np.uint64).reshape(-1, _PIECE // 8).sum(axis=1, dtype=np.uint64)
        digest = hashlib.sha256(f"{self.split} {block} {self.dtype} {self.hidden_size}".encode())
        digest.update(sums.tobytes())
        digest.update(rest.tobytes())
        return digest.digest()

    def _path(self, block: int) -> Path:
        return self.folder / f"{self.split}-{block:06d}.features"
