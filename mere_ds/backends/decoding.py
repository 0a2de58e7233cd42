"""The rules of `mere_ds.model.decoding` and `pair_decoding` in NumPy, for where there is no torch.

Both are tested to decode the same numbers into the same triples. Shape suffixes: B sentences, M tokens of a sentence
(padded), U relation labels, P (sentence, relation) pairs, 2 entities (head, tail), E the two entities, K candidates for
an entity, F found triples, 4 positions (head start, head end, tail start, tail end; ends inclusive).
"""

import numpy as np

from mere_ds.model.limits import MASKED


def best_spans(logits_BM4: np.ndarray, ordered: bool, overlapping: bool) -> tuple[np.ndarray, np.ndarray]:
    """The most likely positions (B x 4) and the product of their probabilities (B), as `model.decoding.best_spans`."""
    log_BM4 = _log_softmax(logits_BM4)
    start_BME, end_BME = log_BM4[..., 0::2], log_BM4[..., 1::2]
    positions_B4 = _ordered(start_BME, end_BME) if ordered else log_BM4.argmax(axis=1)
    if ordered and not overlapping and log_BM4.shape[1] > 1:
        apart_B4 = _apart(start_BME, end_BME)
        on_words_B1 = (_at(logits_BM4, apart_B4) > MASKED).all(axis=1, keepdims=True)
        positions_B4 = np.where(on_words_B1, apart_B4, positions_B4)
    score_B = np.exp(_at(log_BM4, positions_B4).sum(axis=1))
    empty_B = (logits_BM4 <= MASKED).all(axis=(1, 2))
    positions_B4[empty_B], score_B[empty_B] = -1, 0
    return positions_B4, score_B


def likely_relations(probability_BU: np.ndarray, least: float, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sentences (ascending), labels and probabilities of the pairs to look at, all P, as `pair_decoding` chooses them;
    a relation that the language doesn't have is given as -1."""
    label_BN = np.argsort(-probability_BU, axis=1, kind="stable")[:, :most]
    value_BN = np.take_along_axis(probability_BU, label_BN, axis=1)
    sentence_P, place_P = np.nonzero(~(value_BN < least))  # NaN stays, to be seen
    return sentence_P, label_BN[sentence_P, place_P], value_BN[sentence_P, place_P]


def triples_of_pairs(
    spans_P2K: np.ndarray, of_span_P2K: np.ndarray, of_link_PKK: np.ndarray, probability_P: np.ndarray, M: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (P x KK x 4) and scores (P x KK) of every head with every tail, from the candidates' probabilities;
    spans i to j are given as i * M + j, and P is not 0."""
    score_PKK = np.minimum(of_link_PKK, np.minimum(of_span_P2K[:, 0, :, None], of_span_P2K[:, 1, None, :]))
    score_PKK = np.minimum(score_PKK, probability_P[:, None, None])
    head_PKK, tail_PKK = np.broadcast_arrays(spans_P2K[:, 0, :, None], spans_P2K[:, 1, None, :])
    positions_PKK4 = np.stack((head_PKK // M, head_PKK % M, tail_PKK // M, tail_PKK % M), axis=-1)
    P = len(probability_P)
    return positions_PKK4.reshape(P, -1, 4), score_PKK.reshape(P, -1)


def best_of_pairs(score_PX: np.ndarray, least: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Pair and place of the triples with a score of `least` or more, `most` of a pair at most, its best."""
    place_PN = np.argsort(-score_PX, axis=1, kind="stable")[:, :most]
    pair_F, n_F = np.nonzero(~(np.take_along_axis(score_PX, place_PN, axis=1) < least))
    return pair_F, place_PN[pair_F, n_F]


def best_of_sentences(sentence_F: np.ndarray, score_F: np.ndarray, most: int) -> np.ndarray:
    """Which triples stay, in their new order: by sentence, there the highest score first, `most` of a sentence."""
    order_F = np.argsort(-score_F, kind="stable")
    order_F = order_F[np.argsort(sentence_F[order_F], kind="stable")]
    sentence_F = sentence_F[order_F]
    rank_F = np.arange(len(order_F)) - np.searchsorted(sentence_F, sentence_F)
    return order_F[rank_F < most]


def _log_softmax(x_BM4: np.ndarray) -> np.ndarray:
    less_BM4 = x_BM4 - x_BM4.max(axis=1, keepdims=True)
    return less_BM4 - np.log(np.exp(less_BM4).sum(axis=1, keepdims=True))


def _at(x_BM4: np.ndarray, positions_B4: np.ndarray) -> np.ndarray:
    return np.take_along_axis(x_BM4, positions_B4[:, None], axis=1)[:, 0]


def _ordered(start_BME: np.ndarray, end_BME: np.ndarray) -> np.ndarray:
    after_BME, last_BME = _best_from(end_BME)
    start_BE = (start_BME + after_BME).argmax(axis=1)
    end_BE = np.take_along_axis(last_BME, start_BE[:, None], axis=1)[:, 0]
    return np.stack((start_BE, end_BE), axis=-1).reshape(len(start_BE), 4)


def _apart(start_BME: np.ndarray, end_BME: np.ndarray) -> np.ndarray:
    before_BME, first_BME = _best_up_to(start_BME)
    up_to_BME, ended_BME = _best_up_to(before_BME + end_BME)
    after_BME, last_BME = _best_from(end_BME)
    from_BME, begin_BME = _best_from(start_BME + after_BME)
    cuts_BME = up_to_BME[:, :-1] + from_BME[:, 1:, ::-1]
    best_B = cuts_BME.reshape(len(cuts_BME), -1).argmax(axis=1)
    rows_B, cut_B, entity_B = np.arange(len(best_B)), best_B // 2, best_B % 2
    end_B, begin_B = ended_BME[rows_B, cut_B, entity_B], begin_BME[rows_B, cut_B + 1, 1 - entity_B]
    positions_BE2 = np.empty((len(best_B), 2, 2), dtype=np.int64)
    positions_BE2[rows_B, entity_B] = np.stack((first_BME[rows_B, end_B, entity_B], end_B), axis=1)
    positions_BE2[rows_B, 1 - entity_B] = np.stack((begin_B, last_BME[rows_B, begin_B, 1 - entity_B]), axis=1)
    return positions_BE2.reshape(-1, 4)


def _best_up_to(x_BME: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest value up to each token, and the last place where it is, as torch's cummax."""
    best_BME = np.maximum.accumulate(x_BME, axis=1)
    place_M1 = np.arange(x_BME.shape[1])[:, None]
    return best_BME, np.maximum.accumulate(np.where(x_BME == best_BME, place_M1, 0), axis=1)


def _best_from(x_BME: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest value at or after each token, and where it is."""
    best_BME, index_BME = _best_up_to(x_BME[:, ::-1])
    return best_BME[:, ::-1], x_BME.shape[1] - 1 - index_BME[:, ::-1]
