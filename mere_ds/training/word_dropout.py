"""Word dropout: some words of a training sentence are replaced by random ones, so that the model learns from context.

This helps to find names that were not in the training data. Which words are replaced depends only on the seed, the
epoch, the sentence's row and the position, not on ranks, batches or earlier steps.

Shape suffixes: B sentences, M tokens of a sentence (padded), V ids of words.
"""

import numpy as np
import torch

from mere_ds.encoders.tokenizer_files import FolderTokenizer
from mere_ds.shards.batch import Batch


class WordDropout:
    """Replaces a `share` of the word tokens; special tokens and language symbols are never replaced or drawn."""

    def __init__(self, share: float, tokenizer: FolderTokenizer, seed: int) -> None:
        self.share, self.seed = share, seed
        self.words_V = torch.from_numpy(np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids))

    def __call__(self, batch: Batch, epoch: int) -> torch.Tensor:
        """The batch's `token_ids_BM` with words replaced."""
        if not self.share:
            return batch.token_ids_BM
        B, M = batch.token_ids_BM.shape
        noise_B1 = _mix(batch.rows_B.cpu().numpy().astype(np.uint64)[:, None], self.seed, epoch)
        noise_BM = _mix(noise_B1 + np.arange(M, dtype=np.uint64), 0, 0)
        hit_BM = torch.from_numpy((noise_BM >> np.uint64(32)).astype(np.float64) < self.share * 2.0**32)
        drawn_BM = self.words_V[torch.from_numpy((noise_BM % np.uint64(len(self.words_V))).astype(np.int64))]
        last_B1 = batch.mask_BM.sum(1, keepdim=True) - 1  # [SEP]; [CLS] and [xx] stand at 0 and 1
        places_M = torch.arange(M, device=last_B1.device)
        word_BM = (places_M >= 2) & (places_M < last_B1)
        device = batch.token_ids_BM.device
        return torch.where(word_BM & hit_BM.to(device), drawn_BM.to(device), batch.token_ids_BM)


def _mix(x: np.ndarray, *keys: int) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al., 2014) over `x` and keys: every bit of the result depends on every bit."""
    for key in keys:
        x = x + np.uint64(0x9E3779B97F4A7C15 * (key + 1) % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return x
