import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from mere_ds.model.switcher import LanguageSwitcher, SubModuleLayer, Switcher
from tests.model.reference import arrays, equation_5, equation_7, equation_8, language_sub_module, sub_modules

LAYERS = [2, 1, 1, 2, 3]


def sample(layers=LAYERS, renormalise=True, hidden_size=6, bottleneck=7):
    torch.manual_seed(0)
    switcher = Switcher(4, hidden_size, bottleneck, layers, renormalise).double()
    for parameter in switcher.parameters():
        torch.nn.init.normal_(parameter)
    h_BMD = torch.randn(6, 3, hidden_size, dtype=torch.float64)
    return switcher, h_BMD, torch.tensor([0, 1, 3, 0, 2, 1])


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_equations_5_to_8(k, renormalise):
    switcher, h_BMD, languages_B = sample(renormalise=renormalise)
    ours = switcher(h_BMD, languages_B, k).detach().numpy()
    weights = arrays(switcher)
    for b, n in enumerate(languages_B):
        f = equation_5(n, weights["languages.weight"], weights["router.weight"].T)
        expected = equation_8(h_BMD[b].numpy(), f, sub_modules(weights, LAYERS, prefix=""), k, renormalise)
        np.testing.assert_allclose(ours[b], expected, atol=1e-10)
        np.testing.assert_allclose(switcher.probabilities()[n], f, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3])
def test_gradient(k):
    switcher, h_BMD, languages_B = sample([1, 2, 1], hidden_size=3, bottleneck=4)
    names, weights = zip(*switcher.named_parameters(), strict=True)

    def function(h_BMD, *weights):
        return torch.func.functional_call(switcher, dict(zip(names, weights, strict=True)), (h_BMD, languages_B[:3], k))

    assert torch.autograd.gradcheck(function, (h_BMD[:3, :2].clone().requires_grad_(), *weights))


@pytest.mark.parametrize("weightless", range(len(LAYERS)))
def test_all_sub_modules_agree_with_all_but_one_that_has_no_weight(weightless):
    """All run batched, in training's form, fewer each on its own sentences: the sum is the same."""
    switcher, h_BMD, languages_B = sample()
    with torch.no_grad():
        switcher.languages.weight.abs_()
        switcher.router.weight[weightless] = -1e6
    assert (switcher.probabilities()[:, weightless] == 0).all()
    torch.testing.assert_close(switcher(h_BMD, languages_B, 5), switcher(h_BMD, languages_B, 4))


def test_only_chosen_sub_modules_are_computed_and_every_layer_is_entered():
    """Rows go to the sub-modules that the language chose; a layer that no sentence chose still runs its forward."""
    switcher, h_BMD, languages_B = sample()
    entered = {}
    for name, module in switcher.named_modules():
        if isinstance(module, SubModuleLayer):
            module.register_forward_pre_hook(
                lambda module, inputs, name=name: entered.update({name: [x.shape[1] for x in inputs[0]]})
            )
    switcher(h_BMD, languages_B, 2)
    chosen_BT = torch.zeros(6, 5, dtype=torch.int64)
    chosen_BT.scatter_(1, switcher.probabilities()[languages_B].topk(2).indices, 1)
    counts = chosen_BT.sum(dim=0).tolist()
    groups = [[counts[1], counts[2]], [counts[0], counts[3]], [counts[4]]]
    assert entered == {
        f"groups.{group}.{layer}": groups[group] for group, depth in enumerate((1, 2, 3)) for layer in range(depth)
    }
    entered.clear()
    switcher(h_BMD[:1], languages_B[:1], 1)
    assert len(entered) == 6 and sum(sum(rows) for name, rows in entered.items() if name.endswith(".0")) == 1


def test_probabilities_sum_to_one():
    switcher, *_ = sample()
    torch.testing.assert_close(switcher.probabilities().sum(dim=1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("k", [0, 6])
def test_k_outside_is_refused(k):
    switcher, h_BMD, languages_B = sample()
    with pytest.raises(UserError, match="between 1 and 5, the number of sub-modules"):
        switcher(h_BMD, languages_B, k)


def sample_by_language(languages=4, depth=2, hidden_size=6, bottleneck=7):
    torch.manual_seed(0)
    switcher = LanguageSwitcher(languages, hidden_size, bottleneck, depth).double()
    for parameter in switcher.parameters():
        torch.nn.init.normal_(parameter)
    return switcher


@given(languages=st.lists(st.integers(0, 3), min_size=1, max_size=9), depth=st.integers(1, 3))
@settings(max_examples=25)
def test_each_language_goes_through_its_own_sub_module(languages, depth):
    switcher = sample_by_language(depth=depth)
    h_BMD = torch.randn(len(languages), 3, 6, dtype=torch.float64)
    ours = switcher(h_BMD, torch.tensor(languages), 1).detach().numpy()
    weights = arrays(switcher)
    for b, n in enumerate(languages):
        expected = equation_7(h_BMD[b].numpy(), language_sub_module(weights, n, depth, prefix=""))
        np.testing.assert_allclose(ours[b], expected, atol=1e-10)


def test_gradient_by_language():
    switcher = sample_by_language(languages=3, depth=2, hidden_size=3, bottleneck=4)
    names, weights = zip(*switcher.named_parameters(), strict=True)
    languages_B = torch.tensor([2, 0, 2])  # none of language 1

    def function(h_BMD, *weights):
        return torch.func.functional_call(switcher, dict(zip(names, weights, strict=True)), (h_BMD, languages_B, 1))

    h_BMD = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (h_BMD, *weights))


def test_sentences_of_a_language_go_together_and_every_layer_is_entered():
    switcher, entered = sample_by_language(depth=3), {}
    for name, module in switcher.layers.named_children():
        module.register_forward_pre_hook(
            lambda module, inputs, name=name: entered.update({name: [x.shape[1] for x in inputs[0]]})
        )
    switcher(torch.randn(5, 2, 6, dtype=torch.float64), torch.tensor([3, 0, 3, 1, 3]), 1)
    assert entered == {name: [1, 1, 0, 3] for name in "012"}
    assert switcher.probabilities() is None


@pytest.mark.parametrize("k", [0, 2])
def test_by_language_there_is_nothing_to_choose(k):
    with pytest.raises(UserError, match="k must be 1"):
        sample_by_language()(torch.randn(1, 2, 6, dtype=torch.float64), torch.tensor([0]), k)
