"""Losses and gradients that aren't finite: no rank updates, the batch is named, too many in a row end the run."""

import logging
from collections.abc import Iterable

import torch
import torch.distributed as dist

from mere_ds.errors import UserError
from mere_ds.shards.batch import Batch
from mere_ds.shards.plan import FILLER
from mere_ds.training.engine import Trainee
from mere_ds.training.monitor import Monitor
from mere_ds.training.session import Session

log = logging.getLogger("mere_ds")

_NAMED = 8  # rows of a batch in the log; metrics.jsonl has all


def poisoned(loss: torch.Tensor) -> torch.Tensor:
    """The same loss, but with a gradient of nan where it isn't finite: one check of the gradient then finds both."""
    return loss * torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)


class NonfiniteGuard:
    """Looks at each update of a stage; every rank comes to the same conclusion."""

    def __init__(self, session: Session, stage: int, trainee: Trainee, monitor: Monitor) -> None:
        self.session, self.stage, self.trainee, self.monitor = session, stage, trainee, monitor
        self.in_a_row = 0

    def look(self, step: int, epoch: int, batches: list[Batch], losses: list[torch.Tensor]) -> None:
        """After update `step` from these micro-batches; raises UserError where training must stop."""
        if self.trainee.updated:
            self.in_a_row = 0
            return
        by_rank = self._from_all(_rows(b for b, loss in zip(batches, losses, strict=True) if not loss.isfinite()))
        floor = self.trainee.loss_scale_floor
        if floor is not None and not any(by_rank):  # fp16: a gradient too large for its scale is nothing unusual
            if self.trainee.scale_of_step <= floor:
                raise UserError(
                    f"stage {self.stage}, step {step}: fp16's loss scale has fallen to its floor of {floor:g} and the "
                    "gradient still overflows: take a lower --learning_rate or a longer --warmup, or bf16 or fp32"
                )
            return
        self.in_a_row += 1
        what = "loss" if any(by_rank) else "gradient"
        affected = by_rank if any(by_rank) else self._from_all(_rows(batches))
        rows = {rank: own for rank, own in enumerate(affected) if own}
        self.monitor.record("nonfinite", step, epoch, {"what": what, "rows_by_rank": rows})
        named = "; ".join(f"rank {rank}: {_some(own)}" for rank, own in rows.items())
        chosen = self.session.config.languages
        split = "train split" if chosen == "all" else f"train split with --languages={chosen}"
        text = f"stage {self.stage}, step {step}: the {what} isn't finite; rows of the {split}: {named}"
        if self.session.config.on_nonfinite == "stop":
            raise UserError(f"{text}. --on_nonfinite=skip goes on without such batches")
        if self.in_a_row >= self.session.config.nonfinite_limit:
            raise UserError(f"{text}. That is {self.in_a_row} in a row: a lower --learning_rate may help")
        log.warning("%s; no rank updated", text)

    def _from_all(self, own: list[int]) -> list[list[int]]:
        gathered: list = [None] * self.session.ranks
        dist.all_gather_object(gathered, own)
        return gathered


def _rows(batches: Iterable[Batch]) -> list[int]:
    return [row for batch in batches for row in batch.rows_B.tolist() if row != FILLER]


def _some(rows: list[int]) -> str:
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return ", ".join(map(str, rows[:_NAMED])) + more
