"""Rows -> a training batch: entity marks, blanks in place of entities, masked words.

All random choices depend only on the seed and the step, not on earlier steps.
Shape suffixes: B sentences, M tokens of a sentence (padded), N masked tokens, V token ids, marks and blank included.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from mere_ds.errors import UserError
from mere_ds.pretraining.pairing import BatchRows
from mere_ds.pretraining.statements import Statements

MARKS = ("[E1]", "[/E1]", "[E2]", "[/E2]", "[BLANK]")
"""Tokens of the extra embedding rows after the vocabulary, which exist only during this training."""

SHARE_MASK, SHARE_RANDOM = 0.8, 0.1
"""Shares of the tokens to predict that become [MASK] or a random word; the rest stays unchanged (Devlin et al.)."""


@dataclass(frozen=True)
class BlankBatch:
    """The input of one step."""

    token_ids_BM: torch.Tensor
    mask_BM: torch.Tensor
    """bool; true on real tokens."""
    masked_N: torch.Tensor
    """int64; positions of the tokens to predict, in the flattened B x M."""
    targets_N: torch.Tensor
    """int64; their ids."""
    starts_B2: torch.Tensor | None
    """int64; positions of [E1] and [E2] in M; None in a batch without pairs."""
    groups_B: torch.Tensor | None
    """int64; equal for the same entity pair; None in a batch without pairs."""
    rows_B: torch.Tensor
    """int64; row numbers of the statements."""

    def to(self, device: torch.device) -> "BlankBatch":
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {name: None if x is None else x.to(device) for name, x in values.items()}
        return BlankBatch(**moved)


class Collator:
    """Makes batches; `vocabulary` is the encoder's number of embeddings, after which the rows of `MARKS` follow.

    Raises UserError if the tokenizer has no mask token.
    """

    def __init__(
        self,
        statements: Statements,
        tokenizer: PreTrainedTokenizerFast,
        vocabulary: int,
        blank: float,
        mask: float,
        seed: int,
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise UserError(
                "this encoder's tokenizer has no mask token, so words can't be masked: choose another encoder"
            )
        self.statements, self.tokenizer = statements, tokenizer
        self.blank, self.mask, self.seed = blank, mask, seed
        *self._marks, self._blank = range(vocabulary, vocabulary + len(MARKS))
        added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
        special = {i for i, token in added.items() if token.special} | set(tokenizer.all_special_ids)
        self.words = np.setdiff1d(np.arange(len(tokenizer)), sorted(special))
        """Token ids that may be masked or drawn: no special tokens, no marks."""
        self._is_word_V = np.zeros(vocabulary + len(MARKS), bool)
        self._is_word_V[self.words] = True

    def __call__(self, batch: BatchRows, step: int) -> BlankBatch:
        random = np.random.default_rng([self.seed, step])
        sequences, starts = zip(*(self._sequence(row, random) for row in batch.rows), strict=True)
        lengths_B = np.array([len(sequence) for sequence in sequences])
        mask_BM = np.arange(lengths_B.max()) < lengths_B[:, None]
        ids_BM = np.full(mask_BM.shape, self.tokenizer.pad_token_id)
        ids_BM[mask_BM] = np.concatenate(sequences)
        shown_BM, masked_BM = self.hide(ids_BM, random)
        return BlankBatch(
            token_ids_BM=torch.from_numpy(shown_BM),
            mask_BM=torch.from_numpy(mask_BM),
            masked_N=torch.from_numpy(np.flatnonzero(masked_BM)),
            targets_N=torch.from_numpy(ids_BM[masked_BM]),
            starts_B2=torch.tensor(starts) if batch.matched else None,
            groups_B=torch.from_numpy(self.statements.groups[batch.rows]) if batch.matched else None,
            rows_B=torch.from_numpy(batch.rows),
        )

    def hide(self, ids_BM: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The input ids after masking, and which tokens to predict: each word with probability `mask`."""
        masked_BM = self._is_word_V[ids_BM] & (random.random(ids_BM.shape) < self.mask)
        kind_BM, drawn_BM = random.random(ids_BM.shape), random.choice(self.words, ids_BM.shape)
        other_BM = np.where(kind_BM < SHARE_MASK + SHARE_RANDOM, drawn_BM, ids_BM)
        other_BM = np.where(kind_BM < SHARE_MASK, self.tokenizer.mask_token_id, other_BM)
        return np.where(masked_BM, other_BM, ids_BM), masked_BM

    def _sequence(self, row: int, random: np.random.Generator) -> tuple[list[int], tuple[int, int]]:
        """Token ids `[CLS] w [E1] w [/E1] w [E2] w [/E2] w [SEP]` and the positions of [E1] and [E2].

        With probability `blank`, an entity's words are replaced by one [BLANK]. Unmarked sentences get no marks.
        """
        words, spans_22 = self.statements.words(row), self.statements.spans[row].reshape(2, 2)
        sequence, starts, read = [self.tokenizer.cls_token_id], [0, 0], 0
        for which in np.argsort(spans_22[:, 0]) if self.statements.marked[row] else ():
            start, end = spans_22[which]
            opened, closed = self._marks[2 * which : 2 * which + 2]
            inner = [self._blank] if random.random() < self.blank else words[start:end]
            sequence += words[read:start]
            starts[which] = len(sequence)
            sequence += [opened, *inner, closed]
            read = end
        return [*sequence, *words[read:], self.tokenizer.sep_token_id], (starts[0], starts[1])
