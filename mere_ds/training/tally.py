"""Sums over the steps since the last training record in `metrics.jsonl`; checkpoints save them too."""

import math
import resource
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields, replace

import torch
import torch.distributed as dist

from mere_ds.errors import UserError
from mere_ds.runs.checkpoint import ADVICE
from mere_ds.training.operations import Tokens

_WORK = len(fields(Tokens))

_EARLIER = (
    ("head_start", "heads"),
    ("head_end", "tails"),
    ("tail_start", "links"),
    ("tail_end",),
    ("relation",),
    ("characters",),
)
"""The places of the loss terms in tallies of earlier versions, which stored a 0 for a term that isn't there."""


@dataclass
class Tally:
    """Sums over the steps since the last record, on this rank."""

    names: tuple[str, ...]
    """Of the N loss terms."""
    loss: torch.Tensor | float = 0.0
    terms_N: torch.Tensor | float = 0.0
    steps: int = 0
    sentences: int = 0
    tokens: int = 0
    places: int = 0
    work: Tokens = field(default_factory=Tokens)
    """What the operations depend on."""
    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    """Seconds that the reader had waited at the last record; negative after a resume, to count the time before it."""

    def sums(self) -> list[float]:
        """All sums as numbers, in the order in which checkpoints store them."""
        terms = torch.as_tensor(self.terms_N).expand(len(self.names)).tolist()
        return [float(self.loss), *terms, self.sentences, self.tokens, self.places, self.waited]

    def of_all(self, ranks: int, device: torch.device, *more: float) -> list[list[float]]:
        """The `sums` of all ranks, in fp64, each with its numbers `work` and `more`. Every rank must call it."""
        own = torch.tensor([*self.sums(), *astuple(self.work), *more], dtype=torch.float64, device=device)
        if ranks == 1:
            return [own.tolist()]
        gathered = [torch.empty_like(own) for _ in range(ranks)]
        dist.all_gather(gathered, own)
        return [sums.tolist() for sums in gathered]


def stored(tally: Tally, waited: float, ranks: int, device: torch.device) -> dict | None:
    """The tallies of all ranks in the format of `training.json`; None if no rank has seen a sentence.

    `waited` is the total time that this rank's reader has waited. Every rank must call it.
    """
    rows = replace(tally, waited=waited - tally.waited).of_all(ranks, device)
    sums, work = [row[:-_WORK] for row in rows], [sum(column) for column in zip(*rows, strict=True)][-_WORK:]
    if not any(row[1 + len(tally.names)] for row in sums):
        return None
    seconds = time.perf_counter() - tally.started
    return {"steps": tally.steps, "seconds": seconds, "ranks": sums, "work": work if math.isfinite(sum(work)) else None}


def restored(kept: dict | None, names: tuple[str, ...], rank: int, ranks: int, device: torch.device) -> Tally:
    """This rank's tally from what `stored` returned; if the number of ranks changed, rank 0 gets the sums of all.

    Raises UserError if it lacks some of the terms `names`.
    """
    if not kept:
        return Tally(names)
    then = kept["ranks"]
    if len(then) == ranks:
        sums = then[rank]
    else:
        sums = [sum(column) if rank == 0 else 0.0 for column in zip(*then, strict=True)]
        losses = slice(-4)  # records average these over ranks
        sums[losses] = [ranks / len(then) * value for value in sums[losses]]
    loss, *terms, sentences, tokens, places, waited = sums
    if len(terms) == len(_EARLIER) != len(names):
        terms = [terms[place] for name in names for place, earlier in enumerate(_EARLIER) if name in earlier]
    if len(terms) != len(names):
        raise UserError(f"the checkpoint's tally has {len(terms)} loss terms instead of {len(names)}: {ADVICE}")
    return Tally(
        names,
        loss,
        torch.tensor(terms, device=device),
        kept["steps"],
        int(sentences),
        int(tokens),
        int(places),
        _work_of(kept.get("work"), rank),
        time.perf_counter() - kept["seconds"],
        -waited,
    )


def _work_of(kept: list[float] | None, rank: int) -> Tokens:
    """The work of all ranks, on rank 0; that of an earlier version's checkpoint is unknown (nan)."""
    return Tokens() if rank else Tokens(*kept or [math.nan] * _WORK)


def slowest(waits: Sequence[float], seconds: float) -> dict[str, float]:
    """Which rank waited longest for its data, while the others waited for it, and what share of the `seconds`."""
    if len(waits) == 1:
        return {}
    rank = max(range(len(waits)), key=waits.__getitem__)
    return {"slowest_rank": rank, "slowest_rank_waiting_share": waits[rank] / seconds}


def most_memory(device: torch.device) -> int:
    """Bytes at the peak so far: those that torch has allocated on this rank's GPU, or this process' resident ones."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts KiB
