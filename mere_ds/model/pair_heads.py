"""Any number of triples: which spans are heads and tails of a relation (equation 9), and which head has which tail.

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, U relation labels, P (sentence, relation)
pairs that are looked at, S rows of span scores, 4 positions y in the order hs, he, ts, te, 2 entities (head, tail),
R width of pairing, K candidates for an entity.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import nn
from torch.nn.functional import embedding

from mere_ds.model.entity_heads import word_tokens
from mere_ds.model.limits import MASKED
from mere_ds.model.precision import at_least_fp32

Result = TypeVar("Result")


@dataclass
class PairScores:
    """What heads say of some (sentence, relation) pairs, as logits in fp32 (float64 of float64)."""

    spans_S2MM: torch.Tensor
    """That tokens i to j are a head, and a tail; `MASKED` where one of them is no word, and where j < i."""
    sentence_S: torch.Tensor
    """int64; the sentence of each row."""
    row_P: torch.Tensor
    """int64; the row of each pair: rows are the pairs themselves, or the sentences where spans know no relation."""
    vectors_YXD: torch.Tensor
    """The vectors of the tokens, those of all rows one after another: of each of the four positions (Y is 4), or the
    same ones for all of them (1)."""
    linking_4DR: torch.Tensor
    """What makes numbers for `links` of a vector, as one of the four positions."""
    factor_PR: torch.Tensor | None
    """What the relation makes of the head's side in `links`; None where the vectors know the relation."""
    bias: torch.Tensor
    """Part of each of `links`."""

    def links(self, spans_P2K: torch.Tensor) -> torch.Tensor:
        """That head k and tail l are of one triple, P x K x K, as tanh(a + b) . tanh(c + d) + bias: a and b
        are what the head's first and last token bring, c and d the tail's. Spans i to j are given as i * M + j."""
        M, (Y, X, D) = self.spans_S2MM.shape[-1], self.vectors_YXD.shape
        P, _, K = spans_P2K.shape
        ends_22PK = torch.stack((spans_P2K // M, spans_P2K % M)).permute(2, 0, 1, 3)  # entity, then start or end
        places_4X = (self.row_P.view(-1, 1) * M + ends_22PK).flatten(2).flatten(0, 1)
        first_41 = torch.arange(4, device=spans_P2K.device).unsqueeze(1) * (X if Y == 4 else 0)
        # gathered by `embedding`, for the gradient of indexing is not the same bits every time; and gathered first,
        # for the candidates' tokens are fewer than all
        vectors_4XD = embedding(places_4X + first_41, self.vectors_YXD.reshape(-1, D))
        brought_22PKR = at_least_fp32(vectors_4XD @ self.linking_4DR).view(2, 2, P, K, self.linking_4DR.shape[2])
        # not linear: sums of what starts and ends say alone can't tell every set of links from every other
        head_PKR, tail_PKR = brought_22PKR.sum(dim=1).tanh()
        if self.factor_PR is not None:
            head_PKR = head_PKR * self.factor_PR.unsqueeze(1)
        with torch.autocast(head_PKR.device.type, enabled=False):
            return head_PKR @ tail_PKR.transpose(1, 2) + self.bias


class SpanHeads(nn.Module):
    """The weights that score spans and links from vectors of the tokens, whatever these are."""

    def __init__(self, hidden_size: int, width: int):
        super().__init__()
        self.index_4D = nn.Parameter(torch.empty(4, hidden_size))  # U_y
        self.pairing_4DR = nn.Parameter(torch.empty(4, hidden_size, 2 * width))  # the maps for spans, those for links
        self.bias = nn.Parameter(torch.empty(3))  # of heads, tails and links


class PairHeads(SpanHeads):
    """The vectors v^y = tanh((h + r_e) W_y) of eq. 9 (+ is concatenation), their position logits v^y U_y, and from the
    same vectors what says which start goes with which end, and which head with which tail.

    A span i to j of a head is scored v^hs_i U_hs + v^he_j U_he + p(v^hs_i) . p(v^he_j) / sqrt(R) + bias, where p are
    linear maps to R numbers; a tail likewise; a link as `PairScores.links` says, by further maps.
    """

    def __init__(self, labels: int, hidden_size: int, width: int):
        super().__init__(hidden_size, width)
        self.relations = nn.Embedding(labels, hidden_size)  # E_r
        self.token_half = nn.Linear(hidden_size, 4 * hidden_size, bias=False)  # W_y[:D], the four y side by side
        self.relation_half = nn.Linear(hidden_size, 4 * hidden_size, bias=False)  # W_y[D:]

    def forward(
        self,
        h_BMD: torch.Tensor,
        mask_BM: torch.Tensor,
        sentence_P: torch.Tensor,
        labels_P: torch.Tensor,
        use: Callable[[PairScores, slice], Result],
        at_once: int,
    ) -> list[Result]:
        """What `use` makes of the scores of the P pairs, so many `at_once`, and of the slice that these are.

        Scores don't leave this call, for all together may be too many to hold, and the weights may be whole during it
        alone (ZeRO-3). With no pair, `use` gets scores of none once.
        """
        B, M, D = h_BMD.shape
        # the four positions come first, so that their products need no copies of the many vectors
        token_XY = self.token_half(h_BMD).view(B, M, 4, D).permute(2, 0, 1, 3).reshape(4 * B, M * D)
        U = self.relations.num_embeddings
        relation_U4D = self.relation_half(self.relations(torch.arange(U, device=h_BMD.device))).view(U, 4, D)
        relation_XD = relation_U4D.transpose(0, 1).reshape(4 * U, D)
        y_41 = torch.arange(4, device=h_BMD.device).unsqueeze(1)
        words_BM = word_tokens(mask_BM)
        results = []
        for pairs in _slices(len(labels_P), at_once):
            sentence_Q, labels_Q = sentence_P[pairs], labels_P[pairs]
            token_4QMD = embedding(y_41 * B + sentence_Q, token_XY).view(4, sentence_Q.shape[0], M, D)
            relation_4Q1D = embedding(y_41 * U + labels_Q, relation_XD).unsqueeze(2)
            vectors_4XD = (token_4QMD + relation_4Q1D).tanh_().flatten(1, 2)
            results.append(use(_scores(vectors_4XD, self, words_BM[sentence_Q], sentence_Q), pairs))
        return results


class StatePairHeads(SpanHeads):
    """As `PairHeads`, but of each token's state alone, whatever the relation; this one only weighs the numbers whose
    products are the links."""

    def __init__(self, labels: int, hidden_size: int, width: int):
        super().__init__(hidden_size, width)
        self.factors = nn.Embedding(labels, width)

    def forward(
        self,
        h_BMD: torch.Tensor,
        mask_BM: torch.Tensor,
        sentence_P: torch.Tensor,
        labels_P: torch.Tensor,
        use: Callable[[PairScores, slice], Result],
        at_once: int,
    ) -> list[Result]:
        """As `PairHeads.forward`; the rows are the B sentences."""
        every_B = torch.arange(len(h_BMD), device=h_BMD.device)
        scores = _scores(h_BMD.flatten(0, 1).unsqueeze(0), self, word_tokens(mask_BM), every_B)
        every_U = torch.arange(self.factors.num_embeddings, device=h_BMD.device)
        factors_UR = at_least_fp32(self.factors(every_U))
        factors_PR = embedding(labels_P, factors_UR)
        return [
            use(replace(scores, row_P=sentence_P[pairs], factor_PR=factors_PR[pairs]), pairs)
            for pairs in _slices(len(labels_P), at_once)
        ]


def _slices(count: int, at_once: int) -> list[slice]:
    """Of so many things, one slice at least."""
    return [slice(start, start + at_once) for start in range(0, max(count, 1), at_once)]


def _scores(
    vectors_YXD: torch.Tensor, heads: SpanHeads, words_SM: torch.Tensor, sentence_S: torch.Tensor
) -> PairScores:
    """Scores of which each row is a pair of its own, and knows its relation."""
    S, M = words_SM.shape
    spanning_4DR, linking_4DR = heads.pairing_4DR.chunk(2, dim=-1)
    maps_4DN = torch.cat((spanning_4DR, heads.index_4D.unsqueeze(2)), dim=2)  # N is R + 1
    numbers_4SMN = at_least_fp32(vectors_YXD.expand(4, -1, -1) @ maps_4DN).view(4, S, M, maps_4DN.shape[2])
    start_2SMN, end_2SMN = numbers_4SMN[0::2], numbers_4SMN[1::2]
    bias_3 = at_least_fp32(heads.bias)
    one_2SM1 = torch.ones_like(start_2SMN[..., :1])
    # (p / sqrt(R), l + bias, 1) . (q, 1, m) is p . q / sqrt(R) + l + m + bias: a product and no sums of M x M numbers
    root, (start_2SMR, l_2SM1) = math.sqrt(spanning_4DR.shape[-1]), start_2SMN.split((start_2SMN.shape[-1] - 1, 1), -1)
    starts_2SMX = torch.cat((start_2SMR / root, l_2SM1 + bias_3[:2].view(2, 1, 1, 1), one_2SM1), dim=-1)
    ends_2SMX = torch.cat((end_2SMN[..., :-1], one_2SM1, end_2SMN[..., -1:]), dim=-1)
    allowed_SMM = (words_SM.unsqueeze(2) & words_SM.unsqueeze(1)).triu()
    with torch.autocast(numbers_4SMN.device.type, enabled=False):
        spans_2SMM = (starts_2SMX @ ends_2SMX.transpose(2, 3)).masked_fill_(~allowed_SMM, MASKED)
    return PairScores(
        spans_S2MM=spans_2SMM.transpose(0, 1),
        sentence_S=sentence_S,
        row_P=torch.arange(S, device=words_SM.device),
        vectors_YXD=vectors_YXD,
        linking_4DR=linking_4DR,
        factor_PR=None,
        bias=bias_3[2],
    )
