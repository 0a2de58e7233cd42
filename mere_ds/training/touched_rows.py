"""AdamW that computes only the rows of the word embeddings that a batch has (`--embedding_rows=touched`).

A batch has a few hundred of a hundred thousand tokens, but AdamW moves every row in every update: by its momentum of
before and by weight decay. Here a row waits until a batch has its token, and then makes up for all that it missed.
Nothing is left out: the result is that of AdamW on the whole table, but for rounding and the approximation below.

A row that has seen t updates and missed n has the moments b1^n m and b2^n v. By the k-th that it missed, of rate r, it
shrinks by 1 - r decay and moves by m c_k / (sqrt(v) s_k + eps), where c_k = r b1^k / (1 - b1^(t+k)) and
s_k^2 = b2^k / (1 - b2^(t+k)). The sum of these, each shrunk by the decays after it, has a term for each update, but it
is that of two terms whose s have the same mean, variance and skewness under the weights c_k / s_k (Gauss' quadrature):
exact where eps is nothing or all beside sqrt(v) s_k, in between off by at most 0.32 % of the way for t = 1, 0.007 % for
t = 20 and 0.0001 % for t = 100 (`training/test_touched_rows.py`).

Shape suffixes: V tokens, R rows of some, D width of the embeddings, G different t, K missed updates, N all updates.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim.adamw import adamw

from mere_ds.errors import UserError
from mere_ds.training.full_state import MOMENTS

UNSETTLED, SEEN, RATES = "unsettled", "seen", "rates"
"""What a checkpoint has besides Adam's moments: the table as it waits, each row's t, and the rates of all updates."""
NEGLIGIBLE = 2.0**-30
"""Of a row's first moment: what is left of it moves no row."""
BLOCK = 512
"""Rows that are settled together, so that memory stays small."""


class Missed(NamedTuple):
    """What updates that rows missed do to them: float64, for each row or each t."""

    shrink: np.ndarray
    pushes: tuple[np.ndarray, np.ndarray]
    """c of the two terms."""
    spreads: tuple[np.ndarray, np.ndarray]
    """s of the two terms."""
    first: np.ndarray
    """The factor of the first moment."""
    second: np.ndarray


class History:
    """The rates of all updates so far, N of them."""

    def __init__(self, betas: tuple[float, float], decay: float) -> None:
        self.betas, self.decay = betas, decay
        self.restore(np.empty(0))

    def restore(self, rates_N: np.ndarray) -> None:
        """Start anew from these rates."""
        b1, b2 = self.betas
        self.rates_N = rates_N
        t_N = np.arange(1, len(rates_N) + 1)
        self._pushes_N = rates_N / (1 - b1**t_N)
        self._spreads_N = 1 / np.sqrt(1 - b2**t_N)
        self._shrink = np.concatenate(([0.0], np.cumsum(np.log1p(-rates_N * self.decay))))  # logarithms, summed

    def append(self, rate: float) -> None:
        b1, b2 = self.betas
        t = len(self.rates_N) + 1
        self.rates_N = np.append(self.rates_N, rate)
        self._pushes_N = np.append(self._pushes_N, rate / (1 - b1**t))
        self._spreads_N = np.append(self._spreads_N, 1 / np.sqrt(1 - b2**t))
        self._shrink = np.append(self._shrink, self._shrink[-1] + np.log1p(-rate * self.decay))

    def since(self, seen_G: np.ndarray) -> Missed:
        """What the updates after the first `seen_G` do."""
        b1, b2 = self.betas
        N, missed_G = len(self.rates_N), len(self.rates_N) - seen_G
        most = 1 if b1 == 0 else math.ceil(math.log(NEGLIGIBLE) / math.log(b1))
        k_K = np.arange(1, min(most, missed_G.max(initial=0)) + 1)
        t_GK = np.minimum(seen_G[:, None] + k_K, N)
        left_GK = (k_K <= missed_G[:, None]) * np.exp(self._shrink[N] - self._shrink[t_GK])
        c_GK = self._pushes_N[t_GK - 1] * b1**k_K * left_GK
        s_GK = self._spreads_N[t_GK - 1] * np.sqrt(b2) ** k_K
        shrink_G = np.exp(self._shrink[N] - self._shrink[seen_G])
        return Missed(shrink_G, *_two_terms(c_GK, s_GK), b1**missed_G, b2**missed_G)


