"""What a rank trains on in one micro-step.

Shape suffixes: B sentences of a micro-batch, M tokens of a sentence (padded), D hidden size, 4 positions (head start,
head end, tail start, tail end; the ends inclusive).
"""

from dataclasses import dataclass, fields

import torch


@dataclass(slots=True)
class Batch:
    """Tensors of one micro-batch; a filler sentence (to make every rank's step whole) has weight 0 and row -1."""

    token_ids_BM: torch.Tensor
    """int64; `[CLS] [xx] w ... w [SEP]`, padded with the tokenizer's pad id."""
    mask_BM: torch.Tensor
    """bool; true on real tokens (a filler has its first token true, so that no softmax is empty)."""
    languages_B: torch.Tensor
    """int64; index into the manifest's languages."""
    labels_B: torch.Tensor
    """int64; index into the manifest's labels."""
    positions_B4: torch.Tensor
    """int64; token positions of the gold spans; -1 where truncation cut the span off (test only) and in fillers."""
    cuts_B4: torch.Tensor
    """int64; characters that the gold spans leave out at the front of their first and at the end of their last token;
    -1 where there is no such token, in fillers and where the shards don't tell."""
    weights_B: torch.Tensor
    """float32; 1 for a sentence, 0 for a filler."""
    rows_B: torch.Tensor
    """int64; the sentence's row number in its split, of the manifest's languages alone; -1 for a filler."""
    global_sentences: int
    """Real sentences in the whole global batch, over all ranks and accumulation steps."""
    unified_BMD: torch.Tensor | None = None
    """In stage two: what the frozen encoder and LA made of the sentences, 0 on padding (see `FeatureStore`)."""
    pooled_BD: torch.Tensor | None = None
    """h_p of eq. 3 to it."""

    @property
    def features(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(unified_BMD, pooled_BD), as `MereModel.forward` takes them; None where they are to be computed."""
        return None if self.unified_BMD is None else (self.unified_BMD, self.pooled_BD)

    def to(self, device: torch.device) -> "Batch":
        """The same batch with every tensor on `device`."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{k: v.to(device, non_blocking=True) if torch.is_tensor(v) else v for k, v in moved.items()})
