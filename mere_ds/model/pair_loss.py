"""The loss of any number of gold triples a sentence, and the (sentence, relation) pairs that it is computed on.

Shape suffixes: B sentences, M tokens of a sentence (padded), U relation labels, T gold triples, P (sentence, relation)
pairs that are looked at, S rows of span scores, X spans, 4 positions (head start, head end, tail start, tail end; ends
inclusive), 2 entities (head, tail), G gold spans, K candidates for an entity.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid, one_hot

from mere_ds.model.limits import MASKED
from mere_ds.model.pair_heads import PairScores

CANDIDATES = 8
"""Likeliest spans of an entity that links are learnt on, beside its gold ones."""


@dataclass
class Pairs:
    """The (sentence, relation) pairs that a step looks at, each once."""

    sentence_P: torch.Tensor
    labels_P: torch.Tensor
    pair_T: torch.Tensor
    """Of each gold triple its pair."""


def gold_relations(labels_T: torch.Tensor, sentence_T: torch.Tensor, B: int, U: int) -> torch.Tensor:
    """Which relations each sentence has, B x U."""
    gold_BU = torch.zeros(B, U, dtype=torch.bool, device=labels_T.device)
    gold_BU[sentence_T, labels_T] = True
    return gold_BU


def pairs_to_train(
    labels_T: torch.Tensor, sentence_T: torch.Tensor, likeliness_BU: torch.Tensor, negatives: int
) -> Pairs:
    """Each sentence with its gold relations and with so many others, those of the largest `likeliness_BU`; never one of
    -inf."""
    B, U = likeliness_BU.shape
    gold_P, pair_T = torch.unique(sentence_T * U + labels_T, return_inverse=True)
    others_BU = likeliness_BU.masked_fill(gold_relations(labels_T, sentence_T, B, U), -torch.inf)
    value_BN, label_BN = others_BU.topk(min(negatives, U), dim=1)
    row_BN = torch.arange(B, device=labels_T.device).unsqueeze(1) * U
    keys_P = torch.cat((gold_P, (row_BN + label_BN)[value_BN > -torch.inf]))
    return Pairs(keys_P // U, keys_P % U, pair_T)


def relation_loss(relation_BU: torch.Tensor, gold_BU: torch.Tensor, allowed_BU: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropies of the allowed relations from fp32 logits, summed for each sentence (B)."""
    signed_BU = torch.where(gold_BU, relation_BU, -relation_BU)
    return -(logsigmoid(signed_BU) * allowed_BU).sum(dim=1)


def ranking_loss(scores_XN: torch.Tensor, gold_XN: torch.Tensor) -> torch.Tensor:
    """log(1 + sum over wrong e^s) + log(1 + sum over gold e^-s) over the last dimension: the zero-bounded log-sum-exp
    and pairwise rank-based loss (Su et al. 2022). Scores that are `MASKED` add nothing."""
    wrong_X = _softplus_of_all(scores_XN.masked_fill(gold_XN, MASKED))
    return wrong_X + _softplus_of_all((-scores_XN).masked_fill(~gold_XN, MASKED))


def _softplus_of_all(x_XN: torch.Tensor) -> torch.Tensor:
    """log(1 + sum e^x) over the last dimension."""
    return torch.cat((torch.zeros_like(x_XN[..., :1]), x_XN), dim=-1).logsumexp(dim=-1)


