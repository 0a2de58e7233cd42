"""Logits of eq. 9 -> the two spans.

Shape suffixes: B sentences, M tokens of a sentence (padded), 4 positions (head start, head end, tail start, tail end),
E the two entities.
"""

import torch

from mere_ds.model.precision import MASKED


def best_spans(logits_BM4: torch.Tensor, ordered: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest token positions (B x 4, ends inclusive) and the product of their four probabilities (B).

    `ordered` looks for the best pair with start <= end for each entity; otherwise each position is its own argmax.
    A sentence with no word token (all logits `MASKED`) gets positions -1 and score 0.
    """
    log_BM4 = logits_BM4.log_softmax(dim=1)
    positions_B4 = _ordered(log_BM4[..., 0::2], log_BM4[..., 1::2]) if ordered else log_BM4.argmax(dim=1)
    score_B = log_BM4.gather(1, positions_B4.unsqueeze(1)).sum(dim=(1, 2)).exp()
    empty_B = (logits_BM4 <= MASKED).all(dim=1).all(dim=1)
    return positions_B4.masked_fill(empty_B.unsqueeze(1), -1), score_B.masked_fill(empty_B, 0)


def _ordered(start_BME: torch.Tensor, end_BME: torch.Tensor) -> torch.Tensor:
    """Positions B x 4 of the pairs start <= end with the largest sum, in O(M): the best end at or after each start."""
    after_BME, index_BME = end_BME.flip(1).cummax(dim=1)
    start_BE = (start_BME + after_BME.flip(1)).argmax(dim=1)
    end_BE = end_BME.shape[1] - 1 - index_BME.flip(1).gather(1, start_BE.unsqueeze(1)).squeeze(1)
    return torch.stack((start_BE, end_BE), dim=-1).flatten(1)
