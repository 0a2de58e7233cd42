"""One rank of a training, and the collectives by which all ranks agree on something."""

from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from mere_ds.lease import WriterLease
from mere_ds.ranks.stop import StopSignals

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Process:
    """One rank of a training; a single rank needs no process group."""

    device: torch.device
    stop: StopSignals
    lease: WriterLease | None
    """Rank 0's exclusive right to write into the training's folder; None on other ranks."""
    rank: int = 0
    ranks: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only one that writes files and shows progress."""
        return self.rank == 0

    def from_rank_0(self, value: Value) -> Value:
        """Rank 0's `value`, on every rank: on a network file system the others may still see older files."""
        if self.ranks == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def from_all(self, own: Value) -> list[Value]:
        """The values of all ranks, by rank. Every rank must call it."""
        if self.ranks == 1:
            return [own]
        gathered: list = [None] * self.ranks
        dist.all_gather_object(gathered, own)
        return gathered

    def any_of(self, *own: bool) -> list[bool]:
        """For each argument, whether it is true on any rank. Every rank must call it."""
        if self.ranks == 1:
            return list(own)
        answers = torch.tensor(own, dtype=torch.int32, device=self.device)
        dist.all_reduce(answers, op=dist.ReduceOp.MAX)
        return [bool(answer) for answer in answers.tolist()]

    def wait_for_all(self) -> None:
        """Return when all ranks have called this."""
        if self.ranks > 1:
            dist.barrier()
