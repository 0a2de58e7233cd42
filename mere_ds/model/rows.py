"""Sentences as rows of tokens, one after another: nothing is computed of padding.

On a CPU oneDNN makes code for each new number of rows, which takes longer than the product itself. So there are few
numbers of rows, see `row_count`; the last rows are of no sentence.

Shape suffixes: B sentences, M tokens of a sentence (padded), R rows, D hidden size, E = 3 * D; of a group of sentences
G how many they are, W their rows each, K keys of a sentence, A heads, d size of a head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from mere_ds.model.splitting import split

ROWS_AT_ONCE = 1024
_COUNTS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640, 768, 896, ROWS_AT_ONCE)
_KEYS = 16
"""torch computes the exponentials of so many keys at once on a CPU, and those of the rest one by one: attention of 12
heads over 32 sentences took 7.5 ms with 44 tokens and 5 ms with 48."""
_GROUP_COST = 10
"""What a further call of attention in each layer costs, in rows that take as long."""


def row_count(rows: int) -> int:
    """The least number of rows that there are and that is not less."""
    return next((count for count in _COUNTS if count >= rows), -(-rows // ROWS_AT_ONCE) * ROWS_AT_ONCE)


@dataclass(frozen=True)
class Group:
    """Neighbouring sentences that have equally many rows."""

    first: int
    """The first of their rows."""
    count: int
    width: int
    keys: int
    """A multiple of `_KEYS`; those after a sentence's rows are of the rows that follow."""
    hidden_G11K: torch.Tensor | None
    """-inf for keys that aren't of the sentence, else 0; None if all are."""


class Rows:
    """Where the tokens of some sentences lie, of which there are `lengths_B`, in ascending order."""

    def __init__(self, lengths_B: np.ndarray, dtype: torch.dtype):
        B = len(lengths_B)
        self.groups, widths_B, end = [], np.empty_like(lengths_B), 0
        for its, width in groups_of(lengths_B.tolist()):
            self.groups.append(_group(lengths_B[its], width, end, dtype))
            widths_B[its] = width
            end += width * (its.stop - its.start)
        self.used, self.count = end, row_count(_needed(end, width))
        first_B = np.cumsum(widths_B) - widths_B
        sentence_R = np.repeat(np.arange(B), widths_B)
        self.first_B = torch.from_numpy(first_B)
        self.sentence_R = self._whole(sentence_R)
        self.place_R = self._whole(np.arange(end) - first_B[sentence_R])
        self.rows_BM = torch.from_numpy(first_B[:, None] + np.minimum(np.arange(lengths_B[-1]), widths_B[:, None] - 1))

    def _whole(self, index: np.ndarray) -> torch.Tensor:
        """With zeros for the last rows."""
        return torch.from_numpy(np.pad(index, (0, self.count - len(index))))

    def of(self, x_BM: torch.Tensor) -> torch.Tensor:
        """Each row's number, R."""
        return x_BM[self.sentence_R, self.place_R]

    def padded(self, x_RD: torch.Tensor) -> torch.Tensor:
        """The rows by sentence, B x M x D; what is behind a sentence's tokens means nothing."""
        return x_RD[self.rows_BM]

    def attended(self, qkv_RE: torch.Tensor, heads: int) -> torch.Tensor:
        """What each token sees of its sentence, R x D, from the queries, keys and values of all heads."""
        E = qkv_RE.shape[1]
        parts = []
        for g in self.groups:
            shape, strides = (g.count, g.keys, 3, heads, E // 3 // heads), (g.width * E, E, E // 3, E // 3 // heads, 1)
            of_group = qkv_RE.as_strided(shape, strides, qkv_RE.storage_offset() + g.first * E)
            q_GAKd, k_GAKd, v_GAKd = of_group.permute(2, 0, 3, 1, 4)
            seen = scaled_dot_product_attention(q_GAKd[:, :, : g.width], k_GAKd, v_GAKd, attn_mask=g.hidden_G11K)
            parts.append(seen.transpose(1, 2).reshape(-1, E // 3))
        return torch.cat((*parts, qkv_RE.new_zeros(len(qkv_RE) - self.used, E // 3)))


def groups_of(lengths: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """The sentences that get equally many rows, and how many, of sentences of ascending `lengths`."""
    for its in split(lengths, _GROUP_COST):
        yield its, lengths[its.stop - 1]


def chunks(lengths: Sequence[int], workers: int = 1) -> list[slice]:
    """Cuts sentences of ascending `lengths` into those that are computed together, as much for each of `workers`."""
    total = sum(lengths)
    rounds = -(-total // (workers * ROWS_AT_ONCE))
    most = min(ROWS_AT_ONCE, total // (workers * rounds) + lengths[-1])
    cut, start = [], 0
    while start < len(lengths):
        end, used = start + 1, lengths[start]
        while end < len(lengths) and used + lengths[end] <= most:
            used += lengths[end]
            end += 1
        while end > start + 1 and _rows_of(lengths[start:end]) > ROWS_AT_ONCE:
            end -= 1
        cut.append(slice(start, end))
        start = end
    return cut


def _rows_of(lengths: Sequence[int]) -> int:
    groups = [*groups_of(lengths)]
    return _needed(sum(width * (its.stop - its.start) for its, width in groups), groups[-1][1])


def _needed(used: int, width: int) -> int:
    """How many rows there must be, for the last sentence's keys too, which have `width` rows."""
    return used + -width % _KEYS


def _group(lengths_G: np.ndarray, width: int, first: int, dtype: torch.dtype) -> Group:
    keys = _needed(width, width)
    hidden_GK = torch.from_numpy(np.arange(keys) >= lengths_G[:, None])
    hidden_G11K = torch.zeros(hidden_GK.shape, dtype=dtype).masked_fill_(hidden_GK, -torch.inf)[:, None, None]
    return Group(first, len(lengths_G), width, keys, hidden_G11K if lengths_G[0] < keys else None)
