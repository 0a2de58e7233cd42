"""What all models have in common: eq. 12's loss, what a forward gives, stages, saving and loading.

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, N languages, U relation labels,
4 positions (head start, head end, tail start, tail end; ends inclusive), 5 those and the relation.
"""

import copy
import json
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils import logging as transformers_logging

from mere_ds.encoders.weights import own_memory, word_embeddings
from mere_ds.errors import MachineError, UserError, from_memory_error
from mere_ds.model.configuration import TripleConfig
from mere_ds.model.decoding import best_spans
from mere_ds.model.encoder import CrossLingualEncoder
from mere_ds.model.precision import MASKED

Model = TypeVar("Model", bound="TripleModel")

ABSENT = -1
"""A label or position with no gold value (a filler, a span cut off): its loss is 0."""


@dataclass
class MereOutput(ModelOutput):
    """`loss_B` and `terms_B5` when gold labels and positions were given, the other fields otherwise."""

    loss_B: torch.Tensor | None = None
    """fp32; eq. 12 of each sentence."""
    terms_B5: torch.Tensor | None = None
    """fp32; the cross-entropies of head start, head end, tail start, tail end and relation, not weighted; 0 where the
    stage doesn't train them."""
    relation_B: torch.Tensor | None = None
    """int64; the likeliest of the language's relations."""
    relation_probability_B: torch.Tensor | None = None
    """fp32; p(r | X) of eq. 1, among the language's relations."""
    positions_B4: torch.Tensor | None = None
    """int64; the entities' tokens given that relation; -1 in a sentence with no word, or from a model that has no
    entity heads yet."""
    score_B: torch.Tensor | None = None
    """fp32; the product of the probabilities of the relation and the four positions; 0 where these are -1."""
    cut_loss_B: torch.Tensor | None = None
    """fp32; the sum of the four cross-entropies of `cut_loss`, not weighted; None where the model has no such heads."""
    cuts_B4: torch.Tensor | None = None
    """int64; characters that head and tail leave out at the front of their first token and at the end of their last
    one, in the order of the positions; 0 from a model that doesn't tell."""


