"""The model under pretraining with its optimizer: torch's AdamW, weights in fp32, products in 16 bits on a GPU."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from mere_ds.encoders.weights import WEIGHTS
from mere_ds.pretraining.batches import BlankBatch
from mere_ds.pretraining.objectives import Blanks
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.sums import OPTIMIZER
from mere_ds.training.learner import Tensors
from mere_ds.training.nonfinite import nan_if_not_finite
from mere_ds.training.saving import Copies

MATCHER_RATE = 0.01  # peak rate of scale and offset, whose magnitude is unrelated to the encoder's weights
MOST_NORM = 1.0  # gradients are clipped to this norm


class BlanksLearner:
    """`Blanks` under training on one device; implements `training.learner.Learner`."""

    def __init__(self, model: Blanks, settings: PretrainSettings, device: torch.device) -> None:
        self.model = model.to(device).train()
        self.device, self.dtype = device, compute_dtype(device)
        self.optimizer = torch.optim.AdamW(_groups(model, settings))
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.updated = True
        self.scale_of_step = 1.0
        self.updates = 0
        self.copies = Copies()

    @property
    def loss_scale_floor(self) -> float | None:
        return 1.0 if self.scaler.is_enabled() else None

    def update(self, batch: BlankBatch, factor: float) -> Tensors:
        """One update at `factor` times the peak rates; returns the model's losses before it, with their sum as "loss".

        No update is made if the gradient isn't finite: see `updated`.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group["peak"]
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32):
            values = self.model(batch)
        loss = values["masked_words"] + values.get("matching", 0)
        self.scale_of_step = self.scaler.get_scale()
        self.scaler.scale(nan_if_not_finite(loss)).backward()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), MOST_NORM)
        self.updated = bool(norm.isfinite())
        if self.updated:
            self.scaler.step(self.optimizer)
            self.updates += 1
        self.scaler.update()
        self.optimizer.zero_grad()
        return {name: value.detach() for name, value in (values | {"loss": loss}).items()}

    def snapshot(self) -> tuple[Tensors, Tensors]:
        """Copies of all weights; of Adam's moments and counts as `exp_avg/NAME`, `exp_avg_sq/NAME` and `step/NAME`.

        The next call overwrites them.
        """
        names: dict[torch.Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        states = {names[parameter]: state for parameter, state in self.optimizer.state.items()}
        moments = {f"{key}/{name}": value for name, state in states.items() for key, value in state.items()}
        weights, moments = (
            {name: self.copies.of(name, value) for name, value in live.items()}
            for live in (self.model.state_dict(), moments)
        )
        return weights, moments

    def counters(self) -> dict:
        return {"updates": self.updates, "loss_scaler": self.scaler.state_dict()}

    def restore(self, checkpoint: Path, counters: dict) -> None:
        """Restore what `snapshot` and `counters` returned."""
        self.model.load_state_dict(load_file(checkpoint / WEIGHTS))
        parameters = dict(self.model.named_parameters())
        for key, value in load_file(checkpoint / OPTIMIZER).items():
            kind, name = key.split("/", 1)
            # AdamW keeps step counts on the CPU; they differ, as a batch without pairs doesn't update the matcher
            self.optimizer.state[parameters[name]][kind] = value if kind == "step" else value.to(self.device)
        self.updates = counters["updates"]
        if counters["loss_scaler"]:  # empty unless training so far was in fp16
            self.scaler.load_state_dict(counters["loss_scaler"])


def compute_dtype(device: torch.device) -> torch.dtype:
    """bf16 if the GPU supports it in hardware, else fp16; fp32 on a CPU."""
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _groups(model: Blanks, settings: PretrainSettings) -> list[dict]:
    """Parameter groups with their peak rates: matrices decay; biases, LayerNorms and the matcher don't."""
    matcher = [model.log_scale, model.offset]
    rest = [p for p in model.parameters() if all(p is not x for x in matcher)]
    rate, decay = settings.learning_rate, settings.weight_decay
    return [
        {"params": [p for p in rest if p.ndim > 1], "peak": rate, "weight_decay": decay},
        {"params": [p for p in rest if p.ndim == 1], "peak": rate, "weight_decay": 0.0},
        {"params": matcher, "peak": MATCHER_RATE, "weight_decay": 0.0},
    ]
