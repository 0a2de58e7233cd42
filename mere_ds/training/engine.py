"""The DeepSpeed engine around a MereModel, and its weights in full precision."""

import math

import deepspeed
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.utils import safe_get_full_fp32_param

from mere_ds.model.mere import MereModel
from mere_ds.training.optimization import parameter_groups
from mere_ds.training.session import Session


class Trainee:
    """A model under training: one DeepSpeed engine over its trainable parameters.

    Frozen weights are kept aside in the precision they came in: the engine may round its own copy to 16 bits, the
    saved model must not.
    """

    def __init__(self, model: MereModel, rate: float, session: Session) -> None:
        self.frozen = {
            name: parameter.detach().cpu().clone()
            for name, parameter in model.named_parameters()
            if session.leads and not parameter.requires_grad
        }
        groups = parameter_groups(model, rate, session.config)
        self.peak_rates = [group["lr"] for group in groups]
        self.engine: DeepSpeedEngine
        self.engine, *_ = deepspeed.initialize(
            model=model, model_parameters=groups, config=session.deepspeed_config, dist_init_required=False
        )

    @property
    def model(self) -> MereModel:
        return self.engine.module

    def set_rate(self, factor: float) -> float:
        """Set every group's learning rate to `factor` of its peak; returns the highest."""
        rates = [peak * factor for peak in self.peak_rates]
        for group, rate in zip(self.engine.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        return max(rates)

    def step(self) -> float:
        """DeepSpeed's micro-step: the last of an accumulation updates the weights.

        Returns the gradient's norm before clipping (after the last micro-step; nan where nobody knows it).
        """
        norm = self._local_norm()
        self.engine.step()
        reported = self.engine.get_global_grad_norm()
        return float(norm if reported is None else reported)

    def _local_norm(self) -> float:
        """Norm of the averaged gradients where DeepSpeed keeps whole ones and reports none (ZeRO 0)."""
        if self.engine.zero_optimization() or not self.engine.is_gradient_accumulation_boundary():
            return math.nan
        gradients = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients)) if gradients else math.nan

    @property
    def loss_scale(self) -> float:
        return float(
            getattr(self.engine.optimizer, "cur_scale", None)
            or getattr(self.engine.optimizer, "loss_scale", None)
            or 1.0
        )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All weights, trained ones in fp32, on rank 0 (elsewhere empty). Every rank must call it."""
        state = dict(self.frozen)
        for name, parameter in self.engine.module.named_parameters():
            if parameter.requires_grad:
                full = safe_get_full_fp32_param(parameter)
                full = parameter.data if full is None else full
                if self.engine.global_rank == 0:
                    shape = getattr(parameter, "ds_shape", parameter.shape)  # ZeRO-3 keeps the whole shape aside
                    state[name] = full.detach().float().cpu().clone().view(shape)
        return state
