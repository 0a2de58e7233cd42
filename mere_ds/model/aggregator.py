"""Equation 4: the language-universal aggregator (LA).

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, s concatenated sentences,
C = B / s concatenations, L = s * M tokens of a concatenation, R tokens as rows.
"""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from mere_ds.model.rows import Rows


class Aggregator(nn.Module):
    """One head of self-attention over the concatenated tokens of s sentences, epsilon = D, no biases.

    `residual` adds a residual connection and LayerNorm as in the Transformer; without it, this is eq. 4 as printed.
    """

    def __init__(self, hidden_size: int, residual: bool):
        super().__init__()
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.norm = nn.LayerNorm(hidden_size) if residual else None

    def forward(self, h_BMD: torch.Tensor, mask_BM: torch.Tensor, s: int) -> torch.Tensor:
        """The unified representation, B x M x D.

        Each group of s neighbours in the batch attends to each other, never to padding (`mask_BM` false); the outputs
        at padding positions are finite but meaningless.
        """
        B, M, D = h_BMD.shape
        assert B % s == 0, f"{B} sentences can't be concatenated by {s}"
        h_C1LD = h_BMD.reshape(B // s, 1, s * M, D)
        q_C1LD, k_C1LD, v_C1LD = self.qkv(h_C1LD).chunk(3, dim=-1)
        seen_C11L = mask_BM.reshape(B // s, 1, 1, s * M)
        a_C1LD = scaled_dot_product_attention(q_C1LD, k_C1LD, v_C1LD, attn_mask=seen_C11L)  # scale 1/sqrt(D)
        return self._normal(h_BMD, a_C1LD.reshape(B, M, D))

    def of_rows(self, h_RD: torch.Tensor, rows: Rows) -> torch.Tensor:
        """The same, R x D, of tokens as rows, each sentence by itself."""
        return self._normal(h_RD, rows.attended(self.qkv(h_RD), heads=1))

    def _normal(self, h: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return a if self.norm is None else self.norm(h + a)
