"""BERT and its kin as encoders in use: without dropout and gradients, and without transformers, which takes seconds to
import.

Weights are those of transformers' `BertModel`, `RobertaModel` and `XLMRobertaModel`; the three maps to query, key and
value are one product here.

Shape suffixes: B sentences, M tokens of a sentence (padded), R rows, D hidden size, E = 3 * D, A heads, d size of a
head.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from mere_ds.model.rows import Rows

POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta")
"""Model types whose first position has the number after the padding token's."""
KINDS = ("bert", *POSITIONS_AFTER_PADDING)

_NAMES = {
    **{"embeddings.word_embeddings.": "words.", "embeddings.position_embeddings.": "positions."},
    **{"embeddings.token_type_embeddings.": "types.", "embeddings.LayerNorm.": "norm.", "encoder.layer.": "layers."},
    **{".attention.output.dense.": ".mixed.", ".attention.output.LayerNorm.": ".norm_mixed."},
    **{".intermediate.dense.": ".up.", ".output.dense.": ".down.", ".output.LayerNorm.": ".norm."},
}
"""Parts of transformers' names of weights -> ours, to be replaced in this order."""
Attend = Callable[[torch.Tensor, int], torch.Tensor]
"""Queries, keys and values of all heads (... x E), and the number of these -> what each token sees (... x D)."""
_QUERY, _OTHERS = ".attention.self.query.", (".attention.self.key.", ".attention.self.value.")


@dataclass(frozen=True)
class BertShape:
    """What determines the module, of an encoder's configuration; names and defaults are transformers'."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    pad_token_id: int
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    is_decoder: bool = False
    add_cross_attention: bool = False
    position_embedding_type: str = "absolute"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "BertShape | None":
        """The shape that a configuration describes; None if it isn't one that `PlainBert` computes."""
        try:
            shape = cls(**{field.name: config[field.name] for field in fields(cls) if field.name in config})
        except TypeError:  # a field is missing
            return None
        plain = shape.hidden_act == "gelu" and shape.position_embedding_type == "absolute"
        numbers = [getattr(shape, field.name) for field in fields(cls) if field.type == "int" or field.type is int]
        whole = all(type(n) is int and n >= 0 for n in numbers) and 0 < shape.layer_norm_eps < 1
        if not (shape.model_type in KINDS and plain and whole) or shape.is_decoder or shape.add_cross_attention:
            return None
        return shape if shape.hidden_size % max(shape.num_attention_heads, 1) == 0 else None

    @property
    def first_position(self) -> int:
        return self.pad_token_id + 1 if self.model_type in POSITIONS_AFTER_PADDING else 0

    @property
    def usable_positions(self) -> int:
        """The longest sequence that it accepts, in tokens."""
        return self.max_position_embeddings - self.first_position


class Encoded(NamedTuple):
    """Named as transformers' output."""

    last_hidden_state: torch.Tensor
    pooler_output: torch.Tensor | None


class Pooler(nn.Module):
    """A map of the first token's state."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)

    def forward(self, first_BD: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.dense(first_BD))


class Layer(nn.Module):
    """Self-attention and feed-forward, each followed by LayerNorm."""

    def __init__(self, shape: BertShape):
        super().__init__()
        D, epsilon = shape.hidden_size, shape.layer_norm_eps
        self.heads = shape.num_attention_heads
        self.qkv = nn.Linear(D, 3 * D)
        self.mixed = nn.Linear(D, D)
        self.norm_mixed = nn.LayerNorm(D, epsilon)
        self.up = nn.Linear(D, shape.intermediate_size)
        self.down = nn.Linear(shape.intermediate_size, D)
        self.norm = nn.LayerNorm(D, epsilon)

    def forward(self, h: torch.Tensor, attend: Attend) -> torch.Tensor:
        h = self.norm_mixed(self.mixed(attend(self.qkv(h), self.heads)).add_(h))
        return self.norm(self.down(torch.ops.aten.gelu_(self.up(h))).add_(h))


class PlainBert(nn.Module):
    """As transformers' model of the shape, for `CrossLingualEncoder`."""

    def __init__(self, shape: BertShape, has_pooler: bool):
        super().__init__()
        D = shape.hidden_size
        self.config = shape
        self.words = nn.Embedding(shape.vocab_size, D)
        self.types = nn.Embedding(shape.type_vocab_size, D)
        self.positions = nn.Embedding(shape.max_position_embeddings, D)
        self.norm = nn.LayerNorm(D, shape.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.pooler = Pooler(D) if has_pooler else None

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Encoded:
        """Of tokens B x M, of which the real ones, where the mask is not 0, come first."""
        start, M = self.config.first_position, input_ids.shape[1]
        h_BMD = self.norm(self.words(input_ids) + self.types.weight[0] + self.positions.weight[start : start + M])
        hidden_BM, hidden_B11M = attention_mask == 0, None
        if hidden_BM.any():
            # as numbers: for a mask of truth values a graph would look for rows without any key in each layer
            hidden_B11M = torch.zeros_like(hidden_BM, dtype=h_BMD.dtype).masked_fill(hidden_BM, -torch.inf)[
                :, None, None
            ]
        for layer in self.layers:
            h_BMD = layer(h_BMD, partial(_attended, hidden_B11M))
        return Encoded(h_BMD, None if self.pooler is None else self.pooler(h_BMD[:, 0]))

    def of_rows(self, ids_R: torch.Tensor, rows: Rows) -> torch.Tensor:
        """The states of tokens as rows, R x D."""
        words_RD, places_RD = self.words(ids_R), self.positions(rows.place_R + self.config.first_position)
        h_RD = self.norm(words_RD + self.types.weight[0] + places_RD)
        for layer in self.layers:
            h_RD = layer(h_RD, rows.attended)
        return h_RD


def _attended(hidden_B11M: torch.Tensor | None, qkv_BME: torch.Tensor, heads: int) -> torch.Tensor:
    q_BAMd, k_BAMd, v_BAMd = qkv_BME.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    attended_BAMd = scaled_dot_product_attention(q_BAMd, k_BAMd, v_BAMd, attn_mask=hidden_B11M)
    return attended_BAMd.transpose(1, 2).flatten(2)


def renamed(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers' weights under the names of `PlainBert`. Raises KeyError for a query without key or value."""
    ours = {}
    for name, weight in weights.items():
        if any(part in name for part in _OTHERS):
            continue  # joined to the query's
        if _QUERY in name:
            weight = torch.cat((weight, *(weights[name.replace(_QUERY, part)] for part in _OTHERS)))
            name = name.replace(_QUERY, ".qkv.")
        for theirs, own in _NAMES.items():
            name = name.replace(theirs, own)
        ours[name] = weight
    return ours
