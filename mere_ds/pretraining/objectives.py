"""Masked words and matching blanks: the encoder with the two heads that train it and are discarded afterwards.

The method is Matching the Multilingual Blanks (Köksal & Özgür, Findings of EMNLP 2020), which extends Matching the
Blanks (Baldini Soares et al., ACL 2019) to pairs of sentences in several languages. As published: special tokens for
entity marks and blanks, blanks with probability 0.7 per entity, the concatenated states of [E1] and [E2] as the
relation's representation, the sigmoid of two representations' product as the probability that they have the same
entity pair, binary cross-entropy, negatives of which some share an entity, and masked words as a second objective.
Different from the papers:
- The product is of unit vectors, with a learned scale and offset. The plain product of two states of a pretrained
  encoder is tens or hundreds regardless of their content, where the sigmoid is flat.
- All pairs within a batch are compared instead of a list of pairs. Positives and negatives each count half, as if
  equally many had been drawn.
- Entities are the same if their names are, since such a corpus doesn't link entities to a knowledge base. Pairs are
  ordered: (a, b) and (b, a) are different.

Shape suffixes: B sentences, M tokens (padded), N masked tokens, D hidden size, d width of the word embeddings, R = 2D,
V ids of words.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from mere_ds.encoders.weights import word_embeddings
from mere_ds.model.precision import at_least_fp32
from mere_ds.pretraining.batches import BlankBatch

SCALE, OFFSET = 10.0, -5.0  # initially a cosine of 0.5 separates same from different


class Blanks(nn.Module):
    """The encoder, a masked word head tied to its first `vocabulary` embeddings, and the matcher's scale and offset."""

    def __init__(self, encoder: PreTrainedModel, vocabulary: int) -> None:
        super().__init__()
        D, d = encoder.config.hidden_size, word_embeddings(encoder).embedding_dim
        self.encoder, self.vocabulary = encoder, vocabulary
        self.transform = nn.Sequential(nn.Linear(D, d), nn.GELU(), nn.LayerNorm(d, eps=1e-12))
        self.bias_V = nn.Parameter(torch.zeros(vocabulary))
        self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        self.offset = nn.Parameter(torch.tensor(OFFSET))

    def forward(self, batch: BlankBatch) -> dict[str, torch.Tensor]:
        """Scalars: the losses masked_words and, for a batch with pairs, matching, and its accuracy (0 to 1)."""
        # No token types are passed: an encoder that has them uses the first type for all tokens.
        encoded = self.encoder(input_ids=batch.token_ids_BM, attention_mask=batch.mask_BM.long())
        h_BMD = encoded.last_hidden_state
        h_ND = h_BMD.flatten(0, 1)[batch.masked_N]
        words_Vd = word_embeddings(self.encoder).weight[: self.vocabulary]
        logits_NV = F.linear(self.transform(h_ND), words_Vd, self.bias_V)
        values = {"masked_words": masked_word_loss(logits_NV, batch.targets_N)}
        if batch.starts_B2 is not None and batch.groups_B is not None:
            marks_B2D = h_BMD.gather(1, batch.starts_B2[:, :, None].expand(-1, -1, h_BMD.shape[2]))
            logits_BB = match_logits(marks_B2D.flatten(1), self.log_scale.exp(), self.offset)
            same_BB = batch.groups_B[:, None] == batch.groups_B
            values["matching"], values["accuracy"] = matching_loss(logits_BB, same_BB)
        return values


def masked_word_loss(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats, 0 if nothing is masked; at least in fp32."""
    total = F.cross_entropy(at_least_fp32(logits_NV), targets_N, reduction="sum")
    return total / max(1, len(targets_N))


def match_logits(r_BR: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """logits_BB of "the same entity pair": scale x cosine + offset."""
    with torch.autocast(r_BR.device.type, enabled=False):
        unit_BR = F.normalize(at_least_fp32(r_BR), dim=1)
        return scale * (unit_BR @ unit_BR.T) + offset


def matching_loss(logits_BB: torch.Tensor, same_BB: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Binary cross-entropy over all pairs of two different sentences, and the accuracy of the logits' signs.

    Both are the mean of the positives' mean and the negatives' mean; if there are no positives or no negatives, these
    count as loss 0 and accuracy 1.
    """
    other_BB = ~torch.eye(len(logits_BB), dtype=torch.bool, device=logits_BB.device)
    signed_BB = torch.where(same_BB, logits_BB, -logits_BB)
    losses, shares = [], []
    for kind_BB in (same_BB & other_BB, ~same_BB):
        signed = signed_BB[kind_BB]
        losses.append(F.softplus(-signed).sum() / max(1, len(signed)))
        shares.append(1 - (signed <= 0).sum() / max(1, len(signed)))
    return torch.stack(losses).mean(), torch.stack(shares).mean()
