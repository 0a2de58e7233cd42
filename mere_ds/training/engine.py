"""The DeepSpeed engine around a model: its updates, and how its complete state is saved and restored."""

import copy
import math
from contextlib import AbstractContextManager
from pathlib import Path

import deepspeed
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.runtime.sparse_tensor import SparseTensor
from safetensors import safe_open
from safetensors.torch import save_file

from mere_ds.encoders.weights import save_model, word_embeddings
from mere_ds.files import share
from mere_ds.model.configuration import TripleConfig
from mere_ds.model.triple import TripleModel
from mere_ds.runs.resume import is_plain
from mere_ds.sums import OPTIMIZER
from mere_ds.training.compiling import prepare_compiling
from mere_ds.training.cpu import keep_freed_memory
from mere_ds.training.full_state import FullState
from mere_ds.training.optimization import parameter_groups
from mere_ds.training.saving import Copies
from mere_ds.training.session import Session
from mere_ds.training.shared_gradients import SharedGradients, can_share
from mere_ds.training.touched_rows import TouchedRows


class Trainee:
    """A model under training: one DeepSpeed engine over its trainable parameters.

    Frozen weights are kept separately in their original precision: the engine may round its own copy to 16 bits, but
    the saved model must not be rounded.
    """

    def __init__(self, model: TripleModel, rate: float, session: Session) -> None:
        self.is_main = session.is_main
        self.frozen = {
            name: parameter.detach().cpu().clone()
            for name, parameter in model.named_parameters()
            if session.is_main and not parameter.requires_grad
        }
        if session.config.compile:
            if session.device.type == "cpu":
                prepare_compiling()
            model.compile_encoder()
        groups = parameter_groups(model, rate, session.config)
        self.peak_rates = [group["lr"] for group in groups]
        self.plain = is_plain(session.deepspeed_config)
        self.clipping = session.deepspeed_config["gradient_clipping"]
        own = (
            {"gradient_clipping": 0.0} if self.plain else {}
        )  # we clip ourselves: DeepSpeed would compute the norm again
        self.engine: DeepSpeedEngine
        self.engine, *_ = deepspeed.initialize(
            model=model, model_parameters=groups, config=session.deepspeed_config | own, dist_init_required=False
        )
        self.full_state = FullState(self.engine)
        self.copies = Copies()
        words = word_embeddings(model.trained_encoder)
        self.rows_of, self.rows = "", None
        if session.config.embedding_rows == "touched" and words.weight.requires_grad:
            self.rows_of = next(name for name, p in model.named_parameters() if p is words.weight)
            self.rows = self._touched_rows(words)
        assert self.plain == (self.engine.optimizer is self.full_state.base)
        self.shared: SharedGradients | None = None
        if self.plain and (session.ranks == 1 or can_share(session.deepspeed_config)):
            self.engine.enable_backward_allreduce = False  # on one rank DeepSpeed copies gradients for nothing
            if session.ranks > 1:
                self.shared = self._shared_gradients(session.ranks)
        self.updated = True
        """Whether the last `step` changed the weights; False if a gradient wasn't finite."""
        self.scale_of_step = self.loss_scale
        """The loss scale of the last `step`; DeepSpeed lowers it after an overflow."""
        if hasattr(self.engine.optimizer, "check_grad_overflow"):
            self.engine.optimizer.check_grad_overflow = True  # DeepSpeed checks only in fp16
        if hasattr(self.full_state.scaler, "raise_error_at_min_scale"):
            self.full_state.scaler.raise_error_at_min_scale = False  # we report it, with advice
        if session.device.type == "cpu" and not self.engine.zero_optimization_partition_weights():
            keep_freed_memory()  # ZeRO 3 saves memory: it gathers and frees weights all the time

    @property
    def model(self) -> TripleModel:
        return self.engine.module

    def _touched_rows(self, words: torch.nn.Embedding) -> TouchedRows:
        optimizer = self.engine.optimizer
        (group,) = (g for g in optimizer.param_groups if any(p is words.weight for p in g["params"]))
        return TouchedRows(words, group, optimizer.state[words.weight])

    def _shared_gradients(self, ranks: int) -> SharedGradients:
        """Of all trained parameters but a table of touched rows, whose gradient is sparse."""
        table = self.rows.table if self.rows else None
        dense = [p for p in self.engine.module.parameters() if p.requires_grad and p is not table]
        return SharedGradients(dense, ranks, self.engine.is_gradient_accumulation_boundary)

    def set_rate(self, factor: float) -> float:
        """Set every group's learning rate to `factor` of its peak; returns the highest."""
        rates = [peak * factor for peak in self.peak_rates]
        for group, rate in zip(self.engine.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        return max(rates)

    def step(self) -> float:
        """DeepSpeed's micro-step: the last of an accumulation updates the weights, if the gradient is finite.

        Returns the gradient's norm before clipping (after the last micro-step; nan where it is unknown).
        """
        if self.plain and self.engine.is_gradient_accumulation_boundary():
            return self._plain_update()
        self.scale_of_step = self.loss_scale
        self.engine.step()
        norm = None if self.plain else self.engine.get_global_grad_norm()
        self.updated = self.engine.was_step_applied()
        return math.nan if norm is None else float(norm)

    def _plain_update(self) -> float:
        """An update with torch's optimizer, which neither checks nor clips gradients: we do both with one norm."""
        if self.shared:
            self.shared.finish()
            if self.rows:
                self.engine.buffered_allreduce_fallback(grads=[SparseTensor(self.rows.table.grad)])
        touched = [self.rows.take()] if self.rows else []
        trained = [p for p in self.engine.module.parameters() if p.grad is not None] + touched
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained])
        self.updated = math.isfinite(norm)
        if not self.updated:
            self.engine.zero_grad()
            self.engine.micro_steps += 1  # the only other thing that DeepSpeed does in a step without an update
            return float(norm)
        if 0 < self.clipping < norm:
            torch.nn.utils.clip_grads_with_norm_(trained, self.clipping, norm)
        self.engine.step()
        if self.rows:
            self.rows.update()
        return float(norm)

    @property
    def loss_scale(self) -> float:
        return float(getattr(self.full_state.scaler, "cur_scale", 1.0))

    @property
    def loss_scale_floor(self) -> float | None:
        """The lower bound of fp16's dynamic loss scale; None if the scale is fixed."""
        scaler = self.full_state.scaler
        if not (getattr(scaler, "dynamic", False) or getattr(scaler, "dynamic_loss_scale", False)):
            return None
        return float(getattr(scaler, "min_scale", None) or getattr(scaler, "min_loss_scale", None) or 1.0)

    def snapshot(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Copies of all weights and Adam's moments in fp32, on rank 0 (empty on others). Every rank must call it.

        The next call overwrites them.
        """
        weights, moments = (
            {name: self.copies.of(name, whole) for name, whole in pairs if self.is_main}
            for pairs in (self.full_state.weights(), self.full_state.moments())
        )
        if self.rows and self.is_main:
            moments |= self.rows.state(self.rows_of, weights[self.rows_of])
            weights[self.rows_of] = self.rows.settled(self.copies.of("settled", self.rows.table))
        return self.frozen | weights, moments

    def settle(self) -> None:
        """Bring all rows of the word embeddings up to date, before anything but training uses the model."""
        if self.rows:
            self.rows.settle_all()

    def counters(self) -> dict:
        """Adam's update count and the dynamic loss scale's state."""
        return self.full_state.counters()

    def restore(self, checkpoint: Path, counters: dict) -> None:
        """Restore Adam's moments and counters; the model must have been loaded from the same checkpoint."""
        with (
            safe_open(checkpoint / "model.safetensors", "pt") as weights,
            safe_open(checkpoint / OPTIMIZER, "pt") as moments,
        ):
            self.full_state.restore(weights.get_tensor, moments.get_tensor, counters)
            if self.rows:
                self.rows.restore(self.rows_of, moments.get_tensor)


def without_compiling() -> AbstractContextManager:
    """A context in which compiled layers run eagerly."""
    return torch.compiler.set_stance("force_eager")


def saved_config(model: TripleModel) -> TripleConfig:
    """A copy of a model's configuration as checkpoints have it."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = "float32"  # whatever that of the engine's weights is
    return config


def write_model(folder: Path, config: TripleConfig, weights: dict, moments: dict) -> None:
    """Write a checkpoint's tensors: a transformers model, and Adam's moments in a file of their own."""
    save_model(folder, config, weights)
    save_file(moments, folder / OPTIMIZER)
    share(folder / OPTIMIZER)
