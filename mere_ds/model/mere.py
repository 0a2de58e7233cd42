"""The whole model: equation 1's two factors, equation 12's loss, and what each stage trains.

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, N languages, U relation labels,
4 positions (head start, head end, tail start, tail end; ends inclusive), 5 those and the relation.
"""

import copy
import json
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils import logging as transformers_logging

from mere_ds.errors import UserError
from mere_ds.model.aggregator import Aggregator
from mere_ds.model.configuration import MereConfig
from mere_ds.model.decoding import best_spans
from mere_ds.model.encoder import CrossLingualEncoder
from mere_ds.model.entity_heads import EntityHeads
from mere_ds.model.precision import MASKED, at_least_fp32
from mere_ds.model.switcher import SubModuleLayer, Switcher

ABSENT = -1
"""A label or position with no gold value (a filler, a span cut off): its loss is 0."""

FROZEN_IN_STAGE_TWO = ("encoder.", "aggregator.", "heads.relations.")


@dataclass
class MereOutput(ModelOutput):
    """`loss_B` and `terms_B5` when gold labels and positions were given, the other fields otherwise."""

    loss_B: torch.Tensor | None = None
    """fp32; eq. 12 of each sentence."""
    terms_B5: torch.Tensor | None = None
    """fp32; the cross-entropies of head start, head end, tail start, tail end and relation, not weighted."""
    relation_B: torch.Tensor | None = None
    """int64; the likeliest of the language's relations."""
    relation_probability_B: torch.Tensor | None = None
    """fp32; p(r | X) of eq. 1, among the language's relations."""
    positions_B4: torch.Tensor | None = None
    """int64; the entities' tokens given that relation; -1 in a sentence with no word."""
    score_B: torch.Tensor | None = None
    """fp32; the product of the probabilities of the relation and the four positions."""


