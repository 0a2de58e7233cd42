"""Loss, negative relations, pairing and score of `--triples=many`, chosen by measurement on a small budget.

`python benchmarks/pair_choices.py CORPUS ENCODER OUT [--languages=en,de] [--layers=1] [--epochs=2]`: CORPUS is a folder
of JSON lines (see `triples_corpus`), ENCODER a folder with a BERT. Its lower layers are computed once; the upper
`layers`, the relation classifier and the pair heads are trained anew for each choice, which differs from the first in
one thing, on the same batches in the same order. OUT/table.md is the result; OUT/results.jsonl has a line for each
finished choice, and the same command goes on after the last one. Shape suffixes as in `mere_ds.model.many`.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.triples_corpus import make_corpus
from mere_ds import flags
from mere_ds.encoders.sources import load_encoder
from mere_ds.evaluation.calibration import best_threshold
from mere_ds.evaluation.metrics import f1_intervals, precision_recall
from mere_ds.model import pair_loss
from mere_ds.model.configuration import MereConfig
from mere_ds.model.limits import MASKED
from mere_ds.model.pair_decoding import likely_relations, triples_of_pairs
from mere_ds.model.pair_heads import PairHeads, PairScores
from mere_ds.shards.batch import Batch
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader
from mere_ds.shards.writing import shard_corpus

BATCH = 16
LOWER_RATE, NEW_RATE = 3e-4, 2e-3
LEAST = 0.02
"""Least of a candidate's probabilities."""
MOST = 64
"""Candidates of a pair at most."""
WIDTHS = 16
"""Widths of spans that are told apart, the last of them with all above."""


@dataclass(frozen=True)
class Choice:
    """A model and how it is trained; the defaults are what the others are compared with."""

    loss: str = "ZLPR"
    """Or "BCE", of spans and links alike; relations always have binary cross-entropy."""
    negatives: int = 2
    """Other relations that a sentence is looked at with."""
    kind: str = "random"
    """How they are chosen; or "likely": those of the highest probability."""
    pairing: int = 64
    """R."""
    widths: bool = False
    """Whether a span's score has a term for its number of tokens."""
    seed: int = 0


CHOICES = {
    "base": Choice(),
    "BCE": Choice(loss="BCE"),
    "no negative relation": Choice(negatives=0),
    "4 random": Choice(negatives=4),
    "2 likely": Choice(kind="likely"),
    "R = 32": Choice(pairing=32),
    "R = 128": Choice(pairing=128),
    "a term for the span's width": Choice(widths=True),
    "base, another seed": Choice(seed=1),
}


class WideHeads(PairHeads):
    """As `PairHeads`, with a learnt number for each width of a span added to its score."""

    def __init__(self, labels: int, hidden_size: int, width: int):
        super().__init__(labels, hidden_size, width)
        self.width_2W = nn.Parameter(torch.zeros(2, WIDTHS))

    def forward(self, h_BMD, mask_BM, sentence_P, labels_P, use, at_once):
        """See `PairHeads.forward`."""
        i_M = torch.arange(h_BMD.shape[1])
        term_2MM = self.width_2W[:, (i_M - i_M.unsqueeze(1)).clamp(0, WIDTHS - 1)]

        def widened(scores: PairScores, pairs: slice):
            spans_S2MM = scores.spans_S2MM
            spans_S2MM = torch.where(spans_S2MM > MASKED, spans_S2MM + term_2MM, spans_S2MM)
            return use(replace(scores, spans_S2MM=spans_S2MM), pairs)

        return super().forward(h_BMD, mask_BM, sentence_P, labels_P, widened, at_once)


