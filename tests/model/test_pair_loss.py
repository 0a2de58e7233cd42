import numpy as np
import pytest
import torch

from mere_ds.model.limits import MASKED
from mere_ds.model.pair_heads import PairHeads, StatePairHeads
from mere_ds.model.pair_loss import (
    CANDIDATES,
    Pairs,
    pair_losses,
    pairs_to_train,
    ranking_loss,
    relation_loss,
    span_losses,
)
from tests.model import pair_reference
from tests.model.pair_reference import PairReference
from tests.model.reference import arrays, numeric_gradients
from tests.model.test_pair_heads import sample

HEADS = pytest.mark.parametrize("kind", [PairHeads, StatePairHeads])
LENGTHS = [9, 7, 8, 4]
SENTENCE_T = torch.tensor([0, 0, 0, 2, 2])
LABELS_T = torch.tensor([1, 1, 0, 2, 2])
POSITIONS_T4 = torch.tensor([[2, 4, 5, 7], [3, 4, 5, 7], [2, 4, 5, 5], [2, 2, 4, 6], [-1, -1, 2, 3]])
PAIRS = Pairs(
    sentence_P=torch.tensor([0, 0, 2, 1, 3]),
    labels_P=torch.tensor([0, 1, 2, 1, 0]),
    pair_T=torch.tensor([1, 1, 0, 2, 2]),
)


def triples(keep):
    """((i, j), (k, l)) of the gold triples for which `keep` holds of (sentence, label), whole ones alone."""
    rows = zip(SENTENCE_T.tolist(), LABELS_T.tolist(), POSITIONS_T4.tolist(), strict=True)
    return {((i, j), (k, m)) for b, u, (i, j, k, m) in rows if keep(b, u) and min(i, k) >= 0}


def expected_losses(weights, h_BMD):
    """B x 3, one pair at a time; where spans know no relation, those of a sentence are of all its triples."""
    sentences = [h[:length] for h, length in zip(h_BMD, LENGTHS, strict=True)]
    pairs = list(zip(PAIRS.sentence_P.tolist(), PAIRS.labels_P.tolist(), strict=True))
    of_states = "relations.weight" not in weights
    link_gold = [triples(lambda b, u, pair=pair: (b, u) == pair) for pair in pairs]
    span_gold = [triples(lambda b, u, pair=pair: b == pair[0]) for pair in pairs] if of_states else link_gold
    candidates = CANDIDATES + max(len({t[e] for t in gold}) for gold in span_gold for e in range(2))
    losses = np.zeros((len(LENGTHS), 3))
    for (b, u), spans, links in zip(pairs, span_gold, link_gold, strict=True):
        terms = pair_reference.pair_losses(PairReference(weights, sentences[b], u), spans, links, candidates)
        losses[b] = [*(terms[:2] if of_states else losses[b, :2] + terms[:2]), losses[b, 2] + terms[2]]
    return losses


def our_losses(heads, h_BMD, mask_BM):
    [losses_B3] = heads(
        h_BMD,
        mask_BM,
        PAIRS.sentence_P,
        PAIRS.labels_P,
        lambda scores, _: pair_losses(scores, PAIRS, POSITIONS_T4, len(LENGTHS)),
        len(PAIRS.labels_P),
    )
    return losses_B3


@HEADS
def test_losses(kind):
    heads, h_BMD, mask_BM = sample(kind, LENGTHS)
    ours = our_losses(heads, h_BMD, mask_BM).detach().numpy()
    np.testing.assert_allclose(ours, expected_losses(arrays(heads), h_BMD.numpy()), rtol=1e-9, atol=1e-9)
    assert (ours[3] > 0).all()  # a sentence without triples learns it


