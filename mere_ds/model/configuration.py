"""What a model is made of, saved beside its weights as config.json."""

import sys
from collections.abc import Iterator
from dataclasses import field
from types import UnionType
from typing import Any, get_args, get_origin

from transformers import AutoConfig, PreTrainedConfig

from mere_ds.config import MOST_LAYERS, MOST_WIDE, Pooler
from mere_ds.errors import UserError

POOLERS = get_args(Pooler)
ROUTINGS = ("learned", "language")
ENTITY_HEADS = ("relation", "states")
_MOST_INT = 1 << 31


class TripleConfig(PreTrainedConfig):
    """What every model needs that finds a relation and its two entities.

    Shapes are of N languages and U relation labels; the first four fields have to be given. Raises UserError for
    values of another type than their field's and for those that don't fit together, and names the field.
    """

    languages: list[str] = field(default_factory=list)
    """N language codes; `languages_B` of a batch are indices into them."""
    labels: list[str] = field(default_factory=list)
    """U relation labels; `labels_B` of a batch are indices into them."""
    label_mask: list[list[int]] = field(default_factory=list)
    """N x U, 1 where the language has the relation: the only ones predicted for it."""
    language_token_ids: list[int] = field(default_factory=list)
    """N token ids of the language symbols `[xx]`, in the order of `languages`."""
    encoder_config: dict[str, Any] = field(default_factory=dict)
    """The encoder's own config with its `model_type`; `TripleModel.from_encoder` fills it in."""
    pooler: str = "auto"
    """h_p of eq. 3: "encoder" (its own pooler), "new" (dense + tanh on the first token), "mean" (the mean of the
    tokens, which sentence encoders such as E5 are trained for) or "auto" (its own if any, else new)."""
    max_length: int = 256
    """Tokens of a sentence, the special ones included; kept for whoever tokenises, not enforced by the model."""
    top_k: int = 1
    """Sub-modules that a sentence goes through in prediction, where the model has them."""
    alpha: float = 2.0
    """Weight of the entity losses in eq. 12."""
    beta: float = 1.0
    """Weight of the relation loss in eq. 12."""
    ordered_spans: bool = True
    """Whether a decoded span has start <= end; False takes start and end by independent argmax."""
    overlapping_spans: bool = True
    """Whether ordered spans of head and tail may share tokens, as in models that were saved without this choice."""
    stage: int = 1
    """1 or 2, the stage of training; each model says what it has and trains in it."""
    initializer_range: float = 0.02
    """Standard deviation of new weights."""

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        _check(self._types())  # first: the others compare and count
        self._derive()
        _check(self._requirements())

    @property
    def most_k(self) -> int:
        """What `top_k` may be at most."""
        return 1

    def to_diff_dict(self) -> dict[str, Any]:
        """What is saved: also values equal to the defaults, which may change later, but no path of this machine."""
        return {key: value for key, value in self.to_dict().items() if key != "_name_or_path"}

    def make_encoder_config(self) -> PreTrainedConfig:
        """The encoder's config as an object; UserError where none was given."""
        if "model_type" not in self.encoder_config:
            raise UserError("model configuration: encoder_config must be the encoder's config with its model_type")
        return AutoConfig.for_model(**self.encoder_config)

    def _types(self) -> Iterator[tuple[bool, str]]:
        """As `_requirements`: whether each field of ours is of the type that it is declared with."""
        for kind in type(self).__mro__:
            if issubclass(kind, TripleConfig):
                for name, expected in kind.__annotations__.items():
                    yield _is(getattr(self, name), expected), f"{name} must be {_in_words(expected)}"

    def _derive(self) -> None:
        """Set what follows from other fields."""

    def _requirements(self) -> Iterator[tuple[bool, str]]:
        """(whether it holds, what to do) of every rule."""
        N, U = len(self.languages), len(self.labels)
        yield 0 < N == len(set(self.languages)), "languages must be given, each once"
        yield 0 < U == len(set(self.labels)), "labels must be given, each once"
        yield (
            len(self.label_mask) == N and all(len(row) == U and set(row) <= {0, 1} for row in self.label_mask),
            f"label_mask must have a row of {U} zeros and ones (one a label) for each of the {N} languages",
        )
        yield all(any(row) for row in self.label_mask), "label_mask must leave every language at least one label"
        yield (
            len(self.language_token_ids) == N and all(i >= 0 for i in self.language_token_ids),
            f"language_token_ids must hold one token id for each of the {N} languages",
        )
        yield self.pooler in POOLERS, f"pooler must be one of {', '.join(POOLERS)}, not {self.pooler!r}"
        yield (
            4 <= self.max_length <= MOST_WIDE,
            f"max_length must be between 4 ([CLS], the language symbol, one word token, [SEP]) and {MOST_WIDE}",
        )
        yield 1 <= self.top_k <= self.most_k, f"top_k must be between 1 and {self.most_k}, not {self.top_k}"
        yield min(self.alpha, self.beta) >= 0, "alpha and beta must not be negative"
        yield self.stage in (1, 2), f"stage must be 1 or 2, not {self.stage}"


