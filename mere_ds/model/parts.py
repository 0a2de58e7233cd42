"""The parts of mERE behind its encoder, and how they find triples: shared by training and use, in plain torch.

Shape suffixes: B sentences, M tokens of a sentence (padded), F triples found in them, D hidden size, N languages, U
relation labels, 4 positions (head start, head end, tail start, tail end; ends inclusive).
"""

from typing import NamedTuple

import torch
from torch import nn

from mere_ds.model.aggregator import Aggregator
from mere_ds.model.decoding import best_spans
from mere_ds.model.encoder import CrossLingualEncoder
from mere_ds.model.entity_heads import CutHeads, EntityHeads, StateHeads
from mere_ds.model.fields import MereFields, TripleFields
from mere_ds.model.limits import MASKED
from mere_ds.model.many import Found, find_many
from mere_ds.model.pair_heads import PairHeads, StatePairHeads
from mere_ds.model.precision import at_least_fp32, nan_where_infinite
from mere_ds.model.switcher import LanguageSwitcher, Switcher


class Predicted(NamedTuple):
    """Triples found in sentences; see the fields of `MereOutput` with these names."""

    sentence_F: torch.Tensor
    relation_F: torch.Tensor
    relation_probability_F: torch.Tensor
    positions_F4: torch.Tensor
    score_F: torch.Tensor
    cuts_F4: torch.Tensor


class Decoding:
    """How logits become a relation and two spans, as the configuration says."""

    config: TripleFields
    label_mask_NU: torch.Tensor
    """bool; which relations each language has."""

    def best_relation(self, relation_BU: torch.Tensor, languages_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The most likely of the language's relations and its probability among them (both B), from fp32 logits."""
        allowed_BU = self.label_mask_NU[languages_B]
        seen_BU = nan_where_infinite(relation_BU).masked_fill(~allowed_BU, MASKED)
        probability_B, relation_B = seen_BU.softmax(dim=-1).max(dim=-1)
        return relation_B, probability_B

    def _best_spans(self, logits_BM4: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The entities' positions (B x 4) and the product of their probabilities (B), decoded as configured."""
        return best_spans(logits_BM4, self.config.ordered_spans, self.config.overlapping_spans)


class MereParts(Decoding, nn.Module):
    """Aggregator, switcher, relation classifier and entity heads; a subclass makes `config` and `encoder` first."""

    config: MereFields
    encoder: CrossLingualEncoder
    aggregator: Aggregator | None
    switcher: Switcher | LanguageSwitcher
    """None before stage two."""
    relation: nn.Linear
    """W^r of eq. 3."""
    heads: EntityHeads | StateHeads | PairHeads | StatePairHeads
    cuts: CutHeads | None

    def _add_parts(self) -> None:
        """Create all parts, uninitialised."""
        c, D, U = self.config, self.encoder.hidden_size, len(self.config.labels)
        self.aggregator = Aggregator(D, c.la_residual) if c.use_la else None
        # by this call, so that its position among the modules is the same in both stages
        self.register_module("switcher", self._new_switcher() if c.stage == 2 else None)
        self.relation = nn.Linear(D, U, bias=False)
        relation = c.entity_heads == "relation"
        if c.triples == "many":
            self.heads = (PairHeads if relation else StatePairHeads)(U, D, c.pairing)
        else:
            self.heads = EntityHeads(U, D) if relation else StateHeads(D)
        self.cuts = CutHeads(D, c.characters) if c.characters else None

    def _new_switcher(self) -> Switcher | LanguageSwitcher:
        c, D = self.config, self.encoder.hidden_size
        if c.routing == "language":
            return LanguageSwitcher(len(c.languages), D, c.bottleneck, c.submodule_layers[0])
        return Switcher(len(c.languages), D, c.bottleneck, c.submodule_layers, c.renormalise_top_k)

    def unify(
        self, token_ids_BM: torch.Tensor, mask_BM: torch.Tensor, concatenate: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Eq. 2-4, the parts frozen in stage two: unified representation h_BMD and pooled vector h_p as pooled_BD."""
        h_BMD, pooled_BD = self.encoder(token_ids_BM, mask_BM)
        if self.aggregator is not None:
            h_BMD = self.aggregator(h_BMD, mask_BM, concatenate)
        return h_BMD, pooled_BD

    def share_unifying_parts(self, other: nn.Module) -> bool:
        """Replace our parts for `unify` by `other`'s if they are equal, to save memory; returns whether they are: true
        for all models tuned from the same stage one. Matrices must not be packed yet."""
        if not isinstance(other, MereParts) or type(self.encoder.model) is not type(other.encoder.model):
            return False
        (mine, my_weights), (theirs, their_weights) = self._what_unifies(), other._what_unifies()
        if mine != theirs or not all(map(torch.equal, my_weights, their_weights)):
            return False
        self.encoder, self.aggregator = other.encoder, other.aggregator
        return True

    def _what_unifies(self) -> tuple[tuple, list[torch.Tensor]]:
        """Everything that determines the results of `unify`: settings with the weights' names, and the weights."""
        parts = {n: w for n, w in self.state_dict().items() if n.startswith(("encoder.", "aggregator."))}
        return (self.config.encoder_config, self.config.pooler, list(parts)), list(parts.values())

    def relations(self, pooled_BD: torch.Tensor) -> torch.Tensor:
        """fp32 logits of the relations, B x U."""
        return at_least_fp32(self.relation(pooled_BD))

    def _find(
        self,
        h_BMD: torch.Tensor,
        mask_BM: torch.Tensor,
        languages_B: torch.Tensor,
        relation_BU: torch.Tensor,
        *computed: torch.Tensor,
    ) -> Predicted:
        """Eq. 1 in prediction: the most likely relation of the language, then the entities given it. What was
        `computed` is handed to `EntityHeads`."""
        if self.config.triples == "many":
            allowed_BU = self.label_mask_NU[languages_B]
            least, most = self.config.least_score, self.config.most_triples
            found = find_many(self.heads, h_BMD, mask_BM, relation_BU, allowed_BU, least, most)
        else:
            relation_B, probability_B = self.best_relation(relation_BU, languages_B)
            positions_B4, entities_B = self._best_spans(self.heads(h_BMD, mask_BM, relation_B, *computed))
            sentence_B = torch.arange(len(relation_B), device=relation_B.device)
            found = Found(sentence_B, relation_B, probability_B, positions_B4, probability_B * entities_B)
        cuts_F4 = torch.zeros_like(found.positions_F4)
        if self.cuts is not None:
            counts_F4C = self.cuts(h_BMD, found.positions_F4, found.sentence_F)
            cuts_F4 = counts_F4C.argmax(dim=-1).masked_fill(found.positions_F4 < 0, 0)
        return Predicted(*found, cuts_F4)
