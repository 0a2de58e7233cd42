"""mERE and its ablations: the two factors of equation 1, and which parts each stage trains.

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size, N languages, U relation labels,
4 positions (head start, head end, tail start, tail end; ends inclusive).
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init

from mere_ds.encoders.families import widening
from mere_ds.model.configuration import MereConfig
from mere_ds.model.entity_heads import CutHeads, EntityHeads
from mere_ds.model.many import Gold, losses_of_many
from mere_ds.model.pair_heads import SpanHeads
from mere_ds.model.pair_loss import sums_of_sentences
from mere_ds.model.parts import MereParts
from mere_ds.model.switcher import SubModuleLayer, Switcher
from mere_ds.model.triple import TERMS, MereOutput, TripleModel, cut_loss, joint_loss


class MereModel(MereParts, TripleModel):
    """Encoder, aggregator, switcher, relation classifier and entity heads; the switcher is only used if `config.stage`
    is 2."""

    config: MereConfig
    config_class = MereConfig
    frozen_in_stage_two = ("encoder.", "aggregator.", "heads.relations.")

    def __init__(self, config: MereConfig, encoder: PreTrainedModel | None = None):
        super().__init__(config, encoder)
        self._check_width()
        self._add_parts()
        of_entities = TERMS[:4] if config.triples == "one" else ("heads", "tails", "links")
        self.terms = (*of_entities, "relation", *(("characters",) if config.characters else ()))
        self._complete()

    def forward(
        self,
        token_ids_BM: torch.Tensor,
        mask_BM: torch.Tensor,
        languages_B: torch.Tensor,
        labels_T: torch.Tensor | None = None,
        positions_T4: torch.Tensor | None = None,
        cuts_T4: torch.Tensor | None = None,
        sentence_T: torch.Tensor | None = None,
        concatenate: int = 1,
        k: int | None = None,
        features: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> MereOutput:
        """The loss if gold labels and positions are given (with entities given the gold relation), else the triple.

        `concatenate` is LA's s, the number of neighbours in the batch that attend to each other; `mask_BM` is true on
        real tokens, which come first. `k` is the number of the switcher's sub-modules to use: by default all with gold
        values and `config.top_k` without. `features` are the results of `unify` for these sentences, if precomputed.
        `cuts_T4` are the numbers of characters that the gold entities cut off their first and last tokens, -1 if
        unknown: for models with heads for them, whose loss is added with the entities' weight. `sentence_T` are the
        gold triples' sentences, needed if `config.triples` is "many"; else each has one, so T is B. Raises UserError if
        k is not in 1..T.
        """
        assert (labels_T is None) == (positions_T4 is None), "gold labels and gold positions go together"
        if features is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.stage == 1):
                features = self.unify(token_ids_BM, mask_BM, concatenate)
        h_BMD, pooled_BD = (x.to(self.dtype) for x in features)
        if self.config.stage == 2:
            default = self.config.top_k if labels_T is None else self.config.most_k
            h_BMD = self.switcher(h_BMD, languages_B, default if k is None else k)
        relation_BU = self.relations(pooled_BD)
        if labels_T is None or positions_T4 is None:
            return MereOutput(**self._find(h_BMD, mask_BM, languages_B, relation_BU)._asdict())
        c = self.config
        if sentence_T is None:
            assert c.triples == "one", "any number of triples: which sentences are they of?"
            sentence_T = torch.arange(len(h_BMD), device=h_BMD.device)
        if c.triples == "many":
            gold, allowed_BU = Gold(sentence_T, labels_T, positions_T4), self.label_mask_NU[languages_B]
            losses_B3, relation_B = losses_of_many(
                self.heads, h_BMD, mask_BM, relation_BU, allowed_BU, gold, c.negative_relations
            )
            loss_B = c.alpha / 2 * losses_B3.sum(dim=1) + c.beta * relation_B
            terms_BN = torch.column_stack((losses_B3, relation_B))
        else:
            entity_BM4 = self.heads(h_BMD, mask_BM, labels_T.clamp(min=0))
            loss_B, terms_BN = joint_loss(relation_BU, entity_BM4, labels_T, positions_T4, c.alpha, c.beta)
        if self.cuts is None:
            return MereOutput(loss_B, terms_BN)
        assert cuts_T4 is not None, "heads for cuts learn from gold cuts"
        cut_loss_B = cut_loss(self.cuts(h_BMD, positions_T4, sentence_T), cuts_T4)
        if c.triples == "many":
            cut_loss_B = sums_of_sentences(cut_loss_B, sentence_T, len(h_BMD))
        return MereOutput(loss_B + c.alpha / 2 * cut_loss_B, torch.column_stack((terms_BN, cut_loss_B)))

    @torch.no_grad()
    def begin_stage_two(self, **choices: Any) -> None:
        """Add a new switcher, with its language table set to the encoder's embeddings of the language symbols, widened
        by its own map if they are narrower than its output; freeze the rest.

        `choices` replace the config's values for the switcher (such as `submodule_layers` and `routing`), so that one
        stage one can serve several switchers; with `use_ls`, so can mERE-LS. Call it before DeepSpeed partitions the
        weights. Raises UserError for a model without LS and for choices that don't fit together.
        """
        self._enter_stage_two(choices)
        self._check_width()
        self.switcher = self._new_switcher()
        self._begin_with(self.switcher)
        self._begin_as_identity()
        if isinstance(self.switcher, Switcher):
            symbols_N = torch.tensor(self.config.language_token_ids, device=self.device)
            rows = self.get_input_embeddings().weight[symbols_N]
            self.switcher.languages.weight.copy_(widening(self.encoder.model)(rows))

    def _begin_as_identity(self) -> None:
        """Initialise LN of eq. 7 from LA's, so that LS starts with the inputs that stage one's entity heads expect."""
        norm = self.aggregator and self.aggregator.norm
        if norm:
            for layer in self.switcher.modules():
                if isinstance(layer, SubModuleLayer):
                    layer.scale_G1D.copy_(norm.weight.expand_as(layer.scale_G1D))
                    layer.shift_G1D.copy_(norm.bias.expand_as(layer.shift_G1D))

    def _check_width(self) -> None:
        """Raises UserError early if the language symbols' embeddings can't be made as wide as the router's table."""
        if self.config.use_ls and self.config.routing == "learned":
            widening(self.encoder.model)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, SubModuleLayer):
            init.normal_(module.up_GDb, std=self.config.initializer_range)
            init.zeros_(module.down_GbD)  # LS starts as LN alone
            init.ones_(module.scale_G1D)
            init.zeros_(module.shift_G1D)
        elif isinstance(module, EntityHeads):
            init.normal_(module.index_4D, std=self.config.initializer_range)
        elif isinstance(module, SpanHeads):
            init.normal_(module.index_4D, std=self.config.initializer_range)
            init.normal_(module.pairing_4DR, std=self.config.initializer_range)
            init.zeros_(module.bias)
        elif isinstance(module, CutHeads):
            init.normal_(module.counts_4CD, std=self.config.initializer_range)
            init.zeros_(module.bias)


AutoModel.register(MereConfig, MereModel)
