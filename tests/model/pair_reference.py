"""The heads for any number of triples, their loss and their decoding in NumPy, one (sentence, relation) pair and one
span at a time, to compare the modules with."""

import itertools

import numpy as np

from tests.model.reference import head_matrices


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def vectors(weights, h, label):
    """v^y of eq. 9 for the four y, each m x d; of the states alone where the heads have no relation embedding."""
    if "relations.weight" not in weights:
        return [h] * 4
    r_e = weights["relations.weight"][label]
    concatenated = np.concatenate([h, np.repeat(r_e[None], len(h), axis=0)], axis=1)
    return [np.tanh(concatenated @ W_y) for W_y, _ in head_matrices(weights, prefix="")]


class PairReference:
    """Scores of one pair from the weights and the sentence's unpadded states."""

    def __init__(self, weights, h, label):
        self.weights, self.v = weights, vectors(weights, h, label)
        self.R = weights["pairing_4DR"].shape[2] // 2
        self.words = range(2, len(h) - 1)
        self.factor = weights["factors.weight"][label] if "factors.weight" in weights else 1.0

    def span(self, entity, i, j):
        start, end = 2 * entity, 2 * entity + 1
        a, b = self.v[start][i], self.v[end][j]
        U, pairing = self.weights["index_4D"], self.weights["pairing_4DR"]
        together = (a @ pairing[start][:, : self.R]) @ (b @ pairing[end][:, : self.R]) / np.sqrt(self.R)
        return a @ U[start] + b @ U[end] + together + self.weights["bias"][entity]

    def link(self, head, tail):
        of_head, of_tail = (
            np.tanh(
                sum(self.v[2 * e + x][place] @ self.weights["pairing_4DR"][2 * e + x][:, self.R :] for x, place in ends)
            )
            for e, ends in ((0, enumerate(head)), (1, enumerate(tail)))
        )
        return (of_head * self.factor) @ of_tail + self.weights["bias"][2]

    def spans(self):
        return [(i, j) for i, j in itertools.product(self.words, repeat=2) if i <= j]


def ranking_loss(scores, gold):
    """`scores` by key; `gold` the keys that should be positive."""
    wrong = sum(np.exp(s) for key, s in scores.items() if key not in gold)
    right = sum(np.exp(-s) for key, s in scores.items() if key in gold)
    return np.log1p(wrong) + np.log1p(right)


def pair_losses(pair, span_gold, link_gold, candidates):
    """Losses of head spans, tail spans and links. `span_gold` are the triples ((i, j), (k, l)) whose spans count,
    `link_gold` those of the pair."""
    losses, likely = [], []
    for entity in range(2):
        gold = {triple[entity] for triple in span_gold}
        scores = {s: pair.span(entity, *s) for s in pair.spans()}
        losses.append(ranking_loss(scores, gold))
        others = sorted((s for s in scores if s not in gold), key=lambda s: -scores[s])
        likely.append([*gold, *others[: candidates - len(gold)]])
    links = {(head, tail): pair.link(head, tail) for head, tail in itertools.product(*likely)}
    return [*losses, ranking_loss(links, link_gold)]


def triples(pair, relation_probability, least):
    """Every triple of the pair with a score of `least` or more, from the highest on: (score, head, tail)."""
    found = []
    for head, tail in itertools.product(pair.spans(), repeat=2):
        logits = pair.span(0, *head), pair.span(1, *tail), pair.link(head, tail)
        score = min(relation_probability, *map(sigmoid, logits))
        if score >= least:
            found.append((score, head, tail))
    return sorted(found, reverse=True)