class MereConfig(TripleConfig):
    """Every choice of a mERE model of T sub-modules, or of one without its parts; the defaults are the paper's
    (section 4.2)."""

    model_type = "mere"

    use_la: bool = True
    """Whether there is a language-universal aggregator (eq. 4)."""
    la_residual: bool = True
    """Residual and LayerNorm around eq. 4; False is eq. 4 as printed."""
    use_ls: bool = True
    """Whether there is a language-specific switcher (eq. 5-8), made, trained and run in stage two."""
    routing: str = "learned"
    """Who chooses a sentence's sub-modules: "learned" (the router of eq. 5) or "language" (mERE14: one sub-module a
    language, all as deep as the deepest of `submodule_layers`, and `top_k` is 1)."""
    submodule_layers: list[int] = field(default_factory=lambda: [1, 1, 1, 2, 2, 2])
    """Layers of eq. 7 in each of the T sub-modules."""
    bottleneck: int = 1024
    """b of eq. 7."""
    top_k: int = 3
    """Sub-modules that a language uses in prediction; training uses all T."""
    renormalise_top_k: bool = True
    """Whether the k largest f_t are scaled to sum to 1."""
    entity_heads: str = "relation"
    """What tells where entities start and end: "relation" (eq. 9) or "states" (a linear map of each token alone)."""
    characters: int | None = None
    """Most characters that heads of their own may cut off an entity's first and last token; None: no such heads."""
    stage: int = 1
    """1: everything but the switcher trains; 2: the switcher and the output layers on a frozen encoder."""

    def _derive(self) -> None:
        if self.routing == "language":
            self.submodule_layers = [max(self.submodule_layers, default=0)] * len(self.languages)
            self.top_k = 1

    @property
    def most_k(self) -> int:
        return 1 if self.routing == "language" else len(self.submodule_layers)

    def _requirements(self) -> Iterator[tuple[bool, str]]:
        layers = self.submodule_layers
        yield min(layers, default=0) > 0, "submodule_layers must hold a positive number per sub-module"
        yield sum(layers) <= MOST_LAYERS, f"submodule_layers must be at most {MOST_LAYERS} together"
        yield from super()._requirements()
        yield self.routing in ROUTINGS, f"routing must be one of {', '.join(ROUTINGS)}, not {self.routing!r}"
        yield 0 < self.bottleneck <= MOST_WIDE, f"bottleneck must be between 1 and {MOST_WIDE}"
        yield (
            self.entity_heads in ENTITY_HEADS,
            f"entity_heads must be one of {', '.join(ENTITY_HEADS)}, not {self.entity_heads!r}",
        )
        yield (
            self.characters is None or 0 < self.characters <= MOST_WIDE,
            f"characters must be between 1 and {MOST_WIDE}, or None",
        )
        yield self.stage == 1 or self.use_ls, "stage 2 trains the switcher: it needs use_ls"


class HerbertaConfig(TripleConfig):
    """HERBERTa: two encoders, one after the other (see `HerbertaModel`)."""

    model_type = "herberta"

    stage: int = 1
    """1: the first encoder and the relation classifier; 2: the second encoder, which is made then."""


def _check(rules: Iterator[tuple[bool, str]]) -> None:
    for holds, advice in rules:
        if not holds:
            raise UserError(f"model configuration: {advice}")


def _is(value: Any, kind: Any) -> bool:
    """Whether a value read from JSON is of an annotated type; a float may be written as a whole number."""
    if get_origin(kind) is UnionType:
        return any(_is(value, one) for one in get_args(kind))
    if get_origin(kind) is list:
        return type(value) is list and all(_is(item, *get_args(kind)) for item in value)
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if kind is int:
        return type(value) is int and abs(value) < _MOST_INT
    return type(value) is (get_origin(kind) or kind)


def _in_words(kind: Any) -> str:
    """A type as messages call it: `a finite number`, `a list, in which each is a text`."""
    if get_origin(kind) is UnionType:
        return " or ".join(map(_in_words, get_args(kind)))
    if get_origin(kind) is list:
        return f"a list, in which each is {_in_words(*get_args(kind))}"
    return _WORDS[get_origin(kind) or kind]


_WORDS: dict[Any, str] = {
    **{str: "a text", bool: "true or false", int: "a whole number below 2^31", float: "a finite number"},
    **{dict: "an object", type(None): "null"},
}

for kind in (MereConfig, HerbertaConfig):
    AutoConfig.register(kind.model_type, kind)
