"""AdamW's parameter groups and the learning rate of each step."""

from collections.abc import Callable

from torch import nn

from mere_ds.config import TrainConfig


def parameter_groups(model: nn.Module, rate: float, config: TrainConfig) -> list[dict]:
    """Groups of trainable parameters: the pretrained encoder and the new parts, each with and without weight decay.

    The encoder's pooler counts as new, since many checkpoints have none and it is then initialised randomly. Matrices
    decay; biases and LayerNorm's scales and shifts don't. Each group has its peak rate in `lr`.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.endswith(("scale_G1D", "shift_G1D"))
            pretrained = name.startswith(("encoder.", "tagger.encoder.")) and "pooler" not in name
            groups.setdefault((pretrained, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate * (1.0 if pretrained else config.new_parts_rate),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (pretrained, decays), parameters in sorted(groups.items())
    ]


def rate_factor(warmup: float, schedule: str, total_steps: int) -> Callable[[int], float]:
    """Fraction of the peak rate in update `step` (from 0): rises over the warm-up, then constant or linear to 0.

    `warmup` is a fraction of the updates.
    """
    rising = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if schedule == "constant":
            return 1.0
        return (total_steps - step) / max(1, total_steps - rising)

    return factor
