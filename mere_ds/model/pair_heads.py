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
from mere_ds.model.precision import MASKED, at_least_fp32

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
    links_SM4R: torch.Tensor
    """What a token brings to `links` as one of the four positions."""
    factor_PR: torch.Tensor | None
    """What the relation makes of the head's side in `links`; None where `links_SM4R` knows the relation."""
    bias: torch.Tensor
    """Part of each of `links`."""

    def links(self, spans_P2K: torch.Tensor) -> torch.Tensor:
        """That head k and tail l are of one triple, P x K x K, as tanh(a + b) . tanh(c + d) + bias: a and b
        are what the head's first and last token bring, c and d the tail's. Spans i to j are given as i * M + j."""
        M, R = self.links_SM4R.shape[1], self.links_SM4R.shape[3]
        ends_P22K = torch.stack((spans_P2K // M, spans_P2K % M), dim=2)
        y_221 = torch.arange(4, device=spans_P2K.device).view(2, 2, 1)
        index_P22K = (self.row_P.view(-1, 1, 1, 1) * M + ends_P22K) * 4 + y_221
        # gathered by `embedding`, for the gradient of indexing is not the same bits every time
        brought_P22KR = embedding(index_P22K, self.links_SM4R.reshape(-1, R))
        # not linear: sums of what starts and ends say alone can't tell every set of links from every other
        head_PKR, tail_PKR = brought_P22KR.sum(dim=2).tanh().unbind(1)
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
        token_BX = self.token_half(h_BMD).view(B, M * 4 * D)
        every_U = torch.arange(self.relations.num_embeddings, device=h_BMD.device)
        relation_UX = self.relation_half(self.relations(every_U))
        words_BM = word_tokens(mask_BM)
        results = []
        for pairs in _slices(len(labels_P), at_once):
            sentence_Q, labels_Q = sentence_P[pairs], labels_P[pairs]
            token_QM4D = embedding(sentence_Q, token_BX).view(-1, M, 4, D)
            vectors_QM4D = torch.tanh(token_QM4D + embedding(labels_Q, relation_UX).view(-1, 1, 4, D))
            results.append(use(_scores(vectors_QM4D, self, words_BM[sentence_Q], sentence_Q), pairs))
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
        h_BM4D = h_BMD.unsqueeze(2).expand(-1, -1, 4, -1)
        every_B = torch.arange(len(h_BMD), device=h_BMD.device)
        scores = _scores(h_BM4D, self, word_tokens(mask_BM), every_B)
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
    vectors_SM4D: torch.Tensor, heads: SpanHeads, words_SM: torch.Tensor, sentence_S: torch.Tensor
) -> PairScores:
    """Scores of which each row is a pair of its own, and knows its relation."""
    S, M, _, D = vectors_SM4D.shape
    rows_4XD = vectors_SM4D.permute(2, 0, 1, 3).reshape(4, S * M, D)
    position_4SM1 = at_least_fp32(rows_4XD @ heads.index_4D.unsqueeze(2)).unflatten(1, (S, M))
    span_4SMR, link_4SMR = at_least_fp32(rows_4XD @ heads.pairing_4DR).unflatten(1, (S, M)).chunk(2, dim=-1)
    bias_3 = at_least_fp32(heads.bias)
    with torch.autocast(span_4SMR.device.type, enabled=False):
        spans_2SMM = span_4SMR[0::2] @ span_4SMR[1::2].transpose(2, 3) / math.sqrt(span_4SMR.shape[-1])
    spans_2SMM = spans_2SMM + position_4SM1[0::2] + position_4SM1[1::2].transpose(2, 3) + bias_3[:2].view(2, 1, 1, 1)
    allowed_SMM = (words_SM.unsqueeze(2) & words_SM.unsqueeze(1)).triu()
    return PairScores(
        spans_S2MM=spans_2SMM.transpose(0, 1).masked_fill(~allowed_SMM.unsqueeze(1), MASKED),
        sentence_S=sentence_S,
        row_P=torch.arange(S, device=words_SM.device),
        links_SM4R=link_4SMR.permute(1, 2, 0, 3),
        factor_PR=None,
        bias=bias_3[2],
    )
