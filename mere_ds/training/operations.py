"""How many floating-point operations an update must do: the matrix products of its real tokens, without padding.

For a stage that trains everything this is 6 operations for each parameter of a product and each token (2 forward, 4
backward) and attention's 12 D m^2 a layer for a sentence of m tokens. Shape suffix: B sentences.
"""

from dataclasses import astuple, dataclass
from operator import add

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedConfig

from mere_ds.encoders.families import auto_class
from mere_ds.encoders.loading import quiet
from mere_ds.model.configuration import MereConfig
from mere_ds.model.triple import TripleModel

_FORWARD, _INPUT_AND_WEIGHTS, _WEIGHTS = 1, 3, 2
"""Products for each one of the forward pass: alone; with gradients of its input and weights; of its weights alone."""


@dataclass
class Tokens:
    """What the operations of some batches depend on, summed over their sentences."""

    sentences: float = 0
    tokens: float = 0
    squares: float = 0
    """Of each sentence's tokens."""
    joint: float = 0
    """Squares of the tokens of each s sentences that LA sees together."""

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(*map(add, astuple(self), astuple(other)))


def counted(mask_BM: torch.Tensor, concatenate: int) -> Tokens:
    """Those of a batch on the CPU; `mask_BM` is true on real tokens."""
    lengths_B = mask_BM.sum(dim=1)
    joint_C = lengths_B.view(-1, concatenate).sum(dim=1)
    return Tokens(len(lengths_B), *(int(n) for n in (lengths_B.sum(), (lengths_B**2).sum(), (joint_C**2).sum())))


@dataclass(frozen=True)
class Operations:
    """An update's operations, as factors of `Tokens`."""

    sentence: float
    token: float
    square: float
    joint: float

    def of(self, seen: Tokens) -> float:
        return (
            self.sentence * seen.sentences
            + self.token * seen.tokens
            + self.square * seen.squares
            + self.joint * seen.joint
        )


def operations(model: TripleModel, cached: bool) -> Operations | None:
    """Those of training `model` in its stage; `cached`: whether the frozen part's results are read, not computed.

    Left out, as they come once a micro-step or are small beside the rest: the router, the relations' half of eq. 9 and,
    with any number of triples, the scores of spans and links. None for an encoder that can't be counted without
    weights (DeBERTa, Megatron-BERT and RemBERT).
    """
    two, c = model.config.stage == 2, model.config
    frozen = two and isinstance(c, MereConfig)
    runs = _INPUT_AND_WEIGHTS if not frozen else 0 if cached else _FORWARD
    encoder = _of_encoder(model.trained_encoder.config) if runs else (0.0, 0.0)
    if encoder is None:
        return None
    (linear, square), D = encoder, model.encoder.hidden_size
    more = model.own_tokens if two else 0  # sum (m + e)^2 = sum m^2 + 2 e sum m + e^2 B
    token, sentence = runs * (linear + 2 * more * square), runs * (more * linear + more**2 * square)
    if not isinstance(c, MereConfig):
        if two:
            return Operations(sentence, token + _INPUT_AND_WEIGHTS * 8 * D, runs * square, 0)
        return Operations(sentence + _of_relation(model, _INPUT_AND_WEIGHTS), token, runs * square, 0)
    joint = 0.0
    if c.use_la:
        token, joint = token + runs * 6 * D * D, runs * 4.0 * D
    if two:
        token += _of_switcher(c, D)
    if c.triples == "one":
        token += _INPUT_AND_WEIGHTS * (8 * D * D if c.entity_heads == "relation" else 8 * D)
        sentence += _INPUT_AND_WEIGHTS * 8 * D * (c.characters + 1 if c.characters else 0)
    elif c.entity_heads == "relation":
        token += _INPUT_AND_WEIGHTS * 8 * D * D
    sentence += _of_relation(model, _WEIGHTS if frozen else _INPUT_AND_WEIGHTS)
    if runs == _FORWARD and model.encoder.pooler_kind != "mean":
        sentence += 2 * D * D
    return Operations(sentence, token, runs * square, joint)


def _of_relation(model: TripleModel, products: int) -> float:
    """The relation classifier's for a sentence and, where the encoder trains, the pooler's."""
    D = model.encoder.hidden_size
    pooler = 2 * D * D if products == _INPUT_AND_WEIGHTS and model.encoder.pooler_kind != "mean" else 0
    return products * (2 * D * len(model.config.labels) + pooler)


def _of_switcher(c: MereConfig, D: int) -> float:
    """LS's for a token. Its input is frozen, so that the first layers' first products need no gradient of it."""
    depths = c.submodule_layers[:1] if c.routing == "language" else c.submodule_layers  # a token runs through one
    one = 2 * D * c.bottleneck
    return sum(one * (2 * _INPUT_AND_WEIGHTS * depth - 1) for depth in depths)


def _of_encoder(config: PreTrainedConfig) -> tuple[float, float] | None:
    """(for a token, for the square of a sentence's tokens): operations of an encoder's forward pass.

    torch counts them on shapes alone, for three lengths m: they are a m + b m^2 + c, where c is the pooler's.
    """
    lengths = (8, 16, 24)
    counts = []
    try:
        with quiet(), torch.device("meta"), torch.no_grad():
            encoder = auto_class(config).from_config(config).eval()
            for m in lengths:
                with FlopCounterMode(display=False) as counter:
                    encoder(input_ids=torch.zeros(1, m, dtype=torch.int64))
                counts.append(counter.get_total_flops())
    except (RuntimeError, NotImplementedError):  # it looks at values, which shapes don't have
        return None
    first, second = (y - x for x, y in zip(counts, counts[1:], strict=False))
    square = (second - first) / (2 * 8**2)
    return first / 8 - square * (lengths[0] + lengths[1]), square
