"""The loss of any number of gold triples a sentence, and the (sentence, relation) pairs that it is computed on.

Shape suffixes: B sentences, M tokens of a sentence (padded), U relation labels, T gold triples, P (sentence, relation)
pairs that are looked at, S rows of span scores, 4 positions (head start, head end, tail start, tail end; ends
inclusive), 2 entities (head, tail), K candidates for an entity.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid, one_hot

from mere_ds.model.pair_heads import PairScores
from mere_ds.model.precision import MASKED

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
    flat_S2X = scores.spans_S2MM.flatten(2)
    gold_S2X = torch.zeros_like(flat_S2X, dtype=torch.bool)
    entities_2 = torch.arange(2, device=row_T1.device)
    gold_S2X[row_T1, entities_2, span_T2] = True
    span_S2 = ranking_loss(flat_S2X, gold_S2X)

    most = max(gold_S2X.sum(dim=2).flatten().tolist(), default=0)
    K = min(CANDIDATES + most, M * M)
    likely_S2K = flat_S2X.detach().masked_fill(gold_S2X, torch.inf).topk(K, dim=2).indices
    possible_P2K = flat_S2X.detach().gather(2, likely_S2K)[scores.row_P] > MASKED
    likely_P2K = likely_S2K[scores.row_P]
    links_PKK = scores.links(likely_P2K)
    head_T, tail_T = (likely_P2K[pair_T] == span_T2.unsqueeze(2)).int().argmax(dim=2).unbind(1)
    gold_PKK = torch.zeros_like(links_PKK, dtype=torch.bool)
    gold_PKK[pair_T, head_T, tail_T] = True
    possible_PKK = possible_P2K[:, 0].unsqueeze(2) & possible_P2K[:, 1].unsqueeze(1)
    link_P = ranking_loss(links_PKK.masked_fill(~possible_PKK, MASKED).flatten(1), gold_PKK.flatten(1))
    span_B2 = sums_of_sentences(span_S2, scores.sentence_S, B)
    return torch.column_stack((span_B2, sums_of_sentences(link_P, pairs.sentence_P, B)))


def sums_of_sentences(values_X: torch.Tensor, sentence_X: torch.Tensor, B: int) -> torch.Tensor:
    """The rows of `values_X`, summed for each of B sentences."""
    # as a product, for sums by index are not the same bits every time
    return one_hot(sentence_X, B).T.to(values_X.dtype) @ values_X