def joint_loss(
    relation_BU: torch.Tensor,
    entity_BM4: torch.Tensor,
    labels_B: torch.Tensor,
    positions_B4: torch.Tensor,
    alpha: float,
    beta: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eq. 12 of each sentence (B) and its five terms (B x 5) from fp32 logits; a term whose gold is -1 is 0."""
    positions = cross_entropy(entity_BM4, positions_B4, ignore_index=ABSENT, reduction="none")
    relation = cross_entropy(relation_BU, labels_B, ignore_index=ABSENT, reduction="none")
    loss_B = alpha / 2 * positions.sum(dim=1) + beta * relation
    return loss_B, torch.cat((positions, relation.unsqueeze(1)), dim=1)


class MereModel(PreTrainedModel):
    """Encoder, aggregator, switcher, relation classifier and entity heads.

    `config.stage` says which parameters have `requires_grad` and whether the switcher is run; `begin_stage_two`
    moves on. Raises UserError where the config doesn't fit the encoder.
    """

    config_class = MereConfig
    main_input_name = "token_ids_BM"
    supports_gradient_checkpointing = True

    def __init__(self, config: MereConfig, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        encoder = encoder if encoder is not None else AutoModel.from_config(config.make_encoder_config())
        D, U = encoder.config.hidden_size, len(config.labels)
        _check_fits(config, encoder.get_input_embeddings(), D)
        self.encoder = CrossLingualEncoder(encoder, config.pooler)
        config.pooler = self.encoder.pooler_kind
        self.aggregator = Aggregator(D, config.la_residual) if config.use_la else None
        self.register_module("switcher", self._new_switcher(D) if config.stage == 2 else None)  # keeps its place
        self.relation = nn.Linear(D, U, bias=False)  # W^r of eq. 3
        self.heads = EntityHeads(U, D)
        self.register_buffer("label_mask_NU", torch.empty(len(config.languages), U, dtype=torch.bool), persistent=False)
        self.post_init()
        self._mark_trainable()

    @classmethod
    def from_encoder(cls, encoder: PreTrainedModel, config: MereConfig) -> "MereModel":
        """A model around a loaded encoder, whose weights stay as they are; the new parts follow torch's seed.

        The encoder's config replaces `config.encoder_config` in the model's own copy of `config`; the new parts
        take the encoder's dtype.
        """
        config = copy.deepcopy(config)
        described = json.loads(encoder.config.to_json_string(use_diff=False))
        config.encoder_config = {key: described[key] for key in described if key not in ("dtype", "_name_or_path")}
        config.initializer_range = described.get("initializer_range", config.initializer_range)
        for module in encoder.modules():
            module._is_hf_initialized = True  # post_init leaves these alone
        return cls(config, encoder).to(encoder.dtype)

    @classmethod
    def from_pretrained(cls, folder, *args, output_loading_info: bool = False, **kwargs):
        """As in transformers, but of a local folder and strict: UserError where weights are unreadable, missing, too
        many or of other shapes."""
        strictly = {"use_safetensors": True, "local_files_only": True, "ignore_mismatched_sizes": True}  # told below
        transformers_logging.disable_progress_bar()  # a line a load, in the middle of our own output
        try:
            model, info = super().from_pretrained(folder, *args, output_loading_info=True, **{**kwargs, **strictly})
        except (OSError, SafetensorError, UserError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{folder}: no readable model there, name a folder saved by mere-ds ({reason})") from error
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if info[kind]:
                names = ", ".join(sorted(map(str, info[kind])))
                raise UserError(f"{folder}: weights and config.json are not of one model; {kind}: {names}")
        model._mark_trainable()  # loading puts fresh parameters in
        return (model, info) if output_loading_info else model

    def forward(
        self,
        token_ids_BM: torch.Tensor,
        mask_BM: torch.Tensor,
        languages_B: torch.Tensor,
        labels_B: torch.Tensor | None = None,
        positions_B4: torch.Tensor | None = None,
        concatenate: int = 1,
        k: int | None = None,
        features: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> MereOutput:
        """The loss where gold labels and positions are given (entities given the gold relation), else the triple.

        `concatenate` is LA's s: that many neighbours of the batch see each other; `mask_BM` is true on real tokens,
        which stand on the left. `k` sub-modules of the switcher are used: by default all with gold values and
        `config.top_k` without. `features` are what `unify` gave for these sentences, where that is known already.
        UserError where k is not in 1..T.
        """
        assert (labels_B is None) == (positions_B4 is None), "gold labels and gold positions go together"
        if features is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.stage == 1):
                features = self.unify(token_ids_BM, mask_BM, concatenate)
        h_BMD, pooled_BD = (x.to(self.dtype) for x in features)
        if self.config.stage == 2:
            default = self.config.top_k if labels_B is None else self.switcher.T
            h_BMD = self.switcher(h_BMD, languages_B, default if k is None else k)
        relation_BU = at_least_fp32(self.relation(pooled_BD))
        if labels_B is None:
            return self._predict(h_BMD, mask_BM, languages_B, relation_BU)
        entity_BM4 = self.heads(h_BMD, mask_BM, labels_B.clamp(min=0))
        return MereOutput(
            *joint_loss(relation_BU, entity_BM4, labels_B, positions_B4, self.config.alpha, self.config.beta)
        )

    def unify(self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor, concatenate: int = 1):
        """Eq. 2-4: unified representation h_BMD and pooled vector h_p as pooled_BD, by what stage two freezes."""
        h_BMD, pooled_BD = self.encoder(token_ids_BM, mask_BM)
        if self.aggregator is not None:
            h_BMD = self.aggregator(h_BMD, mask_BM, concatenate)
        return h_BMD, pooled_BD

    def _predict(self, h_BMD, mask_BM, languages_B, relation_BU) -> MereOutput:
        """Eq. 1 in use: the likeliest relation that the language has, then the entities given it."""
        allowed_BU = self.label_mask_NU[languages_B]
        probability_B, relation_B = relation_BU.masked_fill(~allowed_BU, MASKED).softmax(dim=-1).max(dim=-1)
        positions_B4, entities_B = best_spans(self.heads(h_BMD, mask_BM, relation_B), self.config.ordered_spans)
        return MereOutput(
            relation_B=relation_B,
            relation_probability_B=probability_B,
            positions_B4=positions_B4,
            score_B=probability_B * entities_B,
        )

    @torch.no_grad()
    def begin_stage_two(self, **choices) -> None:
        """Put in a new switcher, its language table the encoder's embeddings of the language symbols; freeze the rest.

        `choices` replace the config's for the switcher (such as `submodule_layers`), so that one stage one can serve
        several. To be called on whole weights, before DeepSpeed partitions them. UserError for a model without LS and
        for choices that don't fit together.
        """
        if not self.config.use_ls:
            raise UserError("stage two trains the switcher, and this model has none: stop after stage one")
        assert self.config.stage == 1, "stage two has begun already"
        self.config = type(self.config)(**{**self.config.to_dict(), **choices, "stage": 2})
        self.switcher = self._new_switcher(self.relation.in_features).to(self.device, self.dtype)
        for module in self.switcher.modules():
            self._init_weights(module)
        symbols_N = torch.tensor(self.config.language_token_ids, device=self.device)
        self.switcher.languages.weight.copy_(self.get_input_embeddings().weight[symbols_N])
        self._mark_trainable()
        self.train(self.training)

    def trainable_names(self, stage: int) -> list[str]:
        """Names of the parameters that stage 1 or 2 trains, in the model's order."""
        frozen = FROZEN_IN_STAGE_TWO if stage == 2 else ()
        return [name for name, _ in self.named_parameters() if not name.startswith(frozen)]

    def train(self, mode: bool = True) -> "MereModel":
        """As usual, but what stage two has frozen stays in eval mode (no dropout)."""
        super().train(mode)
        if self.config.stage == 2:
            for part in filter(None, (self.encoder, self.aggregator)):
                part.eval()
        return self

    def compile_encoder(self) -> None:
        """Let torch.compile fuse the encoder's layers, once a batch shape: they share their code, so one serves all.

        Padded shapes must be few; UserError where the encoder has no stack of layers to compile.
        """
        stacks = [module for module in self.encoder.model.modules() if isinstance(module, nn.ModuleList)]
        if not stacks:
            raise UserError(f"{type(self.encoder.model).__name__} has no list of layers: leave --compile out")
        for layer in max(stacks, key=len):
            layer.compile(dynamic=False)

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's word embeddings."""
        return self.encoder.model.get_input_embeddings()

    def _new_switcher(self, hidden_size: int) -> Switcher:
        c = self.config
        return Switcher(len(c.languages), hidden_size, c.bottleneck, c.submodule_layers, c.renormalise_top_k)

    def _mark_trainable(self) -> None:
        trained = set(self.trainable_names(self.config.stage))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in trained)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # N(0, initializer_range) for weights and tables, 1 and 0 for LayerNorm
        if isinstance(module, SubModuleLayer):
            init.normal_(module.up_GDb, std=self.config.initializer_range)
            init.normal_(module.down_GbD, std=self.config.initializer_range)
            init.ones_(module.scale_G1D)
            init.zeros_(module.shift_G1D)
        elif isinstance(module, EntityHeads):
            init.normal_(module.index_4D, std=self.config.initializer_range)
        elif module is self:
            init.copy_(module.label_mask_NU, torch.tensor(self.config.label_mask, dtype=torch.bool))


def _check_fits(config: MereConfig, words: nn.Embedding, hidden_size: int) -> None:
    """UserError where the language symbols are no tokens of the encoder or can't start the switcher's table."""
    if max(config.language_token_ids) >= words.num_embeddings:
        raise UserError(
            f"language_token_ids go up to {max(config.language_token_ids)} but the encoder has {words.num_embeddings} "
            "tokens: add the language symbols to the tokenizer and resize the encoder's embeddings"
        )
    if config.use_ls and words.embedding_dim != hidden_size:
        raise UserError(
            f"the encoder's word embeddings are {words.embedding_dim} wide and its output {hidden_size}: the switcher "
            "needs them equal, choose another encoder or mERE-LS"
        )


AutoModel.register(MereConfig, MereModel)
