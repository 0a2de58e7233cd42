"""Matrices of a model in use, laid out once as oneDNN multiplies by them, and not anew in every call."""

import torch
from torch import nn

_LEAST = 1 << 16  # numbers of a matrix; below that there is nothing to gain


class PackedLinear(nn.Module):
    """`nn.Linear` for bf16 on a CPU, without gradients.

    GELU is no part of the product: oneDNN makes code for each new shape of a batch, which took 20 ms with GELU and 6
    without, and then the product with GELU took as long as both apart."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.bias = linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "none")


def pack(model: nn.Module) -> None:
    """Replace the large bf16 `nn.Linear` of a model on a CPU by packed ones, where this torch can pack."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for name, part in list(model.named_modules()):
        if isinstance(part, nn.Linear) and part.weight.numel() >= _LEAST and _in_bf16_on_cpu(part.weight):
            model.set_submodule(name, PackedLinear(part))


def _in_bf16_on_cpu(weight: torch.Tensor) -> bool:
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu"
