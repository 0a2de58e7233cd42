"""What the loop knows of a model with its optimizer, and of a batch."""

from typing import Protocol

import torch

Tensors = dict[str, torch.Tensor]
"""By name."""


class Rows(Protocol):
    """A batch that can say which rows it holds."""

    @property
    def rows_B(self) -> torch.Tensor:
        """int64; the data's rows, `FILLER` where a place of the batch holds none."""


class Learner(Protocol):
    """A model with its optimizer."""

    updated: bool
    """Whether the last update changed the weights; not after a gradient that isn't finite."""
    scale_of_step: float
    """fp16's loss scale in the last update."""

    @property
    def loss_scale_floor(self) -> float | None:
        """The lowest that fp16's loss scale may fall to; None where the scale doesn't move."""

    def snapshot(self) -> tuple[Tensors, Tensors]:
        """All weights, and the optimizer's state, on rank 0 (elsewhere empty). Every rank must call it."""

    def counters(self) -> dict:
        """What else of the optimizer a checkpoint keeps, as JSON: "updates" and "loss_scaler"."""
