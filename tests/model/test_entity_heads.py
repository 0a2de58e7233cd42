import numpy as np
import torch

from mere_ds.model.entity_heads import EntityHeads, StateHeads, word_tokens
from mere_ds.model.limits import MASKED
from tests.model.reference import arrays, equation_9, head_matrices


def sample(lengths, width, hidden_size=6):
    torch.manual_seed(0)
    heads = EntityHeads(3, hidden_size).double()
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    h_BMD = torch.randn(len(lengths), width, hidden_size, dtype=torch.float64)
    mask_BM = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    return heads, h_BMD, mask_BM, torch.arange(len(lengths)) % 3


def test_equation_9():
    lengths = [7, 5, 4, 8]
    heads, h_BMD, mask_BM, labels_B = sample(lengths, 8)
    ours = heads(h_BMD, mask_BM, labels_B).detach().numpy()
    weights = arrays(heads)
    for b, length in enumerate(lengths):
        r_e = weights["relations.weight"][labels_B[b]]
        for y, (W_y, U_y) in enumerate(head_matrices(weights, prefix="")):
            logits = equation_9(h_BMD[b].numpy(), r_e, W_y, U_y)
            words = np.arange(8)[2 : length - 1]
            np.testing.assert_allclose(ours[b, words, y], logits[words], atol=1e-10)
            assert (np.delete(ours[b, :, y], words) == MASKED).all()


def test_gradient():
    heads, h_BMD, mask_BM, labels_B = sample([5, 4], 5, hidden_size=3)
    names, weights = zip(*heads.named_parameters(), strict=True)

    def function(h_BMD, *weights):
        values = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(heads, values, (h_BMD, mask_BM, labels_B))[:, 2:4]

    assert torch.autograd.gradcheck(function, (h_BMD.requires_grad_(), *weights))


def test_words_are_neither_special_tokens_nor_padding():
    mask_BM = torch.arange(6) < torch.tensor([[6], [4], [3], [1]])
    assert word_tokens(mask_BM).int().tolist() == [
        [0, 0, 1, 1, 1, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_logits_are_fp32_in_half_precision():
    heads, h_BMD, mask_BM, labels_B = sample([5, 4], 5)
    assert heads.bfloat16()(h_BMD.bfloat16(), mask_BM, labels_B).dtype == torch.float32


def test_relations_are_projected_once_each():
    heads, h_BMD, mask_BM, _ = sample([5] * 7, 5)
    rows = []
    heads.relation_half.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    heads(h_BMD, mask_BM, torch.arange(7) % 3)
    assert rows == [3]


def test_heads_on_states_are_a_linear_map_of_each_word():
    lengths = [7, 5, 4, 8]
    _, h_BMD, mask_BM, labels_B = sample(lengths, 8)
    heads = StateHeads(6).double()
    ours = heads(h_BMD, mask_BM, labels_B).detach().numpy()
    W = arrays(heads)["positions.weight"]
    for b, length in enumerate(lengths):
        words = np.arange(8)[2 : length - 1]
        np.testing.assert_allclose(ours[b, words], h_BMD[b].numpy()[words] @ W.T, atol=1e-12)
        assert (np.delete(ours[b], words, axis=0) == MASKED).all()
    assert heads.bfloat16()(h_BMD.bfloat16(), mask_BM, labels_B).dtype == torch.float32
