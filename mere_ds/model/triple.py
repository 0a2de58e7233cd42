"""The common base of all models: the loss of eq. 12, the outputs, stages, saving and loading.

Shape suffixes: B sentences, F triples found in them, M tokens of a sentence (padded), D hidden size, N languages, U
relation labels, 4 positions (head start, head end, tail start, tail end; ends inclusive), 5 those and the relation.
"""

import copy
import json
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils import logging as transformers_logging

from mere_ds.encoders.families import auto_class
from mere_ds.encoders.weights import own_memory, word_embeddings
from mere_ds.errors import MachineError, UserError, from_memory_error
from mere_ds.model.configuration import TripleConfig
from mere_ds.model.encoder import CrossLingualEncoder
from mere_ds.model.parts import Decoding

Model = TypeVar("Model", bound="TripleModel")

ABSENT = -1
"""A label or position without a gold value (padding row, truncated span): its loss is 0."""


TERMS = ("head_start", "head_end", "tail_start", "tail_end", "relation")
"""Names of eq. 12's terms, as `joint_loss` returns them."""


@dataclass
class MereOutput(ModelOutput):
    """`loss_B` and `terms_BN` are set if gold labels and positions were given, the other fields otherwise."""

    loss_B: torch.Tensor | None = None
    """fp32; eq. 12 of each sentence."""
    terms_BN: torch.Tensor | None = None
    """fp32; the unweighted losses that the model's `terms` name; 0 if the stage doesn't train them."""
    sentence_F: torch.Tensor | None = None
    """int64, ascending; the sentence of each triple found, an index into B. With one triple per sentence F is B."""
    relation_F: torch.Tensor | None = None
    """int64; the most likely of the language's relations, or with any number of triples each likely one."""
    relation_probability_F: torch.Tensor | None = None
    """fp32; p(r | X) of eq. 1, among the language's relations."""
    positions_F4: torch.Tensor | None = None
    """int64; the entities' tokens given that relation; -1 for a sentence without words, or if the model has no entity
    heads yet."""
    score_F: torch.Tensor | None = None
    """fp32; the product of the probabilities of the relation and the four positions; 0 if these are -1. With any number
    of triples: see `pair_decoding.triples_of_pairs`."""
    cuts_F4: torch.Tensor | None = None
    """int64; number of characters that head and tail leave out at the start of their first token and at the end of
    their last one, in the order of the positions; 0 if the model has no heads for it."""


