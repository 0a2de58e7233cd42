"""Equation 4: the language-universal aggregator (LA).

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, s concatenated sentences,
C = B / s concatenations, L = s * M tokens of a concatenation.
"""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


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
        a_BMD = a_C1LD.reshape(B, M, D)
        return a_BMD if self.norm is None else self.norm(h_BMD + a_BMD)