class Upper(nn.Module):
    """The upper layers of an encoder with what `--triples=many` puts on them."""

    def __init__(self, layers: nn.ModuleList, labels: int, hidden_size: int, choice: Choice):
        super().__init__()
        self.layers, self.choice = layers, choice
        self.relation = nn.Linear(hidden_size, labels, bias=False)
        self.heads = (WideHeads if choice.widths else PairHeads)(labels, hidden_size, choice.pairing)
        for module in (self.relation, *self.heads.children()):
            nn.init.normal_(module.weight, std=0.02)
        for name in ("index_4D", "pairing_4DR"):
            nn.init.normal_(getattr(self.heads, name), std=0.02)
        nn.init.zeros_(self.heads.bias)

    def encode(self, lower_BMD: torch.Tensor, mask_BM: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token states and logits of the relations (B x U), from the mean of the states."""
        h_BMD, seen_B11M = lower_BMD.float(), mask_BM[:, None, None, :]
        for layer in self.layers:
            h_BMD = layer(h_BMD, seen_B11M)
        return h_BMD, self.relation((h_BMD * mask_BM.unsqueeze(2)).sum(1) / mask_BM.sum(1, keepdim=True))

    def loss(self, lower_BMD: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The mean of eq. 12 over the batch's sentences, with the weights that are the model's defaults."""
        h_BMD, relation_BU = self.encode(lower_BMD, batch.mask_BM)
        B, U = relation_BU.shape
        likeliness_BU = relation_BU.detach() if self.choice.kind == "likely" else torch.rand(B, U)
        pairs = pair_loss.pairs_to_train(batch.labels_T, batch.sentence_T, likeliness_BU, self.choice.negatives)
        gold_BU = pair_loss.gold_relations(batch.labels_T, batch.sentence_T, B, U)
        relation_B = pair_loss.relation_loss(relation_BU, gold_BU, torch.ones_like(gold_BU))

        def losses(scores: PairScores, every: slice) -> torch.Tensor:
            return pair_loss.pair_losses(scores, pairs, batch.positions_T4, B)

        with formula(self.choice.loss):
            [losses_B3] = self.heads(h_BMD, batch.mask_BM, *pairs_of(pairs), losses, max(len(pairs.labels_P), 1))
        loss_B = MereConfig.alpha / 2 * losses_B3.sum(1) + MereConfig.beta * relation_B
        return (loss_B * batch.weights_B).sum() / batch.weights_B.sum()

    @torch.no_grad()
    def candidates(self, lower_BMD: torch.Tensor, batch: Batch) -> list[tuple[int, tuple, dict[str, float]]]:
        """Triples as (row, (relation, *positions), score by the name of how it is made)."""
        h_BMD, relation_BU = self.encode(lower_BMD, batch.mask_BM)
        everything_BU = torch.ones_like(relation_BU, dtype=torch.bool)
        sentence_P, labels_P, probability_P = likely_relations(relation_BU, everything_BU, LEAST, MOST)
        M = h_BMD.shape[1]

        def found(scores: PairScores, pairs: slice) -> list[tuple[int, tuple, dict[str, float]]]:
            triples = triples_of_pairs(scores, probability_P[pairs], LEAST, MOST)
            pair_F, positions_F4 = triples.pair_F + pairs.start, triples.positions_F4
            row_F = scores.row_P[triples.pair_F]
            span_F21 = (positions_F4[:, 0::2] * M + positions_F4[:, 1::2]).unsqueeze(2)
            span_F2 = scores.spans_S2MM[row_F].flatten(2).gather(2, span_F21).squeeze(2)
            link_F = replace(scores, row_P=row_F).links(span_F21).flatten()
            product_F = probability_P[pair_F] * span_F2.sigmoid().prod(1) * link_F.sigmoid()
            rows = batch.rows_B[sentence_P[pair_F]].tolist()
            keys = torch.column_stack((labels_P[pair_F], positions_F4)).tolist()
            scores_F = zip(triples.score_F.tolist(), product_F.tolist(), strict=True)
            named = ({"least": least, "product": product} for least, product in scores_F)
            return list(zip(rows, map(tuple, keys), named, strict=True))

        return sum(self.heads(h_BMD, batch.mask_BM, sentence_P, labels_P, found, 64), [])


def pairs_of(pairs: pair_loss.Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """The two columns that heads take."""
    return pairs.sentence_P, pairs.labels_P


def cross_entropies(scores_XN: torch.Tensor, gold_XN: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropies, summed over the last dimension; scores that are `MASKED` add nothing."""
    return softplus(torch.where(gold_XN, -scores_XN, scores_XN)).sum(dim=-1)


@contextmanager
def formula(loss: str) -> Iterator[None]:
    """The model's own loss of spans and links, with another formula in its place if `loss` is "BCE"."""
    if loss == "ZLPR":
        yield
        return
    with patch.object(pair_loss, "ranking_loss", cross_entropies), patch.object(pair_loss, "span_losses", _span_losses):
        yield


def _span_losses(scores_2SX: torch.Tensor, gold_G: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `pair_loss.span_losses`, with cross-entropies."""
    gold_2SX = torch.zeros_like(scores_2SX, dtype=torch.bool)
    gold_2SX.view(-1)[gold_G] = True
    most = max(gold_2SX.sum(dim=2).flatten().tolist(), default=0)
    K = min(pair_loss.CANDIDATES + most, scores_2SX.shape[2])
    return (
        cross_entropies(scores_2SX, gold_2SX),
        scores_2SX.detach().masked_fill(gold_2SX, torch.inf).topk(K, dim=2).indices,
    )


class Data:
    """Short batches of a split with the states of the lower layers."""

    def __init__(self, manifest: Manifest, split: str, lower: nn.Module, longest: int):
        plan = EpochPlan(manifest.index_of(split), BATCH, seed=0)
        with ShardReader(manifest, split, plan, micro=BATCH) as reader:
            self.batches = [batch for batch in reader if batch.mask_BM.shape[1] <= longest]
        self.states = [_states(lower, batch) for batch in self.batches]
        language_ids = manifest.language_ids(split)
        self.language = {row: manifest.languages[n] for row, n in enumerate(language_ids.tolist())}
        self.gold: dict[int, set[tuple]] = {
            row: set() for batch in self.batches for row in batch.rows_B.tolist() if row >= 0
        }
        for batch in self.batches:
            keys = torch.column_stack((batch.labels_T, batch.positions_T4)).tolist()
            for row, key in zip(batch.rows_B[batch.sentence_T].tolist(), keys, strict=True):
                self.gold[row].add(tuple(key))

    def found(self, model: Upper) -> list[tuple[int, tuple, dict[str, float]]]:
        """Candidates of all its sentences."""
        model.eval()
        pairs = zip(self.states, self.batches, strict=True)
        found = sum((model.candidates(states, batch) for states, batch in pairs), [])
        return [one for one in found if one[0] >= 0]


@torch.no_grad()
def _states(lower: nn.Module, batch: Batch) -> torch.Tensor:
    return lower(input_ids=batch.token_ids_BM, attention_mask=batch.mask_BM.long()).last_hidden_state.half()


def train(model: Upper, data: Data, epochs: int) -> None:
    """AdamW with warm-up over a tenth and linear decay; the order of the batches depends on the seed alone."""
    groups = [{"params": model.layers.parameters(), "rate": LOWER_RATE}]
    groups += [{"params": [*model.relation.parameters(), *model.heads.parameters()], "rate": NEW_RATE}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.01)
    total, step, random = epochs * len(data.batches), 0, np.random.default_rng(model.choice.seed)
    model.train()
    for _ in range(epochs):
        for i in random.permutation(len(data.batches)):
            factor = min((step + 1) / max(1, total // 10), (total - step) / total, 1)
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * factor
            optimizer.zero_grad()
            model.loss(data.states[i], data.batches[i]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1


def scored(dev: Data, test: Data, found_dev: list, found_test: list, score: str) -> dict:
    """Strict triple F1 of test by tokens, from dev's best threshold on."""
    right = np.array([key in dev.gold[row] for row, key, _ in found_dev], dtype=bool)
    gold = sum(map(len, dev.gold.values()))
    least = best_threshold(np.array([scores[score] for _, _, scores in found_dev]), right, gold)
    kept: dict[int, set[tuple]] = {row: set() for row in test.gold}
    for row, key, scores in found_test:
        if scores[score] >= least:
            kept[row].add(key)
    outcomes: dict[str, Counter] = {}
    for row, gold_set in test.gold.items():
        outcome = (len(kept[row] & gold_set), len(kept[row]), len(gold_set))
        outcomes.setdefault(test.language[row], Counter())[outcome] += 1
    right_n, predicted_n, gold_n = np.sum([n * np.array(o) for c in outcomes.values() for o, n in c.items()], axis=0)
    none = [row for row, gold_set in test.gold.items() if not gold_set]
    return {
        **precision_recall(int(right_n), int(predicted_n), int(gold_n)),
        "interval": f1_intervals(outcomes)["pooled"],
        "answered": 100 * sum(bool(kept[row]) for row in none) / max(1, len(none)),
    }


def measure(choice: Choice, encoder: nn.Module, layers: int, labels: int, data: dict[str, Data], epochs: int) -> dict:
    """Train a choice and score it on test, in both ways to make a score."""
    torch.manual_seed(choice.seed)
    upper = encoder().encoder.layer[-layers:]
    model = Upper(upper, labels, data["train"].states[0].shape[-1], choice)
    start = time.process_time()
    train(model, data["train"], epochs)
    seconds = time.process_time() - start
    found = {split: data[split].found(model) for split in ("dev", "test")}
    ways = {
        score: scored(data["dev"], data["test"], found["dev"], found["test"], score) for score in ("least", "product")
    }
    return {**asdict(choice), "seconds": seconds, "scores": ways}


def table(results: dict[str, dict]) -> str:
    """The results in Markdown."""
    head = ("choice", "score", "F1", "95 %", "precision", "recall", "none answered, %", "training, CPU s")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, result in results.items():
        for way, row in result["scores"].items():
            low, high = row["interval"]
            numbers = (f"{row[key]:.1f}" for key in ("precision", "recall", "answered"))
            cells = (name, way, f"{row['f1']:.1f}", f"{low:.1f} to {high:.1f}", *numbers, f"{result['seconds']:.0f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    corpus: str, encoder: str, out: str, languages: str = "en,de", layers: int = 1, epochs: int = 2, longest: int = 56
) -> None:
    """Compare the choices on the batches whose sentences have `longest` tokens at most."""
    folder = Path(out)
    if not (folder / "shards").exists():
        make_corpus(corpus, folder / "corpus", languages.split(","))
        shard_corpus(folder / "corpus", folder / "shards", encoder=encoder, max_length=96)
    manifest = Manifest.load(folder / "shards")

    def load() -> nn.Module:
        return load_encoder(manifest.encoder_folder, manifest.encoder)

    lower = load().eval()
    lower.encoder.layer = lower.encoder.layer[:-layers]
    data = {split: Data(manifest, split, lower, longest) for split in ("train", "dev", "test")}
    del lower
    for split, its in data.items():
        print(f"{split}: {len(its.gold)} of {manifest.splits[split].sentences} sentences", flush=True)
    done = folder / "results.jsonl"
    results = dict(map(json.loads, done.read_text().splitlines())) if done.exists() else {}
    for name, choice in CHOICES.items():
        if name not in results:
            results[name] = measure(choice, load, layers, len(manifest.labels), data, epochs)
            with done.open("a") as file:
                file.write(json.dumps([name, results[name]]) + "\n")
        (folder / "table.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "pair_choices.py")