@HEADS
def test_gradients(kind):
    heads, h_BMD, mask_BM = sample(kind, LENGTHS, hidden_size=2, width=1)
    our_losses(heads, h_BMD, mask_BM).sum().backward()
    weights = arrays(heads)
    expected = numeric_gradients(lambda w: expected_losses(w, h_BMD.numpy()).sum(), weights, list(weights))
    for name, parameter in heads.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_ranking_loss():
    scores_XN = torch.tensor([[2.0, -1.0, 0.5, MASKED], [0.0, 3.0, -2.0, 1.0]], dtype=torch.float64)
    gold_XN = torch.tensor([[True, True, False, False], [False] * 4])
    ours = ranking_loss(scores_XN, gold_XN)
    assert ours[0].item() == pytest.approx(np.log1p(np.exp(-2) + np.exp(1)) + np.log1p(np.exp(0.5)))
    assert ours[1].item() == pytest.approx(np.log1p(np.exp([0.0, 3.0, -2.0, 1.0]).sum()))
    assert ranking_loss(torch.full((1, 3), MASKED), torch.zeros(1, 3, dtype=torch.bool)).item() == 0


def test_span_losses_are_ranking_losses():
    torch.manual_seed(0)
    scores_2SX = torch.randn(2, 3, 40, dtype=torch.float64).masked_fill(torch.rand(2, 3, 40) < 0.4, MASKED)
    gold_2SX = torch.zeros(2, 3, 40, dtype=torch.bool)
    gold_2SX[0, 0, :3] = gold_2SX[1, 0, 5] = gold_2SX[0, 2, 30] = True  # row 1 has none
    scores_2SX[gold_2SX] = torch.tensor([3.0, -1.0, 0.2, -9.0, 7.0], dtype=torch.float64)
    both = [scores_2SX.clone().requires_grad_() for _ in range(2)]
    losses_2S, likely_2SK = span_losses(both[0], gold_2SX.flatten().nonzero().squeeze(1))
    plain_2S = ranking_loss(both[1], gold_2SX)
    torch.testing.assert_close(losses_2S, plain_2S, rtol=1e-12, atol=1e-12)
    weights_2S = torch.rand(2, 3, dtype=torch.float64)
    for loss_2S in (losses_2S, plain_2S):
        (loss_2S * weights_2S).sum().backward()
    torch.testing.assert_close(both[0].grad, both[1].grad, rtol=1e-12, atol=1e-12)
    expected_2SK = scores_2SX.masked_fill(gold_2SX, torch.inf).topk(CANDIDATES + 3, dim=2).indices
    assert torch.equal(likely_2SK.sort(dim=2).values, expected_2SK.sort(dim=2).values)


def test_relation_loss_is_of_the_languages_relations_alone():
    relation_BU = torch.tensor([[1.0, -2.0, 30.0]], dtype=torch.float64)
    ours = relation_loss(relation_BU, torch.tensor([[True, False, False]]), torch.tensor([[True, True, False]]))
    assert ours.item() == pytest.approx(np.log1p(np.exp(-1)) + np.log1p(np.exp(-2)))


def test_pairs_are_the_gold_ones_and_the_likeliest_others():
    likeliness_BU = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, -torch.inf, -torch.inf]])
    pairs = pairs_to_train(torch.tensor([2, 0, 2]), torch.tensor([0, 0, 0]), likeliness_BU, 3)
    found = list(zip(pairs.sentence_P.tolist(), pairs.labels_P.tolist(), strict=True))
    assert sorted(found) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    assert [found[p] for p in pairs.pair_T.tolist()] == [(0, 2), (0, 0), (0, 2)]
    one = pairs_to_train(torch.tensor([2, 0, 2]), torch.tensor([0, 0, 0]), likeliness_BU, 1)
    assert sorted(zip(one.sentence_P.tolist(), one.labels_P.tolist(), strict=True)) == [(0, 0), (0, 2), (0, 3), (1, 1)]
    none = pairs_to_train(torch.tensor([2]), torch.tensor([0]), likeliness_BU, 0)
    assert none.sentence_P.tolist() == [0] and none.labels_P.tolist() == [2]
