"""Equations 5 to 8: the language-specific switcher (LS), and mERE14's variant without a router.

Shape suffixes: N languages, T sub-modules, G of them in a group, B sentences, M tokens of a sentence (padded),
R = B * M rows, D hidden size, b bottleneck; 1 instead of G if all sub-modules share an input.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.nn.functional import layer_norm

from mere_ds.errors import UserError
from mere_ds.fused.mixing import mix
from mere_ds.model.precision import at_least_fp32


def before_norm(x_GBMD: torch.Tensor, up_GDb: torch.Tensor, down_GbD: torch.Tensor) -> torch.Tensor:
    """relu(x W_u) W_d + x of eq. 7, G x B x M x D, as batched products; x may be a shared 1 x B x M x D."""
    x_GRD = x_GBMD.flatten(1, 2)
    a_GRb = torch.relu_(x_GRD @ up_GDb)
    z_GRD = torch.baddbmm(
        x_GRD.expand(len(a_GRb), -1, -1), a_GRb, down_GbD
    )  # adds x within the product, without an extra pass
    return z_GRD.unflatten(1, x_GBMD.shape[1:3])


def normalise(z_GBMD: torch.Tensor, scale_G1D: torch.Tensor, shift_G1D: torch.Tensor) -> torch.Tensor:
    """The LN of eq. 7, with one call per sub-module so that scale and shift are fused into LayerNorm's pass."""
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
    """Eq. 7 (G x B x M x D); with weights f: onto + its sum weighted by f_bg (B x M x D), fused with the LN."""
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
        """`refine` by all G sub-modules on the same sentences, or by each on its own.

        For the former, x and f are tensors. For the latter, x is a list of G inputs of shape 1 x B_g x M x D (B_g may
        be 0), f a list of their weights (B_g x 1), and the result is a list too.
        """
        weights = (self.up_GDb, self.down_GbD, self.scale_G1D, self.shift_G1D)
        if isinstance(x, torch.Tensor):
            assert not isinstance(f, list)
            return refine(x, *weights, f, onto_BMD)
        # `split`, whose gradient is assembled in one pass, unlike that of indexing
        own = zip(*(weight.split(1) for weight in weights), strict=True)
        each_f: Iterable[torch.Tensor | None] = [None] * len(x) if f is None else f
        return [
            refine(x_g, up, down, scale, shift, f_g)
            for x_g, f_g, (up, down, scale, shift) in zip(x, each_f, own, strict=True)
        ]


class _OfRows(nn.Module):
    """The switcher of tokens as rows, as `rows.Rows` has them."""

    def of_rows(self, h_RD: torch.Tensor, languages_B: torch.Tensor, sentence_R: torch.Tensor, k: int) -> torch.Tensor:
        """As `forward`, R x D."""
        return self(h_RD.unsqueeze(1), languages_B[sentence_R], k).squeeze(1)


class Switcher(_OfRows):
    """T sub-modules, mixed by a router that depends only on the sentence's language.

    `submodule_layers` is the number of layers of each sub-module; those of equal depth form a group and run together.
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
        """The language-specific representation (eq. 8), B x M x D, from each language's `k` most likely sub-modules.

        Training uses k = T. Raises UserError if k is not in 1..T.
        """
        self.check_k(k)
        f_BT = self.weights(k)[languages_B]
        mix_group = self._mix_all if k == self.T else self._mix_chosen
        mixed_BMD: torch.Tensor | None = None
        # Every group runs, even without sentences: under ZeRO-3 all ranks must gather the same weights in order.
        for members, group in zip(self.members, self.groups, strict=True):
            assert isinstance(group, nn.ModuleList)
            mixed_BMD = mix_group(group, h_BMD, f_BT[:, members], mixed_BMD)
        assert mixed_BMD is not None  # there is a group
        return mixed_BMD

    def check_k(self, k: int) -> None:
        """Raises UserError if k is not in 1..T."""
        if not 1 <= k <= self.T:
            raise UserError(f"k must be between 1 and {self.T}, the number of sub-modules, not {k}")

    @torch.no_grad()
    def probabilities(self) -> torch.Tensor:
        """f_t(L_n) of every language (Figure 8), N x T; each row sums to 1."""
        return self.weights(self.T)

    def submodules(self) -> list[tuple[nn.ModuleList, int]]:
        """Of each of the T sub-modules the layers that hold it, and its number in these."""
        places = {t: (layers, g) for members, layers in zip(self.members, self.groups, strict=True)
                  for g, t in enumerate(members)}  # fmt: skip
        return [places[t] for t in range(self.T)]  # type: ignore[misc]

    def weights(self, k: int) -> torch.Tensor:
        """Eq. 5 for each language, N x T in fp32; all but the k largest are 0."""
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
        """`onto_BMD` plus a group's part of eq. 8, with every sub-module on every sentence."""
        *inner, last = group
        x = h_BMD.unsqueeze(0)
        for layer in inner:
            x = layer(x)
        return last(x, f_BG, onto_BMD)

    @staticmethod
    def _mix_chosen(
        group: nn.ModuleList, h_BMD: torch.Tensor, f_BG: torch.Tensor, onto_BMD: torch.Tensor | None
    ) -> torch.Tensor:
        """The same, with each sub-module only on the sentences (if any) whose language chose it.

        All languages that chose a sub-module are batched: their products are larger than one per language.
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


class LanguageSwitcher(_OfRows):
    """mERE14 (section 4.6): a sub-module of `depth` layers for each language, used only by its sentences."""

    def __init__(self, languages: int, hidden_size: int, bottleneck: int, depth: int):
        super().__init__()
        self.languages = languages
        self.layers = nn.ModuleList(SubModuleLayer(languages, hidden_size, bottleneck) for _ in range(depth))

    def forward(self, h_BMD: torch.Tensor, languages_B: torch.Tensor, k: int) -> torch.Tensor:
        """Eq. 7 by the sub-module of each sentence's language, B x M x D. Raises UserError if k is not 1."""
        self.check_k(k)
        order_B = languages_B.argsort(stable=True)
        sentences = h_BMD.index_select(0, order_B).split(languages_B.bincount(minlength=self.languages).tolist())
        x = [h.unsqueeze(0) for h in sentences]
        # Every sub-module runs, even without sentences: under ZeRO-3 all ranks must gather the same weights in order.
        for layer in self.layers:
            x = layer(x)
        return torch.cat(x, dim=1).squeeze(0).index_select(0, order_B.argsort())

    def check_k(self, k: int) -> None:
        """Raises UserError if k is not 1."""
        if k != 1:
            raise UserError(f"k must be 1, not {k}, since each language has one sub-module and there is no router")

    def submodules(self) -> list[tuple[nn.ModuleList, int]]:
        """As `Switcher.submodules`."""
        return [(self.layers, number) for number in range(self.languages)]

    def weights(self, k: int) -> torch.Tensor:
        """As `Switcher.weights`: each language has its own sub-module alone."""
        return torch.eye(self.languages)

    def probabilities(self) -> torch.Tensor | None:
        """None, since there is no router."""
        return None
