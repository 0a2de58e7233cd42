"""Reads and writes a DeepSpeed engine's fp32 weights and Adam's moments by parameter name.

DeepSpeed's own checkpoints are pickles and depend on the number of ranks and the ZeRO stage that wrote them. Complete
tensors by parameter name fit any number of ranks and any stage.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
)

MOMENTS = ("exp_avg", "exp_avg_sq")
MASTER = "master"
SCALER = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")

_MASTERS = (
    *("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat", "fp32_groups_flat_partition"),
    *("fp32_groups_flat", "fp32_groups"),
)
"""Attributes where DeepSpeed's optimizers keep fp32 weights: ZeRO 1 and 2; 3; bf16 with fp32 accumulation; fused;
unfused."""


class FullState:
    """One engine's optimizer state, independent of ranks and ZeRO stage. Every rank must make the same calls."""

    def __init__(self, engine: DeepSpeedEngine) -> None:
        self.engine, self.wrapper = engine, engine.optimizer
        self.base = getattr(self.wrapper, "optimizer", self.wrapper)
        self.parameters = {n: p for n, p in engine.module.named_parameters() if p.requires_grad}
        self._make_moments()
        whole = not any(map(_partitioned, self.parameters.values()))
        self._whole = self._whole_views() if whole else None
        if self._whole and self.wrapper is not self.base:
            self._undo_first_update()

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every trained parameter in fp32."""
        return self._each(MASTER)

    def moments(self) -> Iterator[tuple[str, torch.Tensor]]:
        """`exp_avg/NAME` and `exp_avg_sq/NAME` of every trained parameter."""
        for key in MOMENTS:
            yield from ((f"{key}/{name}", value) for name, value in self._each(key))

    def counters(self) -> dict:
        """Adam's update count and the dynamic loss scale's state."""
        return {"updates": int(self._states()[0]["step"]), "loss_scaler": self._scaler()}

    def restore(self, weight: Callable, moment: Callable, counters: dict) -> None:
        """Restore what the other three returned; `weight(name)` and `moment(name)` give the tensors."""
        for name, parameter in self.parameters.items():
            self._set(name, parameter, weight(name), MASTER)
            for key in MOMENTS:
                self._set(name, parameter, moment(f"{key}/{name}"), key)
        self._count_updates(counters["updates"])
        for key, value in counters["loss_scaler"].items():
            if hasattr(self.scaler, key):
                setattr(self.scaler, key, value)

    @property
    def scaler(self) -> Any:
        """The object that holds the loss scale; None without loss scaling."""
        return getattr(self.wrapper, "loss_scaler", None) or getattr(self.wrapper, "loss_scale_config", None)

    def _scaler(self) -> dict:
        return {key: getattr(self.scaler, key) for key in SCALER if hasattr(self.scaler, key)}

    def _masters(self) -> list[torch.Tensor]:
        """The fp32 tensors that Adam updates on this rank; with ZeRO, this rank's partition."""
        for name in _MASTERS:
            if hasattr(self.wrapper, name):
                kept = getattr(self.wrapper, name)
                return [t for group in kept for t in (group if isinstance(group, list) else [group])]
        return [p for group in self.base.param_groups for p in group["params"]]

    def _states(self) -> list[dict]:
        return [self.base.state[master] for master in self._masters()]

    def _make_moments(self) -> None:
        """Create Adam's moments now, so that a checkpoint can be restored: Adam itself does so in its first update."""
        torch_adam = isinstance(self.base, torch.optim.Adam)
        for master in self._masters():
            if not self.base.state[master]:
                self.base.state[master] = {key: torch.zeros_like(master.data) for key in MOMENTS}
                self.base.state[master]["step"] = torch.tensor(0.0) if torch_adam else 0
        link = getattr(self.wrapper, "_lazy_init_hp_params_optimizer_state", None)
        if link:
            link()

    def _undo_first_update(self) -> None:
        """In ZeRO 0 with 16 bits DeepSpeed initialises its optimizer's state by an update with zero gradients.

        The moments stay zero, but weight decay shrinks the fp32 weights and Adam counts the update: undo both.
        """
        assert self._whole is not None
        for name, parameter in self.parameters.items():
            self._whole[name][MASTER].copy_(parameter.detach())
        self._count_updates(0)

    def _count_updates(self, updates: int) -> None:
        for state in self._states():
            step = state["step"]
            state["step"] = torch.full_like(step, updates) if torch.is_tensor(step) else updates

    def _each(self, key: str) -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in self.parameters.items():
            yield name, self._get(name, parameter, key)

    def _get(self, name: str, parameter: torch.nn.Parameter, key: str) -> torch.Tensor:
        if self._whole:
            return self._whole[name][key]
        full = safe_get_full_fp32_param(parameter) if key == MASTER else safe_get_full_optimizer_state(parameter, key)
        return full.view(getattr(parameter, "ds_shape", parameter.shape))  # ZeRO 3 keeps the full shape here

    def _set(self, name: str, parameter: torch.nn.Parameter, value: torch.Tensor, key: str) -> None:
        if self._whole:
            self._whole[name][key].copy_(value)
        elif key == MASTER:
            safe_set_full_fp32_param(parameter, value.to(parameter.device))
        else:
            safe_set_full_optimizer_state(parameter, value.to(parameter.device), key)

    def _whole_views(self) -> dict[str, dict[str, torch.Tensor]]:
        """For ZeRO 0, where every rank holds everything: views of each parameter's fp32 weight and moments."""
        low_groups = getattr(self.wrapper, "fp16_groups", None)
        if low_groups is None or hasattr(self.wrapper, "fp32_groups"):  # one fp32 tensor per parameter
            lows = [p for group in low_groups or [g["params"] for g in self.base.param_groups] for p in group]
            low_groups = [[p] for p in lows]
        names = {parameter: name for name, parameter in self.parameters.items()}
        views: dict[str, dict[str, torch.Tensor]] = {name: {} for name in names.values()}
        for lows, master in zip(low_groups, self._masters(), strict=True):
            for key, whole in {MASTER: master.data, **self.base.state[master]}.items():
                if key == MASTER or key in MOMENTS:
                    parts = whole.flatten().split([p.numel() for p in lows])
                    for parameter, part in zip(lows, parts, strict=True):
                        views[names[parameter]][key] = part.view(parameter.shape)
        return views


def _partitioned(parameter: torch.nn.Parameter) -> bool:
    """Whether ZeRO splits the parameter's state over ranks (stages 1 and 2 mark it by a mapping, 3 by an id)."""
    return hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping")