def joint_loss(
    relation_BU: torch.Tensor | None,
    entity_BM4: torch.Tensor | None,
    labels_B: torch.Tensor,
    positions_B4: torch.Tensor,
    alpha: float,
    beta: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eq. 12 of each sentence (B) and its five terms (B x 5) from fp32 logits; a term whose gold is -1 is 0.

    So are the terms whose logits are None, which is for a stage that trains the others alone.
    """
    none_B5 = torch.zeros(len(labels_B), 5, device=labels_B.device)
    positions, relation = none_B5[:, :4], none_B5[:, 4]
    if entity_BM4 is not None:
        positions = cross_entropy(entity_BM4, positions_B4, ignore_index=ABSENT, reduction="none")
    if relation_BU is not None:
        relation = cross_entropy(relation_BU, labels_B, ignore_index=ABSENT, reduction="none")
    loss_B = alpha / 2 * positions.sum(dim=1) + beta * relation
    return loss_B, torch.cat((positions, relation.unsqueeze(1)), dim=1)


def cut_loss(cuts_B4C: torch.Tensor, cuts_B4: torch.Tensor) -> torch.Tensor:
    """The sum of a sentence's four cross-entropies (B) from fp32 logits over counts of characters; a count that is -1,
    or more than the heads know, adds 0."""
    C = cuts_B4C.shape[-1]
    gold_B4 = cuts_B4.masked_fill(cuts_B4 >= C, ABSENT)
    return cross_entropy(cuts_B4C.transpose(1, 2), gold_B4, ignore_index=ABSENT, reduction="none").sum(dim=1)


class TripleModel(PreTrainedModel):
    """An encoder with a relation classifier; a subclass adds what finds the entities, what stage two brings, and
    `_complete` at the end of its `__init__`.

    `config.stage` says which parameters have `requires_grad`; `begin_stage_two` of the subclass moves on. Raises
    UserError where the config doesn't fit the encoder.
    """

    main_input_name = "token_ids_BM"
    supports_gradient_checkpointing = True
    frozen_in_stage_two: tuple[str, ...] = ()
    """How the names of parameters begin that stage two leaves as they are."""
    own_tokens = 0
    """Tokens that its encoder gets beside those of a sentence."""
    config: TripleConfig
    encoder: CrossLingualEncoder
    label_mask_NU: torch.Tensor
    """bool; which relations a language has."""

    if TYPE_CHECKING:

        def to(self: Model, *args: Any, **kwargs: Any) -> Model:  # type: ignore[override]  # transformers' takes no self
            ...

    def __init__(self, config: TripleConfig, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        encoder = encoder if encoder is not None else self._new_encoder()
        words, U = word_embeddings(encoder), len(config.labels)
        if max(config.language_token_ids) >= words.num_embeddings:
            raise UserError(
                f"language_token_ids go up to {max(config.language_token_ids)} but the encoder has "
                f"{words.num_embeddings} tokens: add the language symbols to the tokenizer and resize the encoder's "
                "embeddings"
            )
        self.encoder = CrossLingualEncoder(encoder, config.pooler)
        config.pooler = self.encoder.pooler_kind
        self.register_buffer("label_mask_NU", torch.empty(len(config.languages), U, dtype=torch.bool), persistent=False)

    @classmethod
    def from_encoder(cls: type[Model], encoder: PreTrainedModel, config: TripleConfig) -> Model:
        """A model around a loaded encoder, whose weights stay as they are; the new parts follow torch's seed.

        The encoder's config replaces `config.encoder_config` in the model's own copy of `config`; the new parts
        take the encoder's dtype.
        """
        config = copy.deepcopy(config)
        described = json.loads(encoder.config.to_json_string(use_diff=False))
        config.encoder_config = {key: described[key] for key in described if key not in ("dtype", "_name_or_path")}
        config.initializer_range = described.get("initializer_range", config.initializer_range)
        for module in encoder.modules():
            module._is_hf_initialized = True  # type: ignore[assignment]  # transformers' mark: post_init leaves it alone
        return cls(config, encoder).to(encoder.dtype)

    @classmethod
    def from_pretrained(
        cls: type[Model], pretrained_model_name_or_path: str | PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Model:
        """As in transformers, but of a local folder and strict: UserError where weights are unreadable, missing, too
        many or of other shapes."""
        folder = pretrained_model_name_or_path
        strictly = {"use_safetensors": True, "local_files_only": True}
        strictly |= {"ignore_mismatched_sizes": True, "output_loading_info": True}  # told below
        transformers_logging.disable_progress_bar()  # a line a load, in the middle of our own output
        transformers_logging.set_verbosity_error()  # its report of keys takes many lines, one is said below
        try:
            loaded: Any = super().from_pretrained(folder, *model_args, **{**kwargs, **strictly})
            model, info = loaded
        except Exception as error:  # transformers, torch and safetensors raise many kinds on what is not a model
            if isinstance(error, MachineError) or from_memory_error(error):
                raise
            what = next(iter(str(error).splitlines()), type(error).__name__)
            reason = f"config.json: {what}" if isinstance(error, UserError) else what
            raise UserError(f"{folder}: no readable model there, name a folder saved by mere-ds ({reason})") from error
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if info[kind]:
                names = ", ".join(sorted(map(str, info[kind])))
                raise UserError(f"{folder}: weights and config.json are not of one model; {kind}: {names}")
        own_memory(model)
        model._mark_trainable()  # loading puts fresh parameters in
        return model

    def trainable_names(self, stage: int) -> list[str]:
        """Names of the parameters that stage 1 or 2 trains, in the model's order."""
        frozen = self.frozen_in_stage_two if stage == 2 else ()
        return [name for name, _ in self.named_parameters() if not name.startswith(frozen)]

    @property
    def finds_entities(self) -> bool:
        """Whether this stage's model predicts positions, so that its triples can be scored."""
        return True

    def train(self: Model, mode: bool = True) -> Model:
        """As usual, but what stage two has frozen stays in eval mode (no dropout)."""
        super().train(mode)
        if self.config.stage == 2:
            for name, part in self.named_children():
                if f"{name}.".startswith(self.frozen_in_stage_two):
                    part.eval()
        return self

    def share_unifying_parts(self, other: "TripleModel") -> bool:
        """Take `other`'s parts for `unify` in place of one's own if they are the same; returns whether they are."""
        return False

    @property
    def trained_encoder(self) -> PreTrainedModel:
        """The encoder that this stage trains, or the only one there is."""
        return self.encoder.model

    def compile_encoder(self) -> None:
        """Let torch.compile fuse the encoder's layers: they share their code, so one compilation serves all.

        The first padded width gets one of its own, the second one for all other widths. UserError where the encoder
        has no stack of layers to compile.
        """
        stacks = [module for module in self.trained_encoder.modules() if isinstance(module, nn.ModuleList)]
        if not stacks:
            raise UserError(f"{type(self.trained_encoder).__name__} has no list of layers: leave --compile out")
        for layer in max(stacks, key=len):
            layer.compile()

    def get_input_embeddings(self) -> nn.Embedding:
        """The encoder's word embeddings."""
        return word_embeddings(self.encoder.model)

    def _new_encoder(self) -> PreTrainedModel:
        return AutoModel.from_config(self.config.make_encoder_config())

    def _complete(self) -> None:
        """All parts are there: initialise the new ones."""
        self.post_init()
        self._mark_trainable()

    def _enter_stage_two(self, choices: dict) -> None:
        """`choices` replace the config's; UserError where they don't fit together."""
        assert self.config.stage == 1, "stage two has begun already"
        self.config = type(self.config)(**{**self.config.to_dict(), **choices, "stage": 2})

    def _begin_with(self, *parts: nn.Module) -> None:
        """Initialise stage two's new parts, freeze what stage two doesn't train."""
        for module in (module for part in parts for module in part.to(self.device, self.dtype).modules()):
            self._init_weights(module)
        self._mark_trainable()
        self.train(self.training)

    def _mark_trainable(self) -> None:
        trained = set(self.trainable_names(self.config.stage))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in trained)

    def _best_relation(self, relation_BU: torch.Tensor, languages_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The likeliest relation that the language has and its probability among these (both B), from fp32 logits."""
        allowed_BU = self.label_mask_NU[languages_B]
        probability_B, relation_B = relation_BU.masked_fill(~allowed_BU, MASKED).softmax(dim=-1).max(dim=-1)
        return relation_B, probability_B

    def _best_spans(self, logits_BM4: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The entities' positions (B x 4) and the product of their probabilities (B), decoded as the config says."""
        return best_spans(logits_BM4, self.config.ordered_spans, self.config.overlapping_spans)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # N(0, initializer_range) for weights and tables, 1 and 0 for LayerNorm
        if module is self:
            init.copy_(self.label_mask_NU, torch.tensor(self.config.label_mask, dtype=torch.bool))
