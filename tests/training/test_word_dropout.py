"""Word dropout: which words, how many, and independent of how sentences are batched."""

import numpy as np
import torch

from mere_ds.shards.batch import Batch
from mere_ds.training.word_dropout import WordDropout


class Tokenizer:
    all_special_ids = (0, 1, 2, 3, 99)

    def __len__(self):
        return 100


def batch(lengths, rows, width):
    B = len(lengths)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    return Batch(
        token_ids_BM=torch.where(mask, 50, 0), mask_BM=mask, languages_B=torch.zeros(B),
        sentence_T=torch.arange(B), labels_T=torch.zeros(B),
        positions_T4=torch.zeros(B, 4), cuts_T4=torch.zeros(B, 4), weights_B=torch.ones(B),
        rows_B=torch.tensor(rows), global_sentences=B,
    )  # fmt: skip


def test_only_words_are_replaced_and_only_by_words():
    given = batch([40, 3, 60] * 50, range(150), 64)
    ids = WordDropout(0.5, Tokenizer(), seed=1)(given, epoch=0)
    place = torch.arange(64)
    words = (place >= 2) & (place < given.mask_BM.sum(1, keepdim=True) - 1)
    assert (ids[~words] == given.token_ids_BM[~words]).all()
    assert not np.isin(ids[words].numpy(), Tokenizer.all_special_ids).any()
    assert set(range(4, 99)) == set(ids[words].tolist()), "any word may come in"
    assert 0.47 < (ids[words] != 50).float().mean() < 0.53


def test_a_sentence_s_words_do_not_depend_on_its_batch():
    drop = WordDropout(0.3, Tokenizer(), seed=1)
    alone = drop(batch([30], [7], 30), epoch=2)
    among = drop(batch([10, 30, 20], [3, 7, 5], 40), epoch=2)
    assert torch.equal(alone[0], among[1, :30])


def test_epochs_seeds_and_rows_differ():
    def draw(seed, epoch, row):
        return tuple(WordDropout(0.3, Tokenizer(), seed)(batch([60], [row], 60), epoch)[0].tolist())

    assert len({draw(seed, epoch, row) for seed in range(3) for epoch in range(3) for row in range(20)}) == 180


def test_nothing_is_replaced_by_default():
    given = batch([30], [7], 30)
    assert WordDropout(0.0, Tokenizer(), seed=1)(given, 0) is given.token_ids_BM
