"""BERT and its kin as encoders in use: without dropout and gradients, and without transformers, which takes seconds to
import.

Weights are those of transformers' `BertModel`, `RobertaModel` and `XLMRobertaModel`; the three maps to query, key and
value are one product here.

Shape suffixes: B sentences, M tokens of a sentence (padded), K keys of one (`Layer.attended`), R rows, D hidden size,
E = 3 * D, A heads, d size of a head.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention

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
_KEYS = 16
"""torch computes the exponentials of so many keys at once on a CPU, and those of the rest one by one: attention of 12
heads over 32 sentences took 7.5 ms with 44 tokens and 5 ms with 48."""
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

    def forward(self, h_BMD: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.dense(h_BMD[:, 0]))


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

    def forward(self, h_BMD: torch.Tensor, seen_B11K: torch.Tensor | None, more: int) -> torch.Tensor:
        h_BMD = self.norm_mixed(self.mixed(self.attended(h_BMD, seen_B11K, more)).add_(h_BMD))
        return self.norm(self.down(torch.ops.aten.gelu_(self.up(h_BMD))).add_(h_BMD))

    def attended(self, h_BMD: torch.Tensor, seen_B11K: torch.Tensor | None, more: int) -> torch.Tensor:
        """What each token sees, B x M x D. With `more` keys, K = M + more, those of a sentence go on into the next one,
        without a copy; the mask must hide these."""
        if more:
            B, M, D = h_BMD.shape
            h_RD = pad(h_BMD.flatten(0, 1), (0, 0, 0, more))  # the last sentence has none after it
            qkv_BKE = self.qkv(h_RD).as_strided((B, M + more, 3 * D), (M * 3 * D, 3 * D, 1))
        else:
            qkv_BKE = self.qkv(h_BMD)
        q_BAKd, k_BAKd, v_BAKd = qkv_BKE.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q_BAMd = q_BAKd[:, :, :-more] if more else q_BAKd
        attended_BAMd = scaled_dot_product_attention(q_BAMd, k_BAKd, v_BAKd, attn_mask=seen_B11K)
        return attended_BAMd.transpose(1, 2).flatten(2)


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
        h_BMD = self.words(input_ids) + self.types.weight[0] + self.positions.weight[start : start + M]
        h_BMD = self.norm(h_BMD)
        seen_BM, more = attention_mask.bool(), _more_keys(attention_mask)
        seen_BK = pad(seen_BM, (0, more)) if more else seen_BM
        seen_B11K = None if seen_BK.all() else seen_BK[:, None, None]
        for layer in self.layers:
            h_BMD = layer(h_BMD, seen_B11K, more)
        return Encoded(h_BMD, None if self.pooler is None else self.pooler(h_BMD))


def _more_keys(mask_BM: torch.Tensor) -> int:
    """How many keys make M a multiple of `_KEYS`: on a CPU, and not in a graph, which is of any width."""
    return 0 if mask_BM.device.type != "cpu" or torch.jit.is_tracing() else -mask_BM.shape[1] % _KEYS


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
