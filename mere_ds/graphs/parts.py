"""What of a model becomes ONNX graphs: all that is computed before NumPy decodes it (`mere_ds.backends.decoding`).

Inputs and outputs are those that `mere_ds.backends.onnx_files` names. Shape suffixes: B sentences, M tokens of a
sentence (padded), D hidden size, N languages, T sub-modules, U relation labels, P (sentence, relation) pairs.
"""

import torch
from torch import nn
from torch.nn.functional import embedding

from mere_ds.backends.onnx_files import CUTS, MANY, ONE
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.pair_decoding import likeliest_spans
from mere_ds.model.pair_heads import PairScores
from mere_ds.model.parts import MereParts
from mere_ds.model.switcher import LanguageSwitcher, SubModuleLayer, Switcher

_ALL_AT_ONCE = 1 << 40


class SubModule(nn.Module):
    """One layer of one sub-module (eq. 7), with matrices as other runtimes know and quantise them."""

    def __init__(self, layer: nn.Module, number: int):
        super().__init__()
        assert isinstance(layer, SubModuleLayer)
        up_Db, down_bD = layer.up_GDb[number], layer.down_GbD[number]
        D, b = up_Db.shape
        self.up, self.down = nn.Linear(D, b, bias=False), nn.Linear(b, D, bias=False)
        self.norm = nn.LayerNorm(D)
        with torch.no_grad():
            self.up.weight.copy_(up_Db.T)
            self.down.weight.copy_(down_bD.T)
            self.norm.weight.copy_(layer.scale_G1D[number, 0])
            self.norm.bias.copy_(layer.shift_G1D[number, 0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.down(torch.relu(self.up(x))))


class GraphSwitcher(nn.Module):
    """A switcher whose router is a table, for it depends on the language alone; each sub-module runs on the sentences
    that it has a weight for."""

    f_NT: torch.Tensor

    def __init__(self, switcher: Switcher | LanguageSwitcher, k: int):
        super().__init__()
        self.register_buffer("f_NT", switcher.weights(k))
        self.submodules = nn.ModuleList(
            nn.Sequential(*(SubModule(layer, number) for layer in layers)) for layers, number in switcher.submodules()
        )

    def forward(self, h_BMD: torch.Tensor, languages_B: torch.Tensor) -> torch.Tensor:
        f_BT, mixed_BMD = embedding(languages_B, self.f_NT), torch.zeros_like(h_BMD)
        for t, submodule in enumerate(self.submodules):
            rows = f_BT[:, t].nonzero().squeeze(1)
            share = submodule(h_BMD[rows]) * f_BT[rows, t].view(-1, 1, 1)
            # not by index_add, which graphs do number by number
            mixed_BMD = mixed_BMD.index_put((rows,), mixed_BMD[rows] + share)
        return mixed_BMD


class MereGraph(nn.Module):
    """`model.onnx` of mERE, its ablations, mBERT and MTMB."""

    def __init__(self, model: MereParts):
        super().__init__()
        self.model = model
        in_use = model.config.stage == 2
        self.switcher = GraphSwitcher(model.switcher, model.config.top_k) if in_use else None
        self.finds_many = model.config.triples == "many"
        self.outputs = (*(MANY if self.finds_many else ONE), *((CUTS,) if model.cuts is not None else ()))

    def forward(
        self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor, languages_B: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        h_BMD, pooled_BD = self.model.unify(token_ids_BM, mask_BM)
        if self.switcher is not None:
            h_BMD = self.switcher(h_BMD, languages_B)
        relation_BU = self.model.relations(pooled_BD)
        cuts = () if self.model.cuts is None else (self.model.cuts.of_every_token(h_BMD).argmax(dim=-1),)
        if self.finds_many:
            allowed_BU = self.model.label_mask_NU[languages_B]
            return relation_BU.sigmoid().masked_fill(~allowed_BU, -1), h_BMD, *cuts
        relation_B, probability_B = self.model.best_relation(relation_BU, languages_B)
        return relation_B, probability_B, self.model.heads(h_BMD, mask_BM, relation_B), *cuts


class HerbertaGraph(nn.Module):
    """`model.onnx` of HERBERTa."""

    outputs = ONE

    def __init__(self, model: HerbertaModel):
        super().__init__()
        self.model = model

    def forward(
        self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor, languages_B: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        relation_BU = self.model.classify(token_ids_BM, mask_BM)
        relation_B, probability_B = self.model.best_relation(relation_BU, languages_B)
        return relation_B, probability_B, self.model.tagger(token_ids_BM, mask_BM, relation_B)


class PairGraph(nn.Module):
    """`pairs.onnx`: the candidates of (sentence, relation) pairs."""

    def __init__(self, heads: nn.Module):
        super().__init__()
        self.heads = heads

    def forward(
        self, states_BMD: torch.Tensor, mask_BM: torch.Tensor, sentence_P: torch.Tensor, labels_P: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        def candidates(scores: PairScores, pairs: slice) -> tuple[torch.Tensor, ...]:
            return likeliest_spans(scores)

        [found] = self.heads(states_BMD, mask_BM, sentence_P, labels_P, candidates, _ALL_AT_ONCE)
        return found


def graph_of(model: MereParts | HerbertaModel) -> MereGraph | HerbertaGraph:
    """What becomes `model.onnx`."""
    return HerbertaGraph(model) if isinstance(model, HerbertaModel) else MereGraph(model)
