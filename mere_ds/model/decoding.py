"""Decodes the logits of eq. 9 into the two spans.

Shape suffixes: B sentences, M tokens of a sentence (padded), 4 positions (head start, head end, tail start, tail end),
E the two entities.
"""

import torch

from mere_ds.model.limits import MASKED


def best_spans(logits_BM4: torch.Tensor, ordered: bool, overlapping: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """The most likely token positions (B x 4, ends inclusive) and the product of their four probabilities (B).

    With `ordered`, the best pair with start <= end for each entity; otherwise each position is its own argmax. Without
    `overlapping`, ordered spans are the best two that share no token; in a sentence of one word, where this is
    impossible, they may overlap. A sentence without word tokens (all logits `MASKED`) gets positions -1 and score 0.
    """
    log_BM4 = logits_BM4.log_softmax(dim=1)
    start_BME, end_BME = log_BM4[..., 0::2], log_BM4[..., 1::2]
    positions_B4 = _ordered(start_BME, end_BME) if ordered else log_BM4.argmax(dim=1)
    if ordered and not overlapping and log_BM4.shape[1] > 1:
        apart_B4 = _apart(start_BME, end_BME)
        on_words_B = (logits_BM4.gather(1, apart_B4.unsqueeze(1)) > MASKED).all(dim=2)
        positions_B4 = torch.where(on_words_B, apart_B4, positions_B4)
    score_B = log_BM4.gather(1, positions_B4.unsqueeze(1)).sum(dim=(1, 2)).exp()
    empty_B = (logits_BM4 <= MASKED).all(dim=1).all(dim=1)
    return positions_B4.masked_fill(empty_B.unsqueeze(1), -1), score_B.masked_fill(empty_B, 0)


def _ordered(start_BME: torch.Tensor, end_BME: torch.Tensor) -> torch.Tensor:
    """Positions B x 4 of the pairs start <= end with the largest sum, in O(M): the best end at or after each start."""
    after_BME, last_BME = _best_from(end_BME)
    start_BE = (start_BME + after_BME).argmax(dim=1)
    end_BE = last_BME.gather(1, start_BE.unsqueeze(1)).squeeze(1)
    return torch.stack((start_BE, end_BE), dim=-1).flatten(1)


def _apart(start_BME: torch.Tensor, end_BME: torch.Tensor) -> torch.Tensor:
    """Positions B x 4 of the two ordered spans with the largest sum that share no token, in O(M).

    One of them lies before a cut and the other after it: for each cut, combine the best span of one entity up to the
    cut with the best span of the other entity from the next token on, and take the best cut.
    """
    before_BME, first_BME = start_BME.cummax(dim=1)  # the best start at or before each token
    up_to_BME, ended_BME = (before_BME + end_BME).cummax(dim=1)  # the best span that ends at or before each token
    after_BME, last_BME = _best_from(end_BME)  # the best end at or after each token
    from_BME, begin_BME = _best_from(start_BME + after_BME)  # the best span that starts at or after each token
    cuts_BME = up_to_BME[:, :-1] + from_BME[:, 1:].flip(-1)
    best_B = cuts_BME.flatten(1).argmax(dim=1)
    rows_B, cut_B, entity_B = torch.arange(len(best_B), device=best_B.device), best_B // 2, best_B % 2
    end_B, begin_B = ended_BME[rows_B, cut_B, entity_B], begin_BME[rows_B, cut_B + 1, 1 - entity_B]
    positions_BE2 = torch.empty(len(best_B), 2, 2, dtype=torch.long, device=best_B.device)
    positions_BE2[rows_B, entity_B] = torch.stack((first_BME[rows_B, end_B, entity_B], end_B), dim=1)
    positions_BE2[rows_B, 1 - entity_B] = torch.stack((begin_B, last_BME[rows_B, begin_B, 1 - entity_B]), dim=1)
    return positions_BE2.flatten(1)


def _best_from(x_BME: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest value at or after each token, and where it is."""
    best_BME, index_BME = x_BME.flip(1).cummax(dim=1)
    return best_BME.flip(1), x_BME.shape[1] - 1 - index_BME.flip(1)