def span_losses(scores_2SX: torch.Tensor, gold_G: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(`ranking_loss` of each row, 2 x S; the gold spans and the likeliest others of each, 2 x S x K), K as many as
    `CANDIDATES` and the most gold spans of a row. `gold_G` are indices into the flat scores, ascending, each once.

    There are many scores and few gold ones, so this goes over all of them less often than `ranking_loss`.
    """
    return _SpanLosses.apply(scores_2SX, gold_G)


class _SpanLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores_2SX: torch.Tensor, gold_G: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        E, S, X = scores_2SX.shape
        flat_NX = scores_2SX.reshape(E * S, X).clone(memory_format=torch.contiguous_format)
        row_G, gold_score_G = gold_G // X, flat_NX.view(-1)[gold_G]
        place_G = torch.arange(len(gold_G), device=gold_G.device) - torch.searchsorted(row_G, row_G)
        most = int(place_G.max()) + 1 if len(place_G) else 0
        flat_NX.view(-1)[gold_G] = torch.inf
        likely_NK = flat_NX.topk(min(CANDIDATES + most, X), dim=1).indices
        flat_NX.view(-1)[gold_G] = MASKED
        padded_NG = flat_NX.new_full((E * S, most), MASKED)
        padded_NG[row_G, place_G] = -gold_score_G
        loss_N = _softplus_of_all_(flat_NX) + _softplus_of_all_(padded_NG)
        flat_NX.view(-1)[gold_G] = -padded_NG[row_G, place_G]
        ctx.save_for_backward(flat_NX)  # the gradient
        likely_2SK = likely_NK.view(E, S, likely_NK.shape[1])
        ctx.mark_non_differentiable(likely_2SK)
        return loss_N.view(E, S), likely_2SK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss_2S: torch.Tensor, _: Any) -> tuple[torch.Tensor, None]:
        [gradient_NX] = ctx.saved_tensors
        return (gradient_NX * d_loss_2S.reshape(-1, 1)).view(*d_loss_2S.shape, gradient_NX.shape[1]), None


def _softplus_of_all_(x_NX: torch.Tensor) -> torch.Tensor:
    """log(1 + sum e^x) over the last dimension (N); `x_NX` becomes its gradient."""
    if not x_NX.shape[1]:
        return x_NX.new_zeros(len(x_NX))
    most_N1 = x_NX.amax(dim=1, keepdim=True).clamp(min=0)
    sum_N1 = x_NX.sub_(most_N1).exp_().sum(dim=1, keepdim=True) + (-most_N1).exp()
    x_NX.div_(sum_N1)
    return (most_N1 + sum_N1.log()).squeeze(1)


def pair_losses(scores: PairScores, pairs: Pairs, positions_T4: torch.Tensor, B: int) -> torch.Tensor:
    """Each sentence's losses of head spans, tail spans and links (B x 3), summed over the pairs that it is looked at
    with.

    Links are learnt on gold spans and the likeliest others. Gold triples with a position -1 are none here.
    """
    placed_T = (positions_T4 >= 0).all(dim=1)
    pair_T, positions_T4 = pairs.pair_T[placed_T], positions_T4[placed_T]
    row_T1 = scores.row_P[pair_T].unsqueeze(1)
    M = scores.spans_S2MM.shape[-1]
    span_T2 = positions_T4[:, 0::2] * M + positions_T4[:, 1::2]
    flat_2SX = scores.spans_S2MM.transpose(0, 1).flatten(2)  # as it lies in memory
    S, X = flat_2SX.shape[1:]
    entities_2 = torch.arange(2, device=row_T1.device)
    gold_G = torch.unique((entities_2 * S + row_T1) * X + span_T2)
    span_2S, likely_2SK = span_losses(flat_2SX, gold_G)
    likely_S2K = likely_2SK.transpose(0, 1)
    possible_P2K = flat_2SX.detach().gather(2, likely_2SK).transpose(0, 1)[scores.row_P] > MASKED
    likely_P2K = likely_S2K[scores.row_P]
    links_PKK = scores.links(likely_P2K)
    head_T, tail_T = (likely_P2K[pair_T] == span_T2.unsqueeze(2)).int().argmax(dim=2).unbind(1)
    gold_PKK = torch.zeros_like(links_PKK, dtype=torch.bool)
    gold_PKK[pair_T, head_T, tail_T] = True
    possible_PKK = possible_P2K[:, 0].unsqueeze(2) & possible_P2K[:, 1].unsqueeze(1)
    link_P = ranking_loss(links_PKK.masked_fill(~possible_PKK, MASKED).flatten(1), gold_PKK.flatten(1))
    span_B2 = sums_of_sentences(span_2S.T, scores.sentence_S, B)
    return torch.column_stack((span_B2, sums_of_sentences(link_P, pairs.sentence_P, B)))


def sums_of_sentences(values_X: torch.Tensor, sentence_X: torch.Tensor, B: int) -> torch.Tensor:
    """The rows of `values_X`, summed for each of B sentences."""
    # as a product, for sums by index are not the same bits every time
    return one_hot(sentence_X, B).T.to(values_X.dtype) @ values_X
