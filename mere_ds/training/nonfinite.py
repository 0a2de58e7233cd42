"""Losses and gradients that aren't finite: all ranks skip the update and the batch is logged; too many are fatal."""

import logging
from collections.abc import Iterable, Sequence

import torch

from mere_ds.errors import UserError
from mere_ds.shards.plan import FILLER
from mere_ds.training.learner import Learner, Rows
from mere_ds.training.observers import Observers
from mere_ds.training.process import Process

log = logging.getLogger("mere_ds")

_NAMED = 8  # rows of a batch in the log; metrics.jsonl has all


def nan_if_not_finite(loss: torch.Tensor) -> torch.Tensor:
    """The same loss, but with a nan gradient if it isn't finite, so that checking the gradient is enough for both."""
    return loss * torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)


class NonfiniteGuard:
    """Checks each update of a training; every rank comes to the same conclusion.

    `name` is the training's name, `rows` describes what its row numbers refer to. Training fails after `limit` such
    updates in a row, with `advice`, a sentence.
    """

    def __init__(
        self, process: Process, learner: Learner, observers: Observers, name: str, rows: str, limit: int, advice: str
    ) -> None:
        self.process, self.learner, self.observers = process, learner, observers
        self.name, self.rows, self.limit, self.advice = name, rows, limit, advice
        self.in_a_row = 0

    def look(self, step: int, epoch: int, batches: Sequence[Rows], losses: Sequence[torch.Tensor]) -> None:
        """Call after update `step` on these micro-batches; raises UserError if training must stop."""
        if self.learner.updated:
            self.in_a_row = 0
            return
        own = _rows(batch for batch, loss in zip(batches, losses, strict=True) if not loss.isfinite())
        by_rank = self.process.from_all(own)
        floor = self.learner.loss_scale_floor
        if floor is not None and not any(by_rank):  # fp16: an occasional overflow by the loss scale is normal
            if self.learner.scale_of_step <= floor:
                raise UserError(
                    f"{self.name}, step {step}: fp16's loss scale has reached its minimum of {floor:g} and the "
                    "gradient still overflows: use a lower --learning_rate, a longer --warmup, or bf16 or fp32"
                )
            return
        self.in_a_row += 1
        what = "loss" if any(by_rank) else "gradient"
        affected = by_rank if any(by_rank) else self.process.from_all(_rows(batches))
        rows = {rank: own for rank, own in enumerate(affected) if own}
        self.observers.record("nonfinite", step, epoch, {"what": what, "rows_by_rank": rows})
        named = "; ".join(f"rank {rank}: {_some(own)}" for rank, own in rows.items())
        text = f"{self.name}, step {step}: the {what} isn't finite; rows of the {self.rows}: {named}"
        if self.in_a_row >= self.limit:
            count = f"That is {self.in_a_row} in a row. " if self.in_a_row > 1 else ""
            raise UserError(f"{text}. {count}{self.advice}")
        log.warning("%s; update skipped on all ranks", text)


def _rows(batches: Iterable[Rows]) -> list[int]:
    return [row for batch in batches for row in batch.rows_B.tolist() if row != FILLER]


def _some(rows: list[int]) -> str:
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return ", ".join(map(str, rows[:_NAMED])) + more
