"""HERBERTa (section 4.3): one encoder classifies the relation, a second one tags the entities given it.

Shape suffixes: B sentences, M tokens of a sentence (padded), L = M + 1 with the relation's, D hidden size, d width of
the word embeddings, U relation labels, 4 positions (head start, head end, tail start, tail end; ends inclusive).
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel

from mere_ds.encoders.weights import word_embeddings
from mere_ds.model.configuration import HerbertaConfig
from mere_ds.model.entity_heads import StateHeads
from mere_ds.model.precision import at_least_fp32
from mere_ds.model.triple import ABSENT, MereOutput, TripleModel, joint_loss


class Tagger(nn.Module):
    """The second encoder: where the entities of a sentence start and end, given its relation.

    The relation is an extra token after `[CLS]`, with its own embedding: the paper only says that it is concatenated
    with the sentence.
    """

    def __init__(self, model: PreTrainedModel, labels: int):
        super().__init__()
        if getattr(model, "pooler", None) is not None:
            model.register_module("pooler", None)  # its parameters would never get a gradient
        self.encoder = model
        self.relations = nn.Embedding(labels, word_embeddings(model).embedding_dim)
        self.heads = StateHeads(model.config.hidden_size)

    def forward(self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """Logits over the sentence's tokens as from `EntityHeads`: positions don't count the relation's token."""
        words_BMd = self.encoder.get_input_embeddings()(token_ids_BM)
        relation_B1d = self.relations(labels_B).unsqueeze(1)
        inputs_BLd = torch.cat((words_BMd[:, :1], relation_B1d, words_BMd[:, 1:]), dim=1)
        mask_BL = torch.cat((mask_BM[:, :1], mask_BM), dim=1)
        h_BLD = self.encoder(inputs_embeds=inputs_BLd, attention_mask=mask_BL.long()).last_hidden_state
        h_BMD = torch.cat((h_BLD[:, :1], h_BLD[:, 2:]), dim=1)
        return self.heads(h_BMD, mask_BM, labels_B)


class HerbertaModel(TripleModel):
    """Two independent encoders in sequence. Stage one trains encoder and relation classifier, stage two the tagger.

    Before stage two the model predicts no entities.
    """

    config: HerbertaConfig
    config_class = HerbertaConfig
    frozen_in_stage_two = ("encoder.", "relation.")
    own_tokens = 1  # the relation's

    def __init__(self, config: HerbertaConfig, encoder: PreTrainedModel | None = None):
        super().__init__(config, encoder)
        self.relation = nn.Linear(self.encoder.hidden_size, len(config.labels), bias=False)
        two = config.stage == 2
        self.register_module("tagger", Tagger(self._new_encoder(), len(config.labels)) if two else None)
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
        """As `MereModel.forward`: the loss of the part that the stage trains, or the triple.

        The tagger gets the gold relation in training and the predicted one in use. `cuts_T4`, `sentence_T`,
        `concatenate`, `k` and `features` have no effect here.
        """
        assert (labels_T is None) == (positions_T4 is None), "gold labels and gold positions go together"
        if labels_T is None or positions_T4 is None:
            return self._predict(token_ids_BM, mask_BM, languages_B)
        relation_BU = entity_BM4 = None
        if self.config.stage == 1:
            relation_BU = self.classify(token_ids_BM, mask_BM)
        else:
            entity_BM4 = self.tagger(token_ids_BM, mask_BM, labels_T.clamp(min=0))
        return MereOutput(
            *joint_loss(relation_BU, entity_BM4, labels_T, positions_T4, self.config.alpha, self.config.beta)
        )

    @property
    def finds_entities(self) -> bool:
        return self.tagger is not None

    @property
    def trained_encoder(self) -> PreTrainedModel:
        return self.encoder.model if self.tagger is None else self.tagger.encoder

    def begin_stage_two(self, encoder: PreTrainedModel, **choices: Any) -> None:
        """Add a tagger around `encoder`, keeping its weights, and freeze the rest.

        `choices` replace the config's values. Call it before DeepSpeed partitions the weights. Raises UserError for
        choices that don't fit together.
        """
        self._enter_stage_two(choices)
        self.tagger = Tagger(encoder, len(self.config.labels)).to(self.device, self.dtype)
        self._begin_with(self.tagger.relations, self.tagger.heads)

    def classify(self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor) -> torch.Tensor:
        """fp32 logits of the relations, B x U."""
        _, pooled_BD = self.encoder(token_ids_BM, mask_BM)
        return at_least_fp32(self.relation(pooled_BD))

    def _predict(self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor, languages_B: torch.Tensor) -> MereOutput:
        relation_B, probability_B = self.best_relation(self.classify(token_ids_BM, mask_BM), languages_B)
        positions_B4 = torch.full((len(relation_B), 4), ABSENT, device=relation_B.device)
        entities_B = torch.zeros_like(probability_B)
        if self.finds_entities:
            logits_BM4 = self.tagger(token_ids_BM, mask_BM, relation_B)
            positions_B4, entities_B = self._best_spans(logits_BM4)
        return MereOutput(
            sentence_F=torch.arange(len(relation_B), device=relation_B.device),
            relation_F=relation_B,
            relation_probability_F=probability_B,
            positions_F4=positions_B4,
            score_F=probability_B * entities_B,
            cuts_F4=torch.zeros_like(positions_B4),
        )


AutoModel.register(HerbertaConfig, HerbertaModel)