def joint_loss(
    relation_BU: torch.Tensor | None,
    entity_BM4: torch.Tensor | None,
    labels_B: torch.Tensor,
    positions_B4: torch.Tensor,
    alpha: float,
    beta: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eq. 12 of each sentence (B) and its five terms (B x 5) from fp32 logits.

    A term is 0 if its gold value is -1, or if its logits are None, for a stage that doesn't train it.
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
    """The sum of a sentence's four cross-entropies (B) from fp32 logits over counts of characters; a count of -1, or
    above the heads' maximum, adds 0."""
    C = cuts_B4C.shape[-1]
    gold_B4 = cuts_B4.masked_fill(cuts_B4 >= C, ABSENT)
    return cross_entropy(cuts_B4C.transpose(1, 2), gold_B4, ignore_index=ABSENT, reduction="none").sum(dim=1)


class TripleModel(Decoding, PreTrainedModel):
    """An encoder with a relation classifier; subclasses add the entity heads and the parts of stage two, and call
    `_complete` at the end of their `__init__`.

    `config.stage` determines which parameters have `requires_grad`; the subclass's `begin_stage_two` switches to stage
    two. Raises UserError if the config doesn't fit the encoder.
    """

    main_input_name = "token_ids_BM"
    supports_gradient_checkpointing = True
    frozen_in_stage_two: tuple[str, ...] = ()
    """Prefixes of the names of parameters that are frozen in stage two."""
    own_tokens = 0
    """Number of extra tokens that its encoder gets besides those of a sentence."""
    terms: tuple[str, ...] = TERMS
    """Names of the loss terms, N of them."""
    config: TripleConfig
    encoder: CrossLingualEncoder

    if TYPE_CHECKING:

        def to(self: Model, *args: Any, **kwargs: Any) -> Model:  # type: ignore[override]  # transformers' takes no self
            ...

    def __init__(self, config: TripleConfig, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        encoder = encoder if encoder is not None else self._new_encoder()
        words, U = word_embeddings(encoder), len(config.labels)
        if max(config.language_token_ids) >= words.num_embeddings:
            raise UserError(
                f"language_token_ids go up to {max(config.language_token_ids)}, but the encoder has only "
                f"{words.num_embeddings} tokens: add the language symbols to the tokenizer and resize the encoder's "
                "embeddings"
            )
        self.encoder = CrossLingualEncoder(encoder, config.pooler)
        config.pooler = self.encoder.pooler_kind
        self.register_buffer("label_mask_NU", torch.empty(len(config.languages), U, dtype=torch.bool), persistent=False)

    @classmethod
    def from_encoder(cls: type[Model], encoder: PreTrainedModel, config: TripleConfig) -> Model:
        """A model around a loaded encoder, which keeps its weights; the new parts are initialised from torch's seed.

        The encoder's config replaces `config.encoder_config` in the model's own copy of `config`; the new parts get
        the encoder's dtype.
        """
        config = copy.deepcopy(config)
        described = json.loads(encoder.config.to_json_string(use_diff=False))
        config.encoder_config = {key: described[key] for key in described if key not in ("dtype", "_name_or_path")}
        config.initializer_range = described.get("initializer_range", config.initializer_range)
        for module in encoder.modules():
            module._is_hf_initialized = True  # type: ignore[assignment]  # makes transformers' post_init skip it
        return cls(config, encoder).to(encoder.dtype)

    @classmethod
    def from_pretrained(
        cls: type[Model], pretrained_model_name_or_path: str | PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Model:
        """As in transformers, but from a local folder and strict: raises UserError for unreadable, missing or
        unexpected weights and wrong shapes."""
        folder = pretrained_model_name_or_path
        strictly = {"use_safetensors": True, "local_files_only": True}
        strictly |= {"ignore_mismatched_sizes": True, "output_loading_info": True}  # reported below
        transformers_logging.disable_progress_bar()  # it would print a line per load into our own output
        transformers_logging.set_verbosity_error()  # its report of keys takes many lines; we report in one below
        try:
            loaded: Any = super().from_pretrained(folder, *model_args, **{**kwargs, **strictly})
            model, info = loaded
        except Exception as error:  # transformers, torch and safetensors raise many types for what is not a model
            if isinstance(error, MachineError) or from_memory_error(error):
                raise
            what = next(iter(str(error).splitlines()), type(error).__name__)
            reason = f"config.json: {what}" if isinstance(error, UserError) else what
            raise UserError(f"{folder}: can't load a model ({reason}): pass a folder saved by mere-ds") from error
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if info[kind]:
                names = ", ".join(sorted(map(str, info[kind])))
                raise UserError(
                    f"{folder}: weights and config.json don't match ({kind}: {names}): copy the folder again"
                )
        own_memory(model)
        model._mark_trainable()  # loading replaces the parameters
        return model

    def trainable_names(self, stage: int) -> list[str]:
        """Names of the parameters that stage 1 or 2 trains, in the model's order."""
        frozen = self.frozen_in_stage_two if stage == 2 else ()
        return [name for name, _ in self.named_parameters() if not name.startswith(frozen)]

    @property
    def finds_entities(self) -> bool:
        """Whether this stage's model predicts entities, so that its triples can be scored."""
        return True

    def train(self: Model, mode: bool = True) -> Model:
        """As usual, but the parts frozen in stage two stay in eval mode (no dropout)."""
        super().train(mode)
        if self.config.stage == 2:
            for name, part in self.named_children():
                if f"{name}.".startswith(self.frozen_in_stage_two):
                    part.eval()
        return self

    def share_unifying_parts(self, other: "TripleModel") -> bool:
        """Replace our parts for `unify` by `other`'s if they are equal, to save memory; returns whether they are."""
        return False

    @property
    def trained_encoder(self) -> PreTrainedModel:
        """The encoder that this stage trains, or the only one."""
        return self.encoder.model

    def compile_encoder(self) -> None:
        """Compile the encoder's layers with torch.compile: they share their code, so they share one compilation.

        It compiles for the first padded width, and once more for all other widths. Raises UserError if the encoder
        has no list of layers.
        """
        stacks = [module for module in self.trained_encoder.modules() if isinstance(module, nn.ModuleList)]
        if not stacks:
            raise UserError(f"{type(self.trained_encoder).__name__} has no list of layers to compile: remove --compile")
        for layer in max(stacks, key=len):
            layer.compile()

    def get_input_embeddings(self) -> nn.Embedding:
        """The encoder's word embeddings."""
        return word_embeddings(self.encoder.model)

    def _new_encoder(self) -> PreTrainedModel:
        config = self.config.make_encoder_config()
        return auto_class(config).from_config(config)

    def _complete(self) -> None:
        """Initialise the new parts, once all are created."""
        self.post_init()
        self._note_ties()
        self._mark_trainable()

    def _enter_stage_two(self, choices: dict) -> None:
        """Replace values of the config by `choices`; raises UserError if they don't fit together."""
        assert self.config.stage == 1, "stage two has begun already"
        self.config = type(self.config)(**{**self.config.to_dict(), **choices, "stage": 2})

    def _begin_with(self, *parts: nn.Module) -> None:
        """Initialise stage two's new parts and freeze what it doesn't train."""
        for module in (module for part in parts for module in part.to(self.device, self.dtype).modules()):
            self._init_weights(module)
        self._note_ties()
        self._mark_trainable()
        self.train(self.training)

    def _note_ties(self) -> None:
        """Tell transformers which weights of the encoder are one (T5's embeddings): it only asks direct children."""
        self.all_tied_weights_keys = self.get_expanded_tied_weights_keys(all_submodels=True)

    def _mark_trainable(self) -> None:
        trained = set(self.trainable_names(self.config.stage))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in trained)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # N(0, initializer_range) for weights and tables, 1 and 0 for LayerNorm
        if module is self:
            init.copy_(self.label_mask_NU, torch.tensor(self.config.label_mask, dtype=torch.bool))
