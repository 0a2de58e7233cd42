"""Equations 5 to 8: the language-specific switcher (LS).

Shape suffixes: N languages, T sub-modules, G of them in a group, B sentences, M tokens of a sentence (padded),
R = B * M rows, D hidden size, b bottleneck.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import layer_norm

from mere_ds.errors import UserError
from mere_ds.model.precision import at_least_fp32


def equation_7(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor):
    """LN(relu(x W_u) W_d + x) over the last dimension; leading dimensions broadcast."""
    return layer_norm(torch.relu(x @ up) @ down + x, x.shape[-1:]) * scale + shift


class SubModuleLayer(nn.Module):
    """One layer of G sub-modules, each with its own weights."""

    def __init__(self, group: int, hidden_size: int, bottleneck: int):
        super().__init__()
        self.up_GDb = nn.Parameter(torch.empty(group, hidden_size, bottleneck))
        self.down_GbD = nn.Parameter(torch.empty(group, bottleneck, hidden_size))
        self.scale_G1D = nn.Parameter(torch.empty(group, 1, hidden_size))
        self.shift_G1D = nn.Parameter(torch.empty(group, 1, hidden_size))

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        """Eq. 7 on x_GRD (or the same x_1RD for all) in one batched product, or on a list of G inputs of own length."""
        weights = (self.up_GDb, self.down_GbD, self.scale_G1D, self.shift_G1D)
        if torch.is_tensor(x):
            return equation_7(x, *weights)
        return [equation_7(x_g, *(weight[g] for weight in weights)) for g, x_g in enumerate(x)]


class Switcher(nn.Module):
    """T sub-modules, mixed by a router that looks at the sentence's language alone.

    `submodule_layers` holds each sub-module's layers; those of equal depth form a group and run together.
    """

    def __init__(
        self, languages: int, hidden_size: int, bottleneck: int, submodule_layers: Sequence[int], renormalise: bool
    ):
        super().__init__()
        self.T = len(submodule_layers)
        self.renormalise = renormalise
        self.languages = nn.Embedding(languages, hidden_size)  # E_l
        self.router = nn.Linear(hidden_size, self.T, bias=False)  # W_f
        depths = sorted(set(submodule_layers))
        self.members = [[t for t, layers in enumerate(submodule_layers) if layers == depth] for depth in depths]
        self.groups = nn.ModuleList(
            nn.Sequential(*(SubModuleLayer(len(members), hidden_size, bottleneck) for _ in range(depth)))
            for members, depth in zip(self.members, depths, strict=True)
        )

    def forward(self, h_BMD: torch.Tensor, languages_B: torch.Tensor, k: int) -> torch.Tensor:
        """The language-specific representation (eq. 8), B x M x D, of each language's `k` likeliest sub-modules.

        k = T is the training form. UserError where k is not in 1..T.
        """
        if not 1 <= k <= self.T:
            raise UserError(f"k must be between 1 and the number of sub-modules {self.T}, not {k}")
        f_BT = self._weights(k)[languages_B].to(h_BMD.dtype)
        mix = self._mix_all if k == self.T else self._mix_chosen
        # Every group runs whatever the batch chose: under ZeRO-3 all ranks gather the same weights in the same order.
        return sum(
            mix(group, h_BMD, f_BT[:, members]) for members, group in zip(self.members, self.groups, strict=True)
        )

    @torch.no_grad()
    def probabilities(self) -> torch.Tensor:
        """f_t(L_n) of every language (Figure 8), N x T, rows sum to 1."""
        return self._weights(self.T)

    def _weights(self, k: int) -> torch.Tensor:
        """Eq. 5 once a language, N x T in fp32; all but the k largest are 0."""
        every_N = torch.arange(self.languages.num_embeddings, device=self.languages.weight.device)
        f_NT = at_least_fp32(self.router(self.languages(every_N))).softmax(dim=-1)
        if k == self.T:
            return f_NT
        largest_Nk, chosen_Nk = f_NT.topk(k)
        if self.renormalise:
            largest_Nk = largest_Nk / largest_Nk.sum(dim=-1, keepdim=True)
        return torch.zeros_like(f_NT).scatter(1, chosen_Nk, largest_Nk)

    @staticmethod
    def _mix_all(group: nn.Module, h_BMD: torch.Tensor, f_BG: torch.Tensor) -> torch.Tensor:
        """A group's share of eq. 8, every sub-module on every sentence."""
        x_GRD = group(h_BMD.reshape(1, -1, h_BMD.shape[-1]))
        return torch.einsum("bg,gbmd->bmd", f_BG, x_GRD.view(-1, *h_BMD.shape))

    @staticmethod
    def _mix_chosen(group: nn.Module, h_BMD: torch.Tensor, f_BG: torch.Tensor) -> torch.Tensor:
        """The same, each sub-module only on the sentences (perhaps none) whose language chose it."""
        sentences = [f_B.nonzero().squeeze(1) for f_B in f_BG.unbind(1)]
        mixed_BMD = torch.zeros_like(h_BMD)
        for f_B, rows, x in zip(f_BG.unbind(1), sentences, group([h_BMD[rows] for rows in sentences]), strict=True):
            mixed_BMD = mixed_BMD.index_add(0, rows, (f_B[rows, None, None] * x).to(mixed_BMD.dtype))
        return mixed_BMD
