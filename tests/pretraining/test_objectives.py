"""The two losses and the masked word head, against NumPy in float64 and against transformers' own model."""

import numpy as np
import torch
from transformers import BertForMaskedLM

from mere_ds.encoders.sources import build_encoder, load_encoder
from mere_ds.pretraining.batches import BlankBatch
from mere_ds.pretraining.objectives import Blanks, masked_word_loss, match_logits, matching_loss
from mere_ds.pretraining.word_head import read_word_head


def test_masked_words_cost_their_cross_entropy():
    draw = np.random.default_rng(0)
    logits_NV, targets_N = draw.normal(size=(5, 7)), draw.integers(0, 7, 5)
    chances_NV = np.exp(logits_NV) / np.exp(logits_NV).sum(1, keepdims=True)
    expected = -np.mean(np.log(chances_NV[np.arange(5), targets_N]))
    loss = masked_word_loss(torch.from_numpy(logits_NV), torch.from_numpy(targets_N))
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-12)


def test_without_a_masked_word_there_is_no_loss_and_no_nan():
    assert masked_word_loss(torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64)).item() == 0


def test_matching_is_binary_cross_entropy_of_the_scaled_cosine():
    draw = np.random.default_rng(1)
    r_BR, groups_B, scale, offset = draw.normal(size=(6, 4)), np.array([1, 1, 2, 2, 1, 3]), 7.0, -2.0
    costs, right = {True: [], False: []}, {True: [], False: []}
    for i in range(6):
        for j in range(6):
            if i != j:
                cosine = r_BR[i] @ r_BR[j] / np.linalg.norm(r_BR[i]) / np.linalg.norm(r_BR[j])
                chance, same = 1 / (1 + np.exp(-(scale * cosine + offset))), groups_B[i] == groups_B[j]
                costs[same].append(-np.log(chance if same else 1 - chance))
                right[same].append((chance > 0.5) == same)
    logits_BB = match_logits(torch.from_numpy(r_BR), torch.tensor(scale), torch.tensor(offset))
    groups_B = torch.from_numpy(groups_B)
    loss, share = matching_loss(logits_BB, groups_B[:, None] == groups_B)
    np.testing.assert_allclose(loss.item(), (np.mean(costs[True]) + np.mean(costs[False])) / 2, rtol=1e-12)
    np.testing.assert_allclose(share.item(), (np.mean(right[True]) + np.mean(right[False])) / 2, rtol=1e-6)


def test_a_batch_of_one_pair_has_no_negatives_and_no_nan():
    loss, share = matching_loss(torch.full((2, 2), 3.0), torch.ones(2, 2, dtype=torch.bool))
    np.testing.assert_allclose(loss.item(), np.log1p(np.exp(-3)) / 2, rtol=1e-6)
    assert share.item() == 1


def test_an_encoder_s_own_word_head_is_taken(wee, tmp_path):
    """The loss is that of transformers' model for masked words, whose head this is."""
    source = tmp_path / "source"
    build_encoder(str(wee), source, lambda: [], [])
    torch.manual_seed(0)
    theirs = BertForMaskedLM.from_pretrained(wee).eval()
    torch.nn.init.normal_(theirs.cls.predictions.bias)
    theirs.save_pretrained(source)
    info = build_encoder(str(source), tmp_path / "built", lambda: [], [])
    head = read_word_head(info)
    assert set(head) == {"bias_V", *(f"transform.{i}.{end}" for i in (0, 2) for end in ("weight", "bias"))}

    model = Blanks(load_encoder(tmp_path / "built", info), info.vocab_size).eval()
    model.load_state_dict(head, strict=False)
    ids_BM = torch.randint(5, info.vocab_size, (2, 9))
    masked_BM = torch.rand(2, 9) < 0.4
    batch = BlankBatch(ids_BM, torch.ones(2, 9, dtype=torch.bool), masked_BM.flatten().nonzero()[:, 0],
                       ids_BM[masked_BM], None, None, torch.arange(2))  # fmt: skip
    with torch.no_grad():
        expected = theirs(input_ids=ids_BM, labels=ids_BM.where(masked_BM, -100)).loss
        values = model(batch)
    assert set(values) == {"masked_words"}
    torch.testing.assert_close(values["masked_words"], expected)


def test_a_checkpoint_without_a_word_head_gives_none(wee, tmp_path):
    assert read_word_head(build_encoder(str(wee), tmp_path / "built", lambda: [], [])) == {}
