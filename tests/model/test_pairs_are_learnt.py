"""A small model with embeddings for an encoder learns 50 sentences of each kind by heart."""

import pytest
import torch
from torch import nn

from mere_ds.model.pair_decoding import best_of_sentences, likely_relations, triples_of_pairs
from mere_ds.model.pair_heads import PairHeads, StatePairHeads
from mere_ds.model.pair_loss import gold_relations, pair_losses, pairs_to_train, relation_loss

SENTENCES, WORDS, WIDTH, LABELS = 50, 9, 32, 3


def draw(generator, limit):
    return int(torch.randint(limit, (1,), generator=generator))


def spans_apart(generator, count):
    """So many spans of one or two tokens that share none, in random order."""
    slots = torch.randperm(4, generator=generator)[:count].tolist()
    return [(2 + 2 * slot, 2 + 2 * slot + draw(generator, 2)) for slot in slots]


def overlapping_pairs(generator):
    start, label = 2 + draw(generator, 5), draw(generator, LABELS)
    return {(label, start, start + 2, start + 1, start + 3), (label, start, start, start, start)}


def several_relations_of_one_pair(generator):
    head, tail = spans_apart(generator, 2)
    absent = draw(generator, LABELS)
    return {(label, *head, *tail) for label in range(LABELS) if label != absent}


def several_pairs_of_one_relation(generator):
    a, b, c, d = spans_apart(generator, 4)
    label = draw(generator, LABELS)
    return {(label, *a, *b), (label, *c, *d)}


def one_head_with_two_tails(generator):
    a, b, c = spans_apart(generator, 3)
    label = draw(generator, LABELS)
    return {(label, *a, *b), (label, *a, *c)}


def nested_entities(generator):
    start, label = 2 + draw(generator, 3), draw(generator, LABELS)
    return {(label, start, start + 3, start + 4, start + 5), (label, start + 1, start + 2, start + 5, start + 5)}


def both_directions_of_a_pair(generator):
    a, b = spans_apart(generator, 2)
    label = draw(generator, LABELS)
    return {(label, *a, *b), (label, *b, *a)}


def none_or_one(generator):
    a, b = spans_apart(generator, 2)
    return {(draw(generator, LABELS), *a, *b)} if draw(generator, 2) else set()


def three_nested_heads(generator):
    """The middle head has the starts of one pair and the ends of another with the first tail, but isn't its."""
    label, s = draw(generator, LABELS), 2
    first, other = (s + 5, s + 6), (s + 7, s + 8)
    return {(label, s, s + 2, *first), (label, s + 1, s + 3, *first), (label, s, s + 3, *other)}


KINDS = [
    overlapping_pairs,
    several_relations_of_one_pair,
    several_pairs_of_one_relation,
    one_head_with_two_tails,
    nested_entities,
    both_directions_of_a_pair,
    three_nested_heads,
    none_or_one,
]


class Memory(nn.Module):
    """An embedding for each word of each sentence, and the sentence's own as its pooled vector."""

    def __init__(self, heads):
        super().__init__()
        self.words = nn.Embedding(SENTENCES * (WORDS + 3), WIDTH)
        self.pooled = nn.Embedding(SENTENCES, WIDTH)
        self.relation = nn.Linear(WIDTH, LABELS, bias=False)
        self.heads = heads
        self.h_BMD = self.words.weight.view(SENTENCES, WORDS + 3, WIDTH)
        self.mask_BM = torch.ones(SENTENCES, WORDS + 3, dtype=torch.bool)
        self.allowed_BU = torch.ones(SENTENCES, LABELS, dtype=torch.bool)

    def loss(self, sentence_T, labels_T, positions_T4):
        relation_BU = self.relation(self.pooled.weight)
        gold_BU = gold_relations(labels_T, sentence_T, SENTENCES, LABELS)
        pairs = pairs_to_train(labels_T, sentence_T, torch.rand(SENTENCES, LABELS), 1)
        h_BMD = self.words.weight.view(SENTENCES, WORDS + 3, WIDTH)
        [losses_B3] = self.heads(
            h_BMD,
            self.mask_BM,
            pairs.sentence_P,
            pairs.labels_P,
            lambda scores, _: pair_losses(scores, pairs, positions_T4, SENTENCES),
            len(pairs.labels_P),
        )
        return (relation_loss(relation_BU, gold_BU, self.allowed_BU) + losses_B3.sum(dim=1)).mean()

    @torch.no_grad()
    def find(self):
        relation_BU = self.relation(self.pooled.weight)
        sentence_P, labels_P, probability_P = likely_relations(relation_BU, self.allowed_BU, 0.5, LABELS)
        h_BMD = self.words.weight.view(SENTENCES, WORDS + 3, WIDTH)
        [found] = self.heads(
            h_BMD,
            self.mask_BM,
            sentence_P,
            labels_P,
            lambda scores, _: triples_of_pairs(scores, probability_P, 0.5, 8),
            max(len(labels_P), 1),
        )
        kept_F = best_of_sentences(sentence_P[found.pair_F], found.score_F, 8)
        triples = [set() for _ in range(SENTENCES)]
        for pair, positions in zip(found.pair_F[kept_F].tolist(), found.positions_F4[kept_F].tolist(), strict=True):
            triples[sentence_P[pair]].add((int(labels_P[pair]), *positions))
        return triples


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("heads", [PairHeads, StatePairHeads])
def test_50_sentences_are_learnt(kind, heads):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    gold = [kind(generator) for _ in range(SENTENCES)]
    assert all(max(triple[1:]) < WORDS + 2 for triples in gold for triple in triples)
    model = Memory(heads(LABELS, WIDTH, 16))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    sentence_T, labels_T, *positions = torch.tensor([(b, *t) for b, ts in enumerate(gold) for t in sorted(ts)]).unbind(
        1
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(400):
        optimizer.zero_grad()
        model.loss(sentence_T, labels_T, torch.stack(positions, dim=1)).backward()
        optimizer.step()
        if step % 20 == 19 and model.find() == gold:
            return
    wrong = sum(found != expected for found, expected in zip(model.find(), gold, strict=True))
    pytest.fail(f"{wrong} of {SENTENCES} sentences are still wrong")
