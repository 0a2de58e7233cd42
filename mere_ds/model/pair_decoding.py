"""Scores of (sentence, relation) pairs -> the triples of each sentence.

Shape suffixes: B sentences, M tokens of a sentence (padded), U relation labels, P pairs that are looked at, 2 entities
(head, tail), K candidates for an entity, N triples of a pair, F found triples, 4 positions (head start, head end, tail
start, tail end; ends inclusive).
"""

from dataclasses import dataclass

import torch

from mere_ds.model.limits import CANDIDATES
from mere_ds.model.pair_heads import PairScores


@dataclass
class PairTriples:
    """Triples of some pairs: of each the index of its pair, its tokens and its score in (0, 1]."""

    pair_F: torch.Tensor
    positions_F4: torch.Tensor
    score_F: torch.Tensor


def likely_relations(
    relation_BU: torch.Tensor, allowed_BU: torch.Tensor, least: float, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The pairs whose probability, from multi-label logits, is `least` or more: sentences (ascending), labels and
    probabilities, all P. Of each sentence `most` at most, the likeliest."""
    probability_BU = relation_BU.sigmoid().masked_fill(~allowed_BU, -1)
    value_BN, label_BN = probability_BU.topk(min(most, probability_BU.shape[1]), dim=1)
    sentence_P, place_P = (~(value_BN < least)).nonzero(as_tuple=True)  # NaN stays, to be seen
    return sentence_P, label_BN[sentence_P, place_P], value_BN[sentence_P, place_P]


def likeliest_spans(scores: PairScores) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Each pair's likeliest heads and tails (P x 2 x K; i to j as i * M + j), their probabilities, and those of the
    links of every head with every tail (P x K x K)."""
    M = scores.spans_S2MM.shape[-1]
    value_S2K, span_S2K = scores.spans_S2MM.flatten(2).topk(min(CANDIDATES, M * M), dim=2)
    span_P2K = span_S2K[scores.row_P]
    return span_P2K, value_S2K.sigmoid()[scores.row_P], scores.links(span_P2K).sigmoid()


def triples_of_pairs(scores: PairScores, probability_P: torch.Tensor, least: float, most: int) -> PairTriples:
    """The triples of each pair whose score is `least` or more, `most` of a pair at most, its best.

    A triple's score is the least of the probabilities of its relation, its two spans and its link.
    """
    M = scores.spans_S2MM.shape[-1]
    span_P2K, of_span_P2K, of_link_PKK = likeliest_spans(scores)
    head_PK, tail_PK = of_span_P2K.unbind(1)
    score_PKK = of_link_PKK.minimum(head_PK.unsqueeze(2)).minimum(tail_PK.unsqueeze(1))
    score_PX = score_PKK.minimum(probability_P.view(-1, 1, 1)).flatten(1)
    # the least of several is often the same number: equal scores stay in the candidates' order, wherever it computes
    value_PN, place_PN = (x[:, :most] for x in score_PX.sort(dim=1, descending=True, stable=True))
    pair_F, n_F = (~(value_PN < least)).nonzero(as_tuple=True)
    place_F, K = place_PN[pair_F, n_F], span_P2K.shape[2]
    head_F, tail_F = span_P2K[pair_F, 0, place_F // K], span_P2K[pair_F, 1, place_F % K]
    positions_F4 = torch.stack((head_F // M, head_F % M, tail_F // M, tail_F % M), dim=1)
    return PairTriples(pair_F, positions_F4, value_PN[pair_F, n_F])


def best_of_sentences(sentence_F: torch.Tensor, score_F: torch.Tensor, most: int) -> torch.Tensor:
    """Which of the found triples stay, in their new order: by sentence, and there by score from the highest on, `most`
    of a sentence."""
    order_F = score_F.argsort(descending=True, stable=True)
    order_F = order_F[sentence_F[order_F].argsort(stable=True)]
    sentence_F = sentence_F[order_F].contiguous()
    rank_F = torch.arange(len(order_F), device=order_F.device) - torch.searchsorted(sentence_F, sentence_F)
    return order_F[rank_F < most]
