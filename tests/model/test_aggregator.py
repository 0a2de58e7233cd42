import numpy as np
import pytest
import torch

from mere_ds.model.aggregator import Aggregator
from tests.model.reference import aggregator_matrices, arrays, equation_4

LENGTHS = [5, 3, 4, 5, 2, 1]


def sample(residual, lengths=LENGTHS, width=5):
    torch.manual_seed(0)
    aggregator = Aggregator(6, residual).double()
    h_BMD = torch.randn(len(lengths), width, 6, dtype=torch.float64)
    return aggregator, h_BMD, torch.arange(width) < torch.tensor(lengths).unsqueeze(1)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("s", [1, 2, 3])
def test_equation_4(residual, s):
    aggregator, h_BMD, mask_BM = sample(residual)
    if residual:
        torch.nn.init.normal_(aggregator.norm.weight)
        torch.nn.init.normal_(aggregator.norm.bias)
    ours = aggregator(h_BMD, mask_BM, s).detach().numpy()
    sentences = [h[:length] for h, length in zip(h_BMD.numpy(), LENGTHS, strict=True)]
    *matrices, norm = aggregator_matrices(arrays(aggregator), prefix="")
    for start in range(0, len(LENGTHS), s):
        for i, expected in enumerate(equation_4(sentences[start : start + s], *matrices, norm=norm), start):
            np.testing.assert_allclose(ours[i, : LENGTHS[i]], expected, atol=1e-10)


@pytest.mark.parametrize("residual", [False, True])
def test_gradient(residual):
    aggregator, h_BMD, mask_BM = sample(residual, lengths=[3, 2], width=3)
    names, weights = zip(*aggregator.named_parameters(), strict=True)

    def function(h_BMD, *weights):
        out = torch.func.functional_call(aggregator, dict(zip(names, weights, strict=True)), (h_BMD, mask_BM, 2))
        return out[mask_BM]

    assert torch.autograd.gradcheck(function, (h_BMD.requires_grad_(), *weights))


def test_padding_reaches_nobody():
    aggregator, h_BMD, mask_BM = sample(True)
    noisy = torch.where(mask_BM.unsqueeze(-1), h_BMD, 1e3 * torch.randn_like(h_BMD))
    assert torch.equal(aggregator(h_BMD, mask_BM, 2)[mask_BM], aggregator(noisy, mask_BM, 2)[mask_BM])


def test_sentences_of_one_concatenation_see_each_other_and_no_others():
    aggregator, h_BMD, mask_BM = sample(True)
    changed = h_BMD.clone()
    changed[2] += 1
    moved = (aggregator(h_BMD, mask_BM, 2) - aggregator(changed, mask_BM, 2)).abs().amax(dim=(1, 2)) > 0
    assert moved.tolist() == [False, False, True, True, False, False]


def test_concatenation_that_does_not_divide_the_batch_is_a_defect():
    aggregator, h_BMD, mask_BM = sample(True)
    with pytest.raises(AssertionError):
        aggregator(h_BMD, mask_BM, 4)
