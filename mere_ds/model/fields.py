"""What the configurations of the models hold, and what is required of it; needs neither torch nor transformers."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, get_args, get_origin

from mere_ds.config import MOST_LAYERS, MOST_WIDE, Pooler
from mere_ds.errors import UserError

POOLERS = get_args(Pooler)
ROUTINGS = ("learned", "language")
ENTITY_HEADS = ("relation", "states")
TRIPLES = ("one", "many")
_MOST_INT = 1 << 31


@dataclass(kw_only=True, eq=False, repr=False)
class TripleFields:
    """The options of every model that finds a relation and its two entities.

    With N languages and U relation labels; the first four fields are required.
    """

    languages: list[str] = field(default_factory=list)
    """N language codes; `languages_B` of a batch are indices into them."""
    labels: list[str] = field(default_factory=list)
    """U relation labels; `labels_T` of a batch are indices into them."""
    label_mask: list[list[int]] = field(default_factory=list)
    """N x U, 1 if the language has the relation: only these are predicted for it."""
    language_token_ids: list[int] = field(default_factory=list)
    """N token ids of the language symbols `[xx]`, in the order of `languages`."""
    encoder_config: dict[str, Any] = field(default_factory=dict)
    """The encoder's own config with its `model_type`; `TripleModel.from_encoder` fills it in."""
    pooler: str = "auto"
    """h_p of eq. 3: "encoder" (its own pooler), "new" (dense + tanh on the first token), "mean" (the mean of the
    tokens, which sentence encoders such as E5 are trained for) or "auto" (its own if any, else new)."""
    max_length: int = 256
    """Maximum tokens of a sentence, including special tokens; for use by tokenisation, not enforced by the model."""
    top_k: int = 1
    """Number of sub-modules used per sentence in prediction, if the model has any."""
    alpha: float = 2.0
    """Weight of the entity losses in eq. 12."""
    beta: float = 1.0
    """Weight of the relation loss in eq. 12."""
    ordered_spans: bool = True
    """Whether spans are decoded with start <= end; False: start and end by independent argmax."""
    overlapping_spans: bool = True
    """Whether ordered spans of head and tail may share tokens; true for models saved before this option existed."""
    stage: int = 1
    """1 or 2, the stage of training; each model defines which parts it has and trains in each."""
    initializer_range: float = 0.02
    """Standard deviation of new weights."""

    def check(self) -> None:
        """Complete the fields that follow from others. Raises UserError, which names the field, for values of the wrong
        type and for inconsistent ones."""
        _check(self._types())  # first: the others compare and count
        self._derive()
        _check(self._requirements())

    @property
    def most_k(self) -> int:
        """The largest possible `top_k`."""
        return 1

    def _types(self) -> Iterator[tuple[bool, str]]:
        """As `_requirements`: whether each of our fields has its declared type."""
        for kind in type(self).__mro__:
            if issubclass(kind, TripleFields):
                for name, expected in kind.__annotations__.items():
                    yield _is(getattr(self, name), expected), f"{name} must be {_in_words(expected)}"

    def _derive(self) -> None:
        """Set fields that follow from others."""

    def _requirements(self) -> Iterator[tuple[bool, str]]:
        """(whether the rule holds, what is required) for every rule."""
        N, U = len(self.languages), len(self.labels)
        yield 0 < N == len(set(self.languages)), "languages must be a non-empty list without duplicates"
        yield 0 < U == len(set(self.labels)), "labels must be a non-empty list without duplicates"
        yield (
            len(self.label_mask) == N and all(len(row) == U and set(row) <= {0, 1} for row in self.label_mask),
            f"label_mask must have a row of {U} zeros and ones (one per label) for each of the {N} languages",
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


@dataclass(kw_only=True, eq=False, repr=False)
class MereFields(TripleFields):
    """All options of a mERE model with T sub-modules or of its ablations; defaults are the paper's (section 4.2)."""

    use_la: bool = True
    """Whether the model has the language-universal aggregator (eq. 4)."""
    la_residual: bool = True
    """Residual and LayerNorm around eq. 4; False is eq. 4 as printed."""
    use_ls: bool = True
    """Whether the model has the language-specific switcher (eq. 5-8), which is added, trained and used in stage two."""
    routing: str = "learned"
    """How a sentence's sub-modules are chosen: "learned" (the router of eq. 5) or "language" (mERE14: one sub-module
    per language, all as deep as the deepest of `submodule_layers`, and `top_k` is 1)."""
    submodule_layers: list[int] = field(default_factory=lambda: [1, 1, 1, 2, 2, 2])
    """Layers of eq. 7 in each of the T sub-modules."""
    bottleneck: int = 1024
    """b of eq. 7."""
    top_k: int = 3
    """Number of sub-modules per language in prediction; training uses all T."""
    renormalise_top_k: bool = True
    """Whether the k largest f_t are scaled to sum to 1."""
    entity_heads: str = "relation"
    """What predicts where entities start and end: "relation" (eq. 9) or "states" (a linear map of each token)."""
    triples: str = "one"
    """How many triples a sentence has: "one", or "many", that is any number."""
    pairing: int = 64
    """R, the width of the products that tell which start has which end, and which head which tail (many)."""
    negative_relations: int = 2
    """Relations that a sentence doesn't have, for which training shows the entity heads that there is none (many)."""
    least_score: float = 0.02
    """Raw score from which on a triple is found; low, since the answers are chosen of the calibrated ones (many)."""
    most_triples: int = 64
    """The most triples that are found in a sentence, its best (many)."""
    characters: int | None = None
    """How many characters separate heads may cut off an entity's first and last token, at most; None: no such heads."""
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
        yield min(layers, default=0) > 0, "submodule_layers must have a number greater than 0 for each sub-module"
        yield sum(layers) <= MOST_LAYERS, f"submodule_layers must sum to at most {MOST_LAYERS}"
        yield from super()._requirements()
        yield self.routing in ROUTINGS, f"routing must be one of {', '.join(ROUTINGS)}, not {self.routing!r}"
        yield 0 < self.bottleneck <= MOST_WIDE, f"bottleneck must be between 1 and {MOST_WIDE}"
        yield (
            self.entity_heads in ENTITY_HEADS,
            f"entity_heads must be one of {', '.join(ENTITY_HEADS)}, not {self.entity_heads!r}",
        )
        yield self.triples in TRIPLES, f"triples must be one of {', '.join(TRIPLES)}, not {self.triples!r}"
        yield 0 < self.pairing <= MOST_WIDE, f"pairing must be between 1 and {MOST_WIDE}"
        yield 0 <= self.negative_relations <= MOST_WIDE, f"negative_relations must be between 0 and {MOST_WIDE}"
        yield 0 < self.least_score <= 1, "least_score must be greater than 0 and at most 1"
        yield 0 < self.most_triples <= MOST_WIDE, f"most_triples must be between 1 and {MOST_WIDE}"
        yield (
            self.characters is None or 0 < self.characters <= MOST_WIDE,
            f"characters must be between 1 and {MOST_WIDE}, or None",
        )
        yield self.stage == 1 or self.use_ls, "use_ls must be true in stage 2, which trains the switcher"


def _check(rules: Iterator[tuple[bool, str]]) -> None:
    for holds, advice in rules:
        if not holds:
            raise UserError(f"model configuration: {advice}")


def _is(value: Any, kind: Any) -> bool:
    """Whether a value read from JSON has the annotated type; a float may be written as a whole number."""
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
    """A type in the words of messages: `a finite number`, `a list, each item a string`."""
    if get_origin(kind) is UnionType:
        return " or ".join(map(_in_words, get_args(kind)))
    if get_origin(kind) is list:
        return f"a list, each item {_in_words(*get_args(kind))}"
    return _WORDS[get_origin(kind) or kind]


_WORDS: dict[Any, str] = {
    **{str: "a string", bool: "true or false", int: "a whole number below 2^31", float: "a finite number"},
    **{dict: "an object", type(None): "null"},
}
