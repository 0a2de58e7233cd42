"""Heads for the entities' starts and ends: given the relation (equation 9), from the token alone, or within a token.

Shape suffixes: B sentences, T triples of these, M tokens of a sentence (padded), D hidden size, U relation labels,
4 positions y in the order hs, he, ts, te, C counts of characters.
"""

import torch
from torch import nn
from torch.nn.functional import embedding

from mere_ds.fused.position_logits import position_logits
from mere_ds.model.limits import MASKED
from mere_ds.model.precision import at_least_fp32

FIRST_WORD = 2
"""Position of a sentence's first word token: `[CLS]` and the language symbol come before."""


def word_tokens(mask_BM: torch.Tensor) -> torch.Tensor:
    """True on tokens that can be in an entity: not `[CLS]`, the language symbol, `[SEP]` (the last one) or padding."""
    index_M = torch.arange(mask_BM.shape[1], device=mask_BM.device)
    return (index_M >= FIRST_WORD) & (index_M < mask_BM.sum(dim=1, keepdim=True) - 1)


class EntityHeads(nn.Module):
    """tanh((h + r_e) W_y) U_y, where + is concatenation, for the four y at once.

    (h + r_e) W_y is computed as h W_y[:D] + r_e W_y[D:]: the relation's half once per relation, not once per token.
    """

    def __init__(self, labels: int, hidden_size: int):
        super().__init__()
        self.relations = nn.Embedding(labels, hidden_size)  # E_r
        self.token_half = nn.Linear(hidden_size, 4 * hidden_size, bias=False)  # W_y[:D], the four y side by side
        self.relation_half = nn.Linear(hidden_size, 4 * hidden_size, bias=False)  # W_y[D:]
        self.index_4D = nn.Parameter(torch.empty(4, hidden_size))  # U_y

    def forward(
        self,
        h_BMD: torch.Tensor,
        mask_BM: torch.Tensor,
        labels_B: torch.Tensor,
        token_BMX: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits over the tokens, B x M x 4 in fp32, `MASKED` on every token that is not a word. `token_BMX` is
        `token_half` of h_BMD where that was computed before."""
        B, M, D = h_BMD.shape
        token_BM4D = (self.token_half(h_BMD) if token_BMX is None else token_BMX).view(B, M, 4, D)
        every_U = torch.arange(self.relations.num_embeddings, device=h_BMD.device)
        # gathered by `embedding`, since the gradient of indexing is not deterministic
        relation_B4D = embedding(labels_B, self.relation_half(self.relations(every_U))).view(B, 4, D)
        return _of_words(position_logits(token_BM4D, relation_B4D, self.index_4D), mask_BM)


class StateHeads(nn.Module):
    """A linear map of each token's state to the four logits, without a bias, which a softmax over tokens cancels."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.positions = nn.Linear(hidden_size, 4, bias=False)

    def forward(self, h_BMD: torch.Tensor, mask_BM: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """As `EntityHeads.forward`, but independent of the relation."""
        return _of_words(self.positions(h_BMD), mask_BM)


class CutHeads(nn.Module):
    """How many characters an entity leaves out at the start of its first token and at the end of its last one.

    For each of the four y, a linear map of the token's state to the counts 0 to `most`.
    """

    def __init__(self, hidden_size: int, most: int):
        super().__init__()
        self.counts_4CD = nn.Parameter(torch.empty(4, most + 1, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * (most + 1)))  # flat, since matrices get weight decay

    def forward(self, h_BMD: torch.Tensor, positions_T4: torch.Tensor, sentence_T: torch.Tensor) -> torch.Tensor:
        """Logits over the counts, T x 4 x C in fp32, of the tokens at these positions of these sentences; those of -1
        mean nothing."""
        B, M, D = h_BMD.shape
        places_T4 = positions_T4.clamp(min=0) + M * sentence_T.unsqueeze(1)
        h_T4D = embedding(places_T4, h_BMD.reshape(B * M, D))  # see `EntityHeads.forward`
        logits_T4C = torch.einsum("tyd,ycd->tyc", h_T4D, self.counts_4CD)
        return at_least_fp32(logits_T4C) + self.bias.view(4, -1)

    def of_every_token(self, h_BMD: torch.Tensor) -> torch.Tensor:
        """The same logits of each token as each of the four positions, B x M x 4 x C."""
        logits_BMX = at_least_fp32(h_BMD @ self.counts_4CD.flatten(0, 1).T)
        return (logits_BMX + self.bias).unflatten(2, (4, -1))


def _of_words(logits_BM4: torch.Tensor, mask_BM: torch.Tensor) -> torch.Tensor:
    """The logits in fp32, `MASKED` on every token that is not a word."""
    return at_least_fp32(logits_BM4).masked_fill(~word_tokens(mask_BM).unsqueeze(-1), MASKED)
