"""The paper's section 3 word for word: the natural first implementation, which our speed is measured against.

Every sentence is padded to `WIDTH` tokens, the relation vector is concatenated to every token, entity heads and
sub-modules are modules of their own that run one after another, and the frozen encoder runs in every epoch.

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, b bottleneck, T sub-modules, U labels,
C concatenations of L tokens for LA, 4 positions (head start, head end, tail start, tail end; ends inclusive).
"""

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel

from benchmarks.material import Sentence
from mere_ds.model.configuration import MereConfig
from mere_ds.model.mere import MereModel

WIDTH = 256
"""Tokens that every sentence is padded to: the paper's max sequence length."""


class Aggregator(nn.Module):
    """Eq. 4, inside residual and LayerNorm as in the Transformer."""

    def __init__(self, D: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(D, D, bias=False) for _ in range(3))
        self.norm = nn.LayerNorm(D)

    def forward(self, h_BMD: torch.Tensor, mask_BM: torch.Tensor, s: int) -> torch.Tensor:
        B, M, D = h_BMD.shape
        h_CLD = h_BMD.reshape(B // s, s * M, D)
        scores_CLL = self.query(h_CLD) @ self.key(h_CLD).transpose(1, 2) / math.sqrt(D)
        unseen_C1L = ~mask_BM.reshape(B // s, 1, s * M)
        scores_CLL = scores_CLL.masked_fill(unseen_C1L, torch.finfo(scores_CLL.dtype).min)
        mixed_CLD = scores_CLL.softmax(dim=-1) @ self.value(h_CLD)
        return self.norm(h_CLD + mixed_CLD).reshape(B, M, D)


class SubModuleLayer(nn.Module):
    """Eq. 7."""

    def __init__(self, D: int, b: int):
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(D, b, bias=False), nn.Linear(b, D, bias=False), nn.LayerNorm(D)

    def forward(self, h_BMD: torch.Tensor) -> torch.Tensor:
        return self.norm(self.down(torch.relu(self.up(h_BMD))) + h_BMD)


class Switcher(nn.Module):
    """Eq. 5 to 8: for each language of the batch its k likeliest sub-modules, one after another."""

    def __init__(self, config: MereConfig, D: int):
        super().__init__()
        self.languages = nn.Embedding(len(config.languages), D)
        self.router = nn.Linear(D, len(config.submodule_layers), bias=False)
        self.submodules = nn.ModuleList(
            nn.Sequential(*(SubModuleLayer(D, config.bottleneck) for _ in range(layers)))
            for layers in config.submodule_layers
        )
        self.renormalise = config.renormalise_top_k

    def forward(self, h_BMD: torch.Tensor, languages_B: torch.Tensor, k: int) -> torch.Tensor:
        out_BMD = torch.zeros_like(h_BMD)
        for language in languages_B.unique():
            f_T = self.router(self.languages(language)).softmax(dim=-1)
            f_k, chosen_k = f_T.topk(k)
            if self.renormalise:
                f_k = f_k / f_k.sum()
            rows = languages_B == language
            own_bMD = h_BMD[rows]
            mixed_bMD = sum(f * self.submodules[t](own_bMD) for f, t in zip(f_k, chosen_k.tolist(), strict=True))
            out_BMD[rows] = mixed_bMD.to(out_BMD.dtype)
        return out_BMD


class EntityHeads(nn.Module):
    """Eq. 9: tanh([h; r_e] W_y) U_y, y by y."""

    def __init__(self, U: int, D: int):
        super().__init__()
        self.relations = nn.Embedding(U, D)
        self.down = nn.ModuleList(nn.Linear(2 * D, D, bias=False) for _ in range(4))
        self.index = nn.ModuleList(nn.Linear(D, 1, bias=False) for _ in range(4))

    def forward(self, h_BMD: torch.Tensor, mask_BM: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        r_BMD = self.relations(labels_B).unsqueeze(1).expand_as(h_BMD)
        both_BM2D = torch.cat((h_BMD, r_BMD), dim=-1)
        logits = [index(torch.tanh(down(both_BM2D))) for down, index in zip(self.down, self.index, strict=True)]
        logits_BM4 = torch.cat(logits, dim=-1)
        return logits_BM4.masked_fill(~words(mask_BM).unsqueeze(-1), torch.finfo(logits_BM4.dtype).min)


class LiteralMere(nn.Module):
    """The model of `config`, in the stage that `config` says. Call `load_ours` for weights.

    It is written for what the comparison uses: a BERT with its own pooler, LA with residual, ordered spans.
    """

    def __init__(self, config: MereConfig):
        super().__init__()
        assert config.use_la and config.la_residual and config.pooler == "encoder" and config.ordered_spans
        self.config = config
        self.encoder = AutoModel.from_config(config.make_encoder_config())
        D, U = self.encoder.config.hidden_size, len(config.labels)
        self.aggregator = Aggregator(D)
        self.switcher = Switcher(config, D) if config.stage == 2 else None
        self.relation = nn.Linear(D, U, bias=False)
        self.heads = EntityHeads(U, D)
        self.register_buffer("label_mask_NU", torch.tensor(config.label_mask, dtype=torch.bool))
        self.frozen = [self.encoder, self.aggregator, self.heads.relations] if config.stage == 2 else []
        for part in self.frozen:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> "LiteralMere":
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(
        self,
        token_ids_BM: torch.Tensor,
        mask_BM: torch.Tensor,
        languages_B: torch.Tensor,
        labels_T: torch.Tensor | None = None,
        positions_T4: torch.Tensor | None = None,
        concatenate: int = 1,
        k: int | None = None,
    ) -> dict[str, torch.Tensor]:
        """`loss` (eq. 12, mean over sentences) where gold values are given, else `relation_B` and `positions_B4`.

        Arguments as in `MereModel.forward`.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.stage == 1):
            encoded = self.encoder(input_ids=token_ids_BM, attention_mask=mask_BM.long())
            h_BMD = self.aggregator(encoded.last_hidden_state, mask_BM, concatenate)
        if self.config.stage == 2:
            default = len(self.config.submodule_layers) if labels_T is not None else self.config.top_k
            h_BMD = self.switcher(h_BMD, languages_B, k or default)
        relation_BU = self.relation(encoded.pooler_output)
        if labels_T is None:
            allowed_BU = self.label_mask_NU[languages_B]
            relation_B = relation_BU.masked_fill(~allowed_BU, torch.finfo(relation_BU.dtype).min).argmax(dim=-1)
            return {"relation_B": relation_B, "positions_B4": best_spans(self.heads(h_BMD, mask_BM, relation_B))}
        logits_BM4 = self.heads(h_BMD, mask_BM, labels_T)
        entities = sum(cross_entropy(logits_BM4[..., y], positions_T4[:, y]) for y in range(4))
        return {"loss": self.config.alpha / 2 * entities + self.config.beta * cross_entropy(relation_BU, labels_T)}

    @torch.no_grad()
    def load_ours(self, model: MereModel) -> "LiteralMere":
        """Take over the weights of a model of the same configuration and stage; returns itself."""
        self.encoder.load_state_dict(model.encoder.model.state_dict())
        attention = self.aggregator.query, self.aggregator.key, self.aggregator.value
        for part, weight in zip(attention, model.aggregator.qkv.weight.chunk(3), strict=True):
            part.weight.copy_(weight)
        self.aggregator.norm.load_state_dict(model.aggregator.norm.state_dict())
        self.relation.weight.copy_(model.relation.weight)
        self.heads.relations.weight.copy_(model.heads.relations.weight)
        W_y = torch.cat((model.heads.token_half.weight, model.heads.relation_half.weight), dim=1).chunk(4)
        for y in range(4):
            self.heads.down[y].weight.copy_(W_y[y])
            self.heads.index[y].weight.copy_(model.heads.index_4D[y : y + 1])
        if self.switcher is not None:
            self._load_switcher(model.switcher)
        return self

    def _load_switcher(self, ours: nn.Module) -> None:
        self.switcher.languages.weight.copy_(ours.languages.weight)
        self.switcher.router.weight.copy_(ours.router.weight)
        for members, group in zip(ours.members, ours.groups, strict=True):
            for g, t in enumerate(members):
                for layer, grouped in zip(self.switcher.submodules[t], group, strict=True):
                    layer.up.weight.copy_(grouped.up_GDb[g].T)
                    layer.down.weight.copy_(grouped.down_GbD[g].T)
                    layer.norm.weight.copy_(grouped.scale_G1D[g, 0])
                    layer.norm.bias.copy_(grouped.shift_G1D[g, 0])


def words(mask_BM: torch.Tensor) -> torch.Tensor:
    """True on word tokens: not on `[CLS]`, the language symbol, `[SEP]` and padding."""
    words_BM = mask_BM.clone()
    words_BM[:, :2] = False
    words_BM[torch.arange(len(mask_BM), device=mask_BM.device), mask_BM.sum(dim=1) - 1] = False
    return words_BM


def best_spans(logits_BM4: torch.Tensor) -> torch.Tensor:
    """The likeliest positions (B x 4) with start <= end, by looking at every pair."""
    B, M, _ = logits_BM4.shape
    log_BM4 = logits_BM4.log_softmax(dim=1)
    backwards_MM = torch.ones(M, M, dtype=torch.bool, device=log_BM4.device).tril(-1)
    positions = []
    for entity in (0, 2):
        pairs_BMM = log_BM4[:, :, None, entity] + log_BM4[:, None, :, entity + 1]
        best_B = pairs_BMM.masked_fill(backwards_MM, -torch.inf).reshape(B, M * M).argmax(dim=1)
        positions += [best_B // M, best_B % M]
    return torch.stack(positions, dim=1)


def padded(sentences: list[Sentence], pad_id: int, width: int = WIDTH) -> dict[str, torch.Tensor]:
    """A batch, as keyword arguments of `LiteralMere.forward`."""
    rows = [sentence["input_ids"] + [pad_id] * (width - len(sentence["input_ids"])) for sentence in sentences]
    lengths_B1 = torch.tensor([[len(sentence["input_ids"])] for sentence in sentences])
    return {
        "token_ids_BM": torch.tensor(rows),
        "mask_BM": torch.arange(width) < lengths_B1,
        "languages_B": torch.tensor([sentence["language"] for sentence in sentences]),
        "labels_T": torch.tensor([sentence["label"] for sentence in sentences]),
        "positions_T4": torch.tensor([sentence["positions"] for sentence in sentences]),
    }


def make_optimizer(model: nn.Module) -> torch.optim.AdamW:
    """AdamW over what trains, with the paper's rate and weight decay and otherwise PyTorch's defaults."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-5, weight_decay=0.1)


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor], concatenate: int
) -> torch.Tensor:
    """One update on a batch that `padded` made; returns the loss. Put the model in train mode first."""
    optimizer.zero_grad()
    loss = model(**batch, concatenate=concatenate)["loss"]
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def predict(
    model: nn.Module, batch: dict[str, torch.Tensor], k: int | None = None, bf16: bool = False
) -> dict[str, torch.Tensor]:
    """Relation and positions of a batch with the k likeliest sub-modules. Put the model in eval mode first."""
    given = {name: batch[name] for name in ("token_ids_BM", "mask_BM", "languages_B")}
    with torch.autocast(batch["mask_BM"].device.type, torch.bfloat16, enabled=bf16):
        return model(**given, k=k)


def forward_backward(part: nn.Module, h_BMD: torch.Tensor, *rest, bf16: bool = False) -> torch.Tensor:
    """Forward and backward of one part alone; returns the gradient of `h_BMD`, parameters get theirs.

    The parts are `model.heads` with (h_BMD, mask_BM, labels_B) and `model.switcher` with (h_BMD, languages_B, k).
    """
    part.zero_grad()
    h_BMD = h_BMD.detach().requires_grad_()
    with torch.autocast(h_BMD.device.type, torch.bfloat16, enabled=bf16):
        out = part(h_BMD, *rest)
    out.backward(torch.ones_like(out))
    return h_BMD.grad
