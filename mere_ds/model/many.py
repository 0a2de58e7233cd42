"""Equation 1 with any number of triples: each sentence's likely relations, and for each of them its entities.

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, U relation labels, T gold triples, F found
ones, P (sentence, relation) pairs that are looked at, 4 positions (head start, head end, tail start, tail end; ends
inclusive).
"""

from typing import NamedTuple

import torch
from torch import nn

from mere_ds.model.limits import MOST_RELATIONS, pairs_at_once
from mere_ds.model.pair_decoding import best_of_sentences, likely_relations, triples_of_pairs
from mere_ds.model.pair_heads import PairScores
from mere_ds.model.pair_loss import gold_relations, pair_losses, pairs_to_train, relation_loss
from mere_ds.model.precision import nan_where_infinite


class Gold(NamedTuple):
    """The gold triples of a batch."""

    sentence_T: torch.Tensor
    labels_T: torch.Tensor
    positions_T4: torch.Tensor


class Found(NamedTuple):
    """Triples found: by sentence, and there by score from the highest on."""

    sentence_F: torch.Tensor
    relation_F: torch.Tensor
    relation_probability_F: torch.Tensor
    positions_F4: torch.Tensor
    score_F: torch.Tensor


def losses_of_many(
    heads: nn.Module,
    h_BMD: torch.Tensor,
    mask_BM: torch.Tensor,
    relation_BU: torch.Tensor,
    allowed_BU: torch.Tensor,
    gold: Gold,
    negatives: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each sentence's losses in fp32: of head spans, tail spans and links (B x 3), and of the relations (B).

    `heads` are those of `pair_heads`. They learn entities given the gold relations, and given `negatives` others, drawn
    from the language's, that there are none.
    """
    B, U = relation_BU.shape
    random_BU = torch.rand(B, U, device=h_BMD.device).masked_fill(~allowed_BU, -torch.inf)
    pairs = pairs_to_train(gold.labels_T, gold.sentence_T, random_BU, negatives)

    def losses(scores: PairScores, every: slice) -> torch.Tensor:
        return pair_losses(scores, pairs, gold.positions_T4, B)

    [losses_B3] = heads(h_BMD, mask_BM, pairs.sentence_P, pairs.labels_P, losses, max(len(pairs.labels_P), 1))
    gold_BU = gold_relations(gold.labels_T, gold.sentence_T, B, U)
    return losses_B3, relation_loss(relation_BU, gold_BU, allowed_BU)


def find_many(
    heads: nn.Module,
    h_BMD: torch.Tensor,
    mask_BM: torch.Tensor,
    relation_BU: torch.Tensor,
    allowed_BU: torch.Tensor,
    least: float,
    most: int,
) -> Found:
    """The triples whose score is `least` or more, `most` of a sentence at most, in bounded memory."""
    M, D = h_BMD.shape[1:]
    sentence_P, labels_P, probability_P = likely_relations(
        nan_where_infinite(relation_BU), allowed_BU, least, MOST_RELATIONS
    )

    def triples(scores: PairScores, pairs: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = triples_of_pairs(scores, probability_P[pairs], least, most)
        return found.pair_F + pairs.start, found.positions_F4, found.score_F

    parts = heads(h_BMD, mask_BM, sentence_P, labels_P, triples, pairs_at_once(M, D))
    pair_F, positions_F4, score_F = (torch.cat(column) for column in zip(*parts, strict=True))
    kept_F = best_of_sentences(sentence_P[pair_F], score_F, most)
    pair_F = pair_F[kept_F]
    return Found(sentence_P[pair_F], labels_P[pair_F], probability_P[pair_F], positions_F4[kept_F], score_F[kept_F])
