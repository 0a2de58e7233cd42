"""Averages gradients over ranks while the backward pass still computes others, for ZeRO 0 with fp32 weights.

DeepSpeed begins once all gradients are there, and copies each into one long tensor and back. Here the first ones leave
early, and gradients are views of what is sent: the division by the number of ranks writes them there.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from deepspeed import comm

BUCKET = 2**20
"""Values that are sent together, or few more: many small gradients in one go, and the first ones early."""
AS_WE_DO = {"communication_data_type": "fp32", "prescale_gradients": False, "gradient_predivide_factor": 1.0}
"""What DeepSpeed's config may say of how gradients are averaged."""


def can_share(ds: dict) -> bool:
    """Whether DeepSpeed's config doesn't ask for a way of averaging gradients that only DeepSpeed has."""
    return all(ds.get(key, value) == value for key, value in AS_WE_DO.items())


class SharedGradients:
    """Makes the gradients of an update's last backward pass their means over ranks; one that a rank lacks counts as 0.

    `parameters` are in the order in which the forward pass uses them, on every rank the same; `is_last` says whether
    a backward pass is the update's last.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], ranks: int, is_last: Callable[[], bool]) -> None:
        self._share, self._is_last = 1 / ranks, is_last
        self._buckets = list(map(_Bucket, _in_buckets(reversed(list(parameters)))))
        self._sent = 0
        for bucket in self._buckets:
            for parameter in bucket.parameters:
                parameter.register_post_accumulate_grad_hook(partial(self._arrived, bucket))

    def finish(self) -> None:
        """Return when all gradients of the last backward pass are means. Every rank must call it."""
        for bucket in self._buckets:
            bucket.fill_up()
        self._send_whole()
        for bucket in self._buckets:
            bucket.wait()
        self._sent = 0

    def _arrived(self, bucket: "_Bucket", parameter: torch.nn.Parameter) -> None:
        if self._is_last():
            bucket.take(parameter, self._share)
            self._send_whole()

    def _send_whole(self) -> None:
        """Send buckets that are whole, in the order that all ranks share: gradients may arrive in another one."""
        while self._sent < len(self._buckets) and self._buckets[self._sent].is_whole:
            self._buckets[self._sent].send()
            self._sent += 1


class _Bucket:
    """Gradients that are sent together; its memory is only held between the first one's arrival and the update."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        self.parameters = parameters
        self._flat: torch.Tensor | None = None
        self._missing: dict[torch.nn.Parameter, torch.Tensor] = {}  # with their places in `_flat`
        self._work: torch.distributed.Work | None = None

    @property
    def is_whole(self) -> bool:
        return self._flat is not None and not self._missing

    def take(self, parameter: torch.nn.Parameter, share: float) -> None:
        """Move a gradient here, multiplied by `share`."""
        assert parameter.grad is not None, "it has just arrived"
        place = self._places().pop(parameter)
        torch.mul(parameter.grad, share, out=place)
        parameter.grad = place

    def fill_up(self) -> None:
        """Zeros for the gradients that haven't arrived."""
        if not self.is_whole:
            missing = self._places()
            for parameter, place in missing.items():
                parameter.grad = place.zero_()
            missing.clear()

    def send(self) -> None:
        self._work = comm.all_reduce(self._flat, async_op=True)

    def wait(self) -> None:
        assert self._work is not None, "it was sent"
        self._work.wait()
        self._work = self._flat = None

    def _places(self) -> dict[torch.nn.Parameter, torch.Tensor]:
        if self._flat is None:
            sizes = [p.numel() for p in self.parameters]
            self._flat = self.parameters[0].new_empty(sum(sizes), requires_grad=False)
            places = self._flat.split(sizes)
            self._missing = {p: place.view_as(p) for p, place in zip(self.parameters, places, strict=True)}
        return self._missing


def _in_buckets(parameters: Iterable[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """The parameters in turn; a bucket ends with the one that reaches `BUCKET` values."""
    bucket: list[torch.nn.Parameter] = []
    for parameter in parameters:
        bucket.append(parameter)
        if sum(p.numel() for p in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
