"""Equations 5 to 8: the language-specific switcher (LS), and mERE14's without a router.

Shape suffixes: N languages, T sub-modules, G of them in a group, B sentences, M tokens of a sentence (padded),
R = B * M rows, D hidden size, b bottleneck; 1 in G's place where all share an input.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.nn.functional import layer_norm

from mere_ds.errors import UserError
from mere_ds.fused.mixing import mix
from mere_ds.model.precision import at_least_fp32


def before_norm(x_GBMD: torch.Tensor, up_GDb: torch.Tensor, down_GbD: torch.Tensor) -> torch.Tensor:
    """relu(x W_u) W_d + x of eq. 7, G x B x M x D, in batched products; x may be the same 1 x B x M x D for all."""
    x_GRD = x_GBMD.flatten(1, 2)
    a_GRb = torch.relu_(x_GRD @ up_GDb)
    z_GRD = torch.baddbmm(x_GRD.expand(len(a_GRb), -1, -1), a_GRb, down_GbD)  # adds x in the product, without a pass
    return z_GRD.unflatten(1, x_GBMD.shape[1:3])


def normalise(z_GBMD: torch.Tensor, scale_G1D: torch.Tensor, shift_G1D: torch.Tensor) -> torch.Tensor:
    """The LN of eq. 7. One call a sub-module, for only so are scale and shift part of LayerNorm's own pass."""
    parameters = zip(z_GBMD, scale_G1D.squeeze(1), shift_G1D.squeeze(1), strict=True)
    return torch.stack(
        [layer_norm(z_BMD, z_BMD.shape[-1:], scale_D, shift_D) for z_BMD, scale_D, shift_D in parameters]
    )


def refine(
    x_GBMD: torch.Tensor,
    up_GDb: torch.Tensor,
    down_GbD: torch.Tensor,
    scale_G1D: torch.Tensor,
    shift_G1D: torch.Tensor,
    f_BG: torch.Tensor | None = None,
    onto_BMD: torch.Tensor | None = None,
) -> torch.Tensor:
    """Eq. 7 (G x B x M x D); with weights f, onto + the sum of f_bg times it (B x M x D) in the pass of the LN."""
    z_GBMD = before_norm(x_GBMD, up_GDb, down_GbD)
    if f_BG is None:
        return normalise(z_GBMD, scale_G1D, shift_G1D)
    return mix(z_GBMD, scale_G1D, shift_G1D, f_BG, onto_BMD)


