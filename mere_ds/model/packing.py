"""Matrices of a model in use, laid out once as oneDNN multiplies by them, and not anew in every call.

Shape suffixes: N languages, T sub-modules, B sentences, M tokens of a sentence (padded), R tokens as rows, S some of
them, D hidden size, b bottleneck.
"""

from typing import cast

import torch
from torch import nn
from torch.nn.functional import layer_norm, pad

from mere_ds.model.rows import row_count
from mere_ds.model.switcher import LanguageSwitcher, SubModuleLayer, Switcher

_LEAST = 1 << 16  # numbers of a matrix; below that there is nothing to gain


class PackedLinear(nn.Module):
    """`nn.Linear` for bf16 on a CPU, without gradients; with `after="relu"` ReLU of it.

    GELU is no part of the product: oneDNN makes code for each new shape of a batch, which took 20 ms with GELU and 6
    without, and then the product with GELU took as long as both apart."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, after: str = "none"):
        super().__init__()
        self.bias, self.after = bias, after
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, self.after, [], "none")


class PackedLayer(nn.Module):
    """One layer of one sub-module (eq. 7)."""

    def __init__(self, layer: SubModuleLayer, number: int):
        super().__init__()
        self.up = PackedLinear(layer.up_GDb[number].T, after="relu")
        self.down = PackedLinear(layer.down_GbD[number].T)
        self.scale_D, self.shift_D = layer.scale_G1D[number, 0].float(), layer.shift_G1D[number, 0].float()

    def forward(self, x_SD: torch.Tensor) -> torch.Tensor:
        """In fp32."""
        z_SD = self.down(self.up(x_SD)).add_(x_SD)
        return layer_norm(z_SD.float(), self.scale_D.shape, self.scale_D, self.shift_D)


class PackedSwitcher(nn.Module):
    """A switcher in bf16; sub-modules are packed when a language first needs them."""

    def __init__(self, switcher: Switcher | LanguageSwitcher):
        super().__init__()
        self.switcher = switcher
        self._packed: dict[int, list[PackedLayer]] = {}
        self._weights: dict[int, torch.Tensor] = {}

    def forward(self, h_BMD: torch.Tensor, languages_B: torch.Tensor, k: int) -> torch.Tensor:
        """As that of the switcher."""
        B, M, _ = h_BMD.shape
        sentence_R = torch.arange(B).repeat_interleave(M)
        return self.of_rows(h_BMD.flatten(0, 1), languages_B, sentence_R, k).unflatten(0, (B, M))

    def of_rows(self, h_RD: torch.Tensor, languages_B: torch.Tensor, sentence_R: torch.Tensor, k: int) -> torch.Tensor:
        """As that of the switcher; each sub-module runs on the rows of the sentences whose language chose it."""
        f_BT = self.weights(k)[languages_B]
        every_R, R = len(languages_B) == int((f_BT == f_BT[0]).all(dim=1).sum()), len(h_RD)
        mixed_RD = torch.zeros(h_RD.shape)
        for t, used in enumerate(f_BT.any(dim=0).tolist()):
            if not used:
                continue
            if every_R:
                mixed_RD.add_(self._run(t, h_RD), alpha=float(f_BT[0, t]))
                continue
            f_R = f_BT[sentence_R, t]
            rows_S = f_R.nonzero().squeeze(1)
            S = len(rows_S)
            refined_SD = self._run(t, h_RD[pad(rows_S, (0, min(row_count(S), R) - S))])[:S]
            mixed_RD.index_add_(0, rows_S, refined_SD.mul_(f_R[rows_S].unsqueeze(1)))
        return mixed_RD.to(h_RD.dtype)

    def probabilities(self) -> torch.Tensor | None:
        """As that of the switcher."""
        return self.switcher.probabilities()

    def weights(self, k: int) -> torch.Tensor:
        """As that of the switcher, which refuses a wrong k."""
        if k not in self._weights:
            self.switcher.check_k(k)
            self._weights[k] = self.switcher.weights(k)
        return self._weights[k]

    def _run(self, t: int, x_SD: torch.Tensor) -> torch.Tensor:
        if t not in self._packed:
            layers, number = self.switcher.submodules()[t]
            self._packed[t] = [PackedLayer(cast(SubModuleLayer, layer), number) for layer in layers]
        for layer in self._packed[t]:
            x_SD = layer(x_SD.to(torch.bfloat16))
        return x_SD


def pack(model: nn.Module) -> None:
    """Replace the large bf16 `nn.Linear` of a model on a CPU by packed ones, and its switcher, where this torch can
    pack."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for name, part in list(model.named_modules()):
        if isinstance(part, nn.Linear) and part.weight.numel() >= _LEAST and _in_bf16_on_cpu(part.weight):
            model.set_submodule(name, PackedLinear(part.weight, part.bias))
        elif isinstance(part, Switcher | LanguageSwitcher) and _is_large(part):
            model.set_submodule(name, PackedSwitcher(part))


def _is_large(switcher: Switcher | LanguageSwitcher) -> bool:
    layer = switcher.submodules()[0][0][0]
    assert isinstance(layer, SubModuleLayer)
    return layer.up_GDb[0].numel() >= _LEAST and _in_bf16_on_cpu(layer.up_GDb)


def _in_bf16_on_cpu(weight: torch.Tensor) -> bool:
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu"
