"""The interfaces that the loop needs: a model with its optimizer, and a batch."""

from typing import Protocol

import torch

Tensors = dict[str, torch.Tensor]
"""Tensors by name."""


class Rows(Protocol):
    """A batch that knows its rows."""

    @property
    def rows_B(self) -> torch.Tensor:
        """int64; row numbers of the data, `FILLER` for padding rows of the batch."""


class Learner(Protocol):
    """A model with its optimizer."""

    updated: bool
    """Whether the last update changed the weights; False if a gradient wasn't finite."""
    scale_of_step: float
    """fp16's loss scale in the last update."""

    @property
    def loss_scale_floor(self) -> float | None:
        """The lower bound of fp16's dynamic loss scale; None if the scale is fixed."""

    def snapshot(self) -> tuple[Tensors, Tensors]:
        """Copies of all weights and of the optimizer's state, on rank 0 (empty on others). Every rank must call it.

        Training does not change them, the next call does.
        """

    def counters(self) -> dict:
        """The rest of the optimizer's state that a checkpoint keeps, as JSON: "updates" and "loss_scaler"."""
