"""The tensors that a rank trains on in one micro-step.

Shape suffixes: B sentences of a micro-batch, T gold triples of these, M tokens of a sentence (padded), D hidden size,
4 positions (head start, head end, tail start, tail end; the ends inclusive).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch


@dataclass(slots=True)
class Batch:
    """Tensors of one micro-batch; a filler sentence (which completes an incomplete batch) has weight 0 and row -1."""

    token_ids_BM: torch.Tensor
    """int64; `[CLS] [xx] w ... w [SEP]`, padded with the tokenizer's pad id."""
    mask_BM: torch.Tensor
    """bool; true on real tokens (a filler has its first token true, so that no softmax is empty)."""
    languages_B: torch.Tensor
    """int64; index into the manifest's languages."""
    sentence_T: torch.Tensor
    """int64, ascending; the triple's sentence, an index into B. Where each sentence has one triple, T is B."""
    labels_T: torch.Tensor
    """int64; index into the manifest's labels."""
    positions_T4: torch.Tensor
    """int64; token positions of the gold spans; -1 where truncation cut the span off (test only) and in fillers."""
    cuts_T4: torch.Tensor
    """int64; characters to trim from the gold spans' tokens, at the start of the first and the end of the last one; -1
    where there is no such token, in fillers and if the shards don't contain them."""
    weights_B: torch.Tensor
    """float32; 1 for a sentence, 0 for a filler."""
    rows_B: torch.Tensor
    """int64; the sentence's row number in its split, counting only the manifest's languages; -1 for a filler."""
    global_sentences: int
    """Real sentences in the whole global batch, over all ranks and accumulation steps."""
    unified_BMD: torch.Tensor | None = None
    """In stage two: the output of the frozen encoder and LA, 0 on padding (see `FeatureStore`)."""
    pooled_BD: torch.Tensor | None = None
    """h_p of eq. 3 for the same sentences."""

    @property
    def features(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(unified_BMD, pooled_BD), as `MereModel.forward` takes them; None if they have to be computed."""
        if self.unified_BMD is None or self.pooled_BD is None:
            return None
        return self.unified_BMD, self.pooled_BD

    def to(self, device: torch.device) -> "Batch":
        """The same batch with every tensor on `device`."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """The same batch in memory that a GPU can copy from without waiting."""
        return self._with(torch.Tensor.pin_memory)

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: change(x) if torch.is_tensor(x) else x for name, x in values.items()}
        return Batch(**changed)
