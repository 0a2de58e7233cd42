"""Equations 2 and 3, first half: tokens -> encoded tokens and one pooled vector per sentence.

Shape suffixes: B sentences, M tokens (padded), R tokens as rows, D hidden size.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import pad

from mere_ds.errors import UserError
from mere_ds.model.precision import at_least_fp32
from mere_ds.model.rows import Rows, row_count

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CrossLingualEncoder(nn.Module):
    """H of eq. 2, any BERT-like `AutoModel`, and the pooler that makes h_p of eq. 3.

    `pooler` is `MereConfig.pooler`; the attribute `pooler_kind` says what "auto" resolved to ("encoder" or "new").
    Raises UserError if the encoder's own pooler is requested but it has none.
    """

    def __init__(self, model: "PreTrainedModel", pooler: str):
        super().__init__()
        has_own = getattr(model, "pooler", None) is not None
        if pooler == "encoder" and not has_own:
            raise UserError(f"{type(model).__name__} has no pooler of its own: set --pooler to new, mean or auto")
        self.pooler_kind = ("encoder" if has_own else "new") if pooler == "auto" else pooler
        if has_own and self.pooler_kind != "encoder":
            model.register_module("pooler", None)  # its parameters would never get a gradient
        self.model = model
        self.hidden_size = D = model.config.hidden_size
        self.pooler = nn.Linear(D, D) if self.pooler_kind == "new" else None

    def forward(self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """h_BMD (eq. 2) and h_p as pooled_BD (eq. 3); `mask_BM` is true on real tokens."""
        # No token types are passed: an encoder that has them uses the first type for all tokens.
        encoded = self.model(input_ids=token_ids_BM, attention_mask=mask_BM.long())
        h_BMD = encoded.last_hidden_state
        if self.pooler_kind == "encoder":
            return h_BMD, encoded.pooler_output
        if self.pooler_kind == "mean":
            return h_BMD, _mean(h_BMD, mask_BM)
        assert self.pooler is not None
        return h_BMD, torch.tanh(self.pooler(h_BMD[:, 0]))

    def of_rows(self, ids_R: torch.Tensor, rows: Rows, mask_BM: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """h_RD and h_p of the same, of tokens as rows, by a `PlainBert`; more sentences than there are have an h_p."""
        model: Any = self.model
        h_RD = model.of_rows(ids_R, rows)
        if self.pooler_kind == "mean":
            return h_RD, _mean(rows.padded(h_RD), mask_BM)
        B = len(rows.first_B)
        first_BD = h_RD[pad(rows.first_B, (0, row_count(B) - B))]
        if self.pooler_kind == "encoder":
            return h_RD, model.pooler(first_BD)
        assert self.pooler is not None
        return h_RD, torch.tanh(self.pooler(first_BD))


def _mean(h_BMD: torch.Tensor, mask_BM: torch.Tensor) -> torch.Tensor:
    """The mean over each sentence's real tokens, B x D; summed in fp32."""
    mask_BM1 = mask_BM.unsqueeze(-1)
    return ((at_least_fp32(h_BMD) * mask_BM1).sum(dim=1) / mask_BM1.sum(dim=1).clamp(min=1)).to(h_BMD.dtype)
