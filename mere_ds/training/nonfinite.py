"""Losses and gradients that aren't finite: no rank updates, the batch is named, too many in a row end the run."""

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
    """The same loss, but with a gradient of nan where it isn't finite: one check of the gradient then finds both."""
    return loss * torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)


class NonfiniteGuard:
    """Looks at each update of a training; every rank comes to the same conclusion. No observer decides.

    `name` is the training's, `rows` what its rows are of. Training ends after `limit` such updates in a row, with
    `advice`, a sentence.
    """

    def __init__(
        self, process: Process, learner: Learner, observers: Observers, name: str, rows: str, limit: int, advice: str
    ) -> None:
        self.process, self.learner, self.observers = process, learner, observers
        self.name, self.rows, self.limit, self.advice = name, rows, limit, advice
        self.in_a_row = 0

    def look(self, step: int, epoch: int, batches: Sequence[Rows], losses: Sequence[torch.Tensor]) -> None:
        """After update `step` from these micro-batches; raises UserError where training must stop."""
        if self.learner.updated:
            self.in_a_row = 0
            return
        own = _rows(batch for batch, loss in zip(batches, losses, strict=True) if not loss.isfinite())
        by_rank = self.process.from_all(own)
        floor = self.learner.loss_scale_floor
        if floor is not None and not any(by_rank):  # fp16: a gradient too large for its scale is nothing unusual
            if self.learner.scale_of_step <= floor:
                raise UserError(
                    f"{self.name}, step {step}: fp16's loss scale has fallen to its floor of {floor:g} and the "
                    "gradient still overflows: take a lower --learning_rate or a longer --warmup, or bf16 or fp32"
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
        log.warning("%s; no rank updated", text)


def _rows(batches: Iterable[Rows]) -> list[int]:
    return [row for batch in batches for row in batch.rows_B.tolist() if row != FILLER]


def _some(rows: list[int]) -> str:
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return ", ".join(map(str, rows[:_NAMED])) + more
