import numpy as np
import pytest
import torch

from mere_ds.model.limits import MASKED
from mere_ds.model.pair_heads import PairHeads, StatePairHeads
from tests.model.pair_reference import PairReference
from tests.model.reference import arrays

HEADS = pytest.mark.parametrize("kind", [PairHeads, StatePairHeads])
LENGTHS = [7, 5, 4, 8]
SENTENCE_P, LABELS_P = torch.tensor([0, 3, 1, 3, 2]), torch.tensor([2, 0, 1, 2, 0])


def sample(kind, lengths=LENGTHS, hidden_size=6, width=3):
    torch.manual_seed(0)
    heads = kind(3, hidden_size, width).double()
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    h_BMD = torch.randn(len(lengths), max(lengths), hidden_size, dtype=torch.float64)
    mask_BM = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    return heads, h_BMD, mask_BM


@HEADS
def test_spans_and_links(kind):
    heads, h_BMD, mask_BM = sample(kind)
    M = h_BMD.shape[1]
    every_P2K = torch.arange(M * M).expand(len(LABELS_P), 2, -1)
    [scores] = heads(h_BMD, mask_BM, SENTENCE_P, LABELS_P, lambda scores, _: scores, 10)
    spans_P2MM = scores.spans_S2MM[scores.row_P].detach().numpy()
    links_PKK = scores.links(every_P2K).detach().numpy()
    weights = arrays(heads)
    for p, (b, label) in enumerate(zip(SENTENCE_P.tolist(), LABELS_P.tolist(), strict=True)):
        assert scores.sentence_S[scores.row_P[p]] == b
        reference = PairReference(weights, h_BMD[b, : LENGTHS[b]].numpy(), label)
        allowed = np.zeros((M, M), dtype=bool)
        for i, j in reference.spans():
            allowed[i, j] = True
            for entity in range(2):
                np.testing.assert_allclose(spans_P2MM[p, entity, i, j], reference.span(entity, i, j), atol=1e-10)
            for k, m in reference.spans():
                expected = reference.link((i, j), (k, m))
                np.testing.assert_allclose(links_PKK[p, i * M + j, k * M + m], expected, atol=1e-10)
        assert (spans_P2MM[p][:, ~allowed] == MASKED).all()


@HEADS
def test_so_many_at_once_is_the_same(kind):
    heads, h_BMD, mask_BM = sample(kind)
    places_K = torch.tensor([2 * 8 + 2, 2 * 8 + 3])

    def use(scores, pairs):
        return scores.spans_S2MM[scores.row_P], scores.links(places_K.expand(len(scores.row_P), 2, -1))

    whole = heads(h_BMD, mask_BM, SENTENCE_P, LABELS_P, use, 5)
    parts = heads(h_BMD, mask_BM, SENTENCE_P, LABELS_P, use, 2)
    assert [len(spans) for spans, _ in parts] == [2, 2, 1]
    for kind_of_score in range(2):
        together = torch.cat([part[kind_of_score] for part in parts])
        torch.testing.assert_close(together, whole[0][kind_of_score], rtol=1e-12, atol=1e-12)


@HEADS
def test_gradient(kind):
    heads, h_BMD, mask_BM = sample(kind, [5, 4], hidden_size=3, width=2)
    names, weights = zip(*heads.named_parameters(), strict=True)
    places_P2K = torch.tensor([[[12, 13], [18, 12]], [[12, 12], [12, 12]], [[12, 18], [13, 18]]])

    def use(scores, pairs):
        return scores.spans_S2MM[:, :, 2:4, 2:4].triu(), scores.links(places_P2K)

    def function(h_BMD, *weights):
        values = dict(zip(names, weights, strict=True))
        arguments = (h_BMD, mask_BM, torch.tensor([0, 1, 0]), torch.tensor([2, 1, 1]), use, 10)
        return torch.func.functional_call(heads, values, arguments)[0]

    assert torch.autograd.gradcheck(function, (h_BMD.requires_grad_(), *weights))


@HEADS
def test_scores_are_fp32_in_half_precision(kind):
    heads, h_BMD, mask_BM = sample(kind)
    h_BMD = h_BMD.bfloat16()
    [scores] = heads.bfloat16()(h_BMD, mask_BM, SENTENCE_P, LABELS_P, lambda scores, _: scores, 10)
    links_PKK = scores.links(torch.full((len(LABELS_P), 2, 1), 2 * 8 + 2))
    assert scores.spans_S2MM.dtype == links_PKK.dtype == torch.float32


@HEADS
def test_no_pair_at_all(kind):
    heads, h_BMD, mask_BM = sample(kind)
    none = torch.empty(0, dtype=torch.long)
    [links_PKK] = heads(h_BMD, mask_BM, none, none, lambda scores, _: scores.links(none.view(0, 2, 0)), 5)
    assert links_PKK.shape == (0, 0, 0)