def _two_terms(c_GK: np.ndarray, s_GK: np.ndarray) -> tuple[tuple, tuple]:
    """Two c and two s for which the sum of c / (x s + 1) is almost that of these K, for any x >= 0."""
    weight_GK = c_GK / s_GK
    whole_G = weight_GK.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_G = np.where(whole_G > 0, c_GK.sum(axis=1) / whole_G, 1.0)
        off_GK = s_GK / mean_G[:, None] - 1
        variance_G, third_G = ((weight_GK * off_GK**power).sum(axis=1) / whole_G for power in (2, 3))
        same_G = ~(variance_G > 1e-12)
        half_G = third_G / variance_G / 2
        root_G = np.sqrt(half_G**2 + variance_G)
        offs = [np.where(same_G, 0.0, half_G + sign * root_G) for sign in (1, -1)]
        share_G = np.where(same_G, 0.5, -offs[1] / (offs[0] - offs[1]))
    spreads = tuple(mean_G * (1 + off_G) for off_G in offs)
    return (whole_G * share_G * spreads[0], whole_G * (1 - share_G) * spreads[1]), spreads


class TouchedRows:
    """The word embeddings of a model under training with torch's AdamW, each row up to date when a batch needs it.

    `group` is the optimizer's group that has the table, `moments` its state. The embeddings' gradient becomes sparse.
    Raises UserError for embeddings that can't have one, and for a rate at which decay leaves nothing of a weight.
    """

    def __init__(self, embeddings: nn.Embedding, group: dict, moments: dict[str, torch.Tensor]) -> None:
        if type(embeddings).forward is not nn.Embedding.forward:
            raise UserError(
                f"--embedding_rows=touched: this encoder's word embeddings are of a kind of their own, "
                f"{type(embeddings).__name__}: remove the flag"
            )
        if group["betas"][1] == 0:
            raise UserError("--embedding_rows=touched needs a second beta above 0: change the optimizer's betas")
        if group["lr"] * group["weight_decay"] >= 1:
            raise UserError("--embedding_rows=touched needs --learning_rate times --weight_decay below 1: lower one")
        self.table: torch.Tensor = embeddings.weight
        self.group, self.moments = group, moments
        embeddings.sparse = True
        embeddings.register_forward_pre_hook(self._before_forward)
        self.history = History(group["betas"], group["weight_decay"])
        self._all = torch.arange(len(self.table), device=self.table.device)
        self.seen_V = torch.zeros_like(self._all)
        self._moving_V = torch.zeros_like(self._all, dtype=torch.bool)  # rows whose moments aren't zero
        self._taken = nn.Parameter(torch.empty(0))
        self._rows_R = self._all[:0]  # those taken

    def take(self) -> nn.Parameter:
        """The rows that have a gradient, with it; the table then has none. `update` is to follow."""
        assert self.table.grad is not None, "a batch has words"
        grad, self.table.grad = self.table.grad.coalesce(), None
        self._rows_R = grad.indices()[0]
        self.settle(self._rows_R)  # of other ranks too
        self._taken = nn.Parameter(self.table.detach()[self._rows_R])
        self._taken.grad = grad.values()
        return self._taken

    @torch.no_grad()
    def update(self) -> None:
        """AdamW's update of the rows that `take` gave."""
        rows_R, g, grad_RD = self._rows_R, self.group, self._taken.grad
        assert grad_RD is not None, "`take` gave it one"
        first_RD, second_RD = (self.moments[key][rows_R] for key in MOMENTS)
        step = torch.tensor(float(len(self.history.rates_N)), device=self.table.device)
        adamw(
            [self._taken],
            [grad_RD],
            [first_RD],
            [second_RD],
            [],
            [step],
            fused=g["fused"],
            foreach=g["foreach"],
            amsgrad=False,
            beta1=g["betas"][0],
            beta2=g["betas"][1],
            lr=g["lr"],
            weight_decay=g["weight_decay"],
            eps=g["eps"],
            maximize=False,
        )
        self.history.append(g["lr"])
        self._moving_V[rows_R] = True
        self._put(rows_R, self._taken, first_RD, second_RD)

    @torch.no_grad()
    def settle(self, rows_R: torch.Tensor) -> None:
        """Bring these rows up to date; none may come twice."""
        for block in self._blocks(rows_R):
            self._put(block, *self._settled(block))

    def settle_all(self) -> None:
        """Bring all rows up to date, for other uses than training."""
        self.settle(self._all)

    @torch.no_grad()
    def settled(self, out_VD: torch.Tensor) -> torch.Tensor:
        """`out_VD`, a copy of the table, with all rows brought up to date; the table itself stays as it is."""
        for block in self._blocks(self._all):
            out_VD[block.to(out_VD.device)] = self._settled(block)[0].to(out_VD.device)
        return out_VD

    def state(self, name: str, table_VD: torch.Tensor) -> dict[str, torch.Tensor]:
        """What a checkpoint needs besides Adam's moments as they are; `name` is the table's, `table_VD` a copy."""
        kept = {UNSETTLED: table_VD, SEEN: self.seen_V.clone(), RATES: torch.from_numpy(self.history.rates_N)}
        return {f"{key}/{name}": value for key, value in kept.items()}

    @torch.no_grad()
    def restore(self, name: str, tensor: Callable[[str], torch.Tensor]) -> None:
        """Restore what `state` returned; the moments must have been restored."""
        self.table.copy_(tensor(f"{UNSETTLED}/{name}"))
        self.seen_V.copy_(tensor(f"{SEEN}/{name}"))
        self._moving_V = torch.stack([self.moments[key].abs().amax(dim=1) > 0 for key in MOMENTS]).any(dim=0)
        self.history.restore(tensor(f"{RATES}/{name}").numpy())

    def _before_forward(self, embeddings: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if embeddings.training:
            self.settle(args[0].unique())

    def _blocks(self, rows_R: torch.Tensor) -> Iterator[torch.Tensor]:
        """Those of the rows that have missed updates: blocks of rows that only decay, then of those that move too."""
        rows_R = rows_R[self.seen_V[rows_R] < len(self.history.rates_N)]
        moving_R = self._moving_V[rows_R]
        for wanted_R in (~moving_R, moving_R):
            if wanted_R.any():
                yield from rows_R[wanted_R].split(BLOCK)

    def _settled(self, rows_R: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """These rows up to date, and their moments if they move: all of them do, or none."""
        seen_G, of_R = self.seen_V[rows_R].unique(return_inverse=True)
        missed = self.history.since(seen_G.cpu().numpy())
        per_row_R1 = lambda x_G: torch.from_numpy(x_G).to(self.table)[of_R][:, None]  # noqa: E731
        weights_RD = self.table[rows_R].mul_(per_row_R1(missed.shrink))
        if not self._moving_V[rows_R[0]]:
            return (weights_RD,)
        first_RD, second_RD = (self.moments[key][rows_R] for key in MOMENTS)
        root_RD = second_RD.sqrt()
        for push_G, spread_G in zip(missed.pushes, missed.spreads, strict=True):
            down_RD = (root_RD * per_row_R1(spread_G)).add_(self.group["eps"])
            weights_RD.sub_(down_RD.reciprocal_().mul_(first_RD).mul_(per_row_R1(push_G)))
        return weights_RD, first_RD.mul_(per_row_R1(missed.first)), second_RD.mul_(per_row_R1(missed.second))

    def _put(self, rows_R: torch.Tensor, weights_RD: torch.Tensor, *moments_RD: torch.Tensor) -> None:
        self.table.index_copy_(0, rows_R, weights_RD)
        for key, moment_RD in zip(MOMENTS, moments_RD, strict=False):
            self.moments[key].index_copy_(0, rows_R, moment_RD)
        self.seen_V[rows_R] = len(self.history.rates_N)