class SubModuleLayer(nn.Module):
    """One layer of G sub-modules, each with its own weights."""

    def __init__(self, group: int, hidden_size: int, bottleneck: int):
        super().__init__()
        self.up_GDb = nn.Parameter(torch.empty(group, hidden_size, bottleneck))
        self.down_GbD = nn.Parameter(torch.empty(group, bottleneck, hidden_size))
        self.scale_G1D = nn.Parameter(torch.empty(group, 1, hidden_size))
        self.shift_G1D = nn.Parameter(torch.empty(group, 1, hidden_size))

    def forward(
        self,
        x: torch.Tensor | list[torch.Tensor],
        f: torch.Tensor | list[torch.Tensor] | None = None,
        onto_BMD: torch.Tensor | None = None,
    ) -> torch.Tensor | list[torch.Tensor]:
        """`refine` by all G sub-modules together, x and f tensors, or by each on its own sentences (perhaps none).

        Then x holds G inputs of shape 1 x B_g x M x D, f their weights (B_g x 1), and a list of results is returned.
        """
        weights = (self.up_GDb, self.down_GbD, self.scale_G1D, self.shift_G1D)
        if isinstance(x, torch.Tensor):
            assert not isinstance(f, list)
            return refine(x, *weights, f, onto_BMD)
        # split, for its gradient is put together in one pass; that of indexing is not
        own = zip(*(weight.split(1) for weight in weights), strict=True)
        each_f: Iterable[torch.Tensor | None] = [None] * len(x) if f is None else f
        return [
            refine(x_g, up, down, scale, shift, f_g)
            for x_g, f_g, (up, down, scale, shift) in zip(x, each_f, own, strict=True)
        ]


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
            nn.ModuleList(SubModuleLayer(len(members), hidden_size, bottleneck) for _ in range(depth))
            for members, depth in zip(self.members, depths, strict=True)
        )

    def forward(self, h_BMD: torch.Tensor, languages_B: torch.Tensor, k: int) -> torch.Tensor:
        """The language-specific representation (eq. 8), B x M x D, of each language's `k` likeliest sub-modules.

        k = T is the training form. UserError where k is not in 1..T.
        """
        if not 1 <= k <= self.T:
            raise UserError(f"k must be between 1 and the number of sub-modules {self.T}, not {k}")
        f_BT = self._weights(k)[languages_B]
        mix_group = self._mix_all if k == self.T else self._mix_chosen
        mixed_BMD: torch.Tensor | None = None
        # Every group runs whatever the batch chose: under ZeRO-3 all ranks gather the same weights in the same order.
        for members, group in zip(self.members, self.groups, strict=True):
            assert isinstance(group, nn.ModuleList)
            mixed_BMD = mix_group(group, h_BMD, f_BT[:, members], mixed_BMD)
        assert mixed_BMD is not None  # there is a group
        return mixed_BMD

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
    def _mix_all(
        group: nn.ModuleList, h_BMD: torch.Tensor, f_BG: torch.Tensor, onto_BMD: torch.Tensor | None
    ) -> torch.Tensor:
        """`onto_BMD` and a group's share of eq. 8, every sub-module on every sentence."""
        *inner, last = group
        x = h_BMD.unsqueeze(0)
        for layer in inner:
            x = layer(x)
        return last(x, f_BG, onto_BMD)

    @staticmethod
    def _mix_chosen(
        group: nn.ModuleList, h_BMD: torch.Tensor, f_BG: torch.Tensor, onto_BMD: torch.Tensor | None
    ) -> torch.Tensor:
        """The same, each sub-module only on the sentences (perhaps none) whose language chose it.

        All languages that chose a sub-module go through it together: larger products than one a language.
        """
        *inner, last = group
        sentences = [f_B.nonzero().squeeze(1) for f_B in f_BG.unbind(1)]
        x = [h_BMD[rows].unsqueeze(0) for rows in sentences]
        for layer in inner:
            x = layer(x)
        f = [f_BG[rows, g : g + 1] for g, rows in enumerate(sentences)]
        mixed_BMD = torch.zeros_like(h_BMD) if onto_BMD is None else onto_BMD
        for rows, share in zip(sentences, last(x, f), strict=True):
            mixed_BMD = mixed_BMD.index_add(0, rows, share.to(mixed_BMD.dtype))
        return mixed_BMD


class LanguageSwitcher(nn.Module):
    """mERE14 (section 4.6): a sub-module of `depth` layers for each language, which its sentences go through alone."""

    def __init__(self, languages: int, hidden_size: int, bottleneck: int, depth: int):
        super().__init__()
        self.languages = languages
        self.layers = nn.ModuleList(SubModuleLayer(languages, hidden_size, bottleneck) for _ in range(depth))

    def forward(self, h_BMD: torch.Tensor, languages_B: torch.Tensor, k: int) -> torch.Tensor:
        """Eq. 7 by each sentence's own sub-module, B x M x D. UserError where k is not 1."""
        if k != 1:
            raise UserError(f"k must be 1, not {k}: here each language has one sub-module, and no router chooses")
        order_B = languages_B.argsort(stable=True)
        sentences = h_BMD.index_select(0, order_B).split(languages_B.bincount(minlength=self.languages).tolist())
        x = [h.unsqueeze(0) for h in sentences]
        # Every sub-module runs, on no sentence too: under ZeRO-3 all ranks gather the same weights in the same order.
        for layer in self.layers:
            x = layer(x)
        return torch.cat(x, dim=1).squeeze(0).index_select(0, order_B.argsort())

    def probabilities(self) -> torch.Tensor | None:
        """None, for there is no router."""
        return None
