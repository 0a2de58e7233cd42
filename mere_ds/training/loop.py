"""One stage of training: load a batch, step, tell, score, save."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist

from mere_ds.encoders.sources import load_tokenizer
from mere_ds.evaluation.scoring import score_split
from mere_ds.shards.batch import Batch
from mere_ds.shards.manifest import ENCODER, Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader
from mere_ds.training.engine import Trainee
from mere_ds.training.monitor import Monitor
from mere_ds.training.optimization import rate_factor
from mere_ds.training.session import Session
from mere_ds.training.word_dropout import WordDropout

log = logging.getLogger("mere_ds")

TERMS = ("head_start", "head_end", "tail_start", "tail_end", "relation")


@dataclass
class Tally:
    """Sums over the steps since the last record, on this rank."""

    loss: torch.Tensor | float = 0.0
    terms_5: torch.Tensor | float = 0.0
    steps: int = 0
    sentences: int = 0
    tokens: int = 0
    places: int = 0
    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0


class StageTrainer:
    """Trains one stage of one model; see `run`."""

    def __init__(self, session: Session, stage: int, trainee: Trainee, manifest: Manifest, save) -> None:
        self.session, self.stage, self.trainee, self.manifest, self.save = session, stage, trainee, manifest, save
        c = session.config
        self.concatenate = c.concatenate if stage == 1 else c.concatenate_stage_two
        self.epochs = c.epochs if stage == 1 else c.epochs_stage_two
        self.total_steps = self.epochs * self._plan(0).steps
        if c.max_steps:
            self.total_steps = min(self.total_steps, c.max_steps)
        self.word_dropout = WordDropout(c.word_dropout, load_tokenizer(Path(c.shards) / ENCODER), c.seed)
        self.factor = rate_factor(c, self.total_steps)
        self.step = 0

    def run(self) -> dict:
        """All epochs: train, score on dev, save last and best; stage two stops early. Returns the best dev scores."""
        best, best_score, since_best = {}, -1.0, 0
        with Monitor(self.session.folder, self.stage, self.total_steps, self.session.leads) as self.monitor:
            for epoch in range(self.epochs):
                self._train_epoch(epoch)
                dev = self._score(epoch)
                score = dev[self.session.config.best_by].get("triple", 0.0)
                better = score > best_score
                since_best = 0 if better else since_best + 1
                best, best_score = (dev, score) if better else (best, best_score)
                self.save(self.trainee, better, {"stage": self.stage, "epoch": epoch, "step": self.step, "dev": dev})
                if self.step >= self.total_steps:
                    break
                if self.stage == 2 and since_best >= self.session.config.patience:
                    log.info("stage two stops early: no better dev score for %d epochs", since_best)
                    break
        return best

    def _plan(self, epoch: int) -> EpochPlan:
        c, m = self.session.config, self.manifest
        return EpochPlan(
            m.lengths("train"),
            m.language_ids("train"),
            m.shard_sizes("train"),
            c.batch_size * self.session.ranks * c.accumulation,
            concatenate=self.concatenate,
            seed=c.seed,
            epoch=epoch,
            window=c.window,
        )

    def _train_epoch(self, epoch: int) -> None:
        c = self.session.config
        self.trainee.engine.train()
        reader = ShardReader(
            Path(c.shards),
            self.manifest,
            "train",
            self._plan(epoch),
            self.session.rank,
            self.session.ranks,
            micro=c.batch_size,
            accumulation=c.accumulation,
            prefetch=c.prefetch,
        )
        with reader:
            tally = Tally()
            for micro_batches in _grouped(reader, c.accumulation):
                norm = self._update(micro_batches, epoch, tally)
                self.monitor.step_done()
                if self.step % c.log_every == 0 or self.step == self.total_steps:
                    tally.waited = reader.seconds_waited - tally.waited
                    self._record(tally, norm, epoch)
                    tally = Tally(waited=reader.seconds_waited)
                if self.step >= self.total_steps:
                    return

    def _update(self, micro_batches: list[Batch], epoch: int, tally: Tally) -> float:
        """One weight update: the gradient of eq. 12's mean over the sentences of the whole global batch."""
        c = self.session.config
        self.rate = self.trainee.set_rate(self.factor(self.step))
        for batch in micro_batches:
            batch = batch.to(self.session.device)
            output = self.trainee.engine(
                self.word_dropout(batch, epoch),
                batch.mask_BM,
                batch.languages_B,
                labels_B=batch.labels_B,
                positions_B4=batch.positions_B4,
                concatenate=self.concatenate,
            )
            # DeepSpeed averages over ranks and micro-steps; the last global batch of an epoch may not be full
            share_B = batch.weights_B * (self.session.ranks * c.accumulation / batch.global_sentences)
            loss = (output.loss_B * share_B).sum()
            self.trainee.engine.backward(loss)
            norm = self.trainee.step()
            tally.loss += loss.detach() / c.accumulation
            tally.terms_5 += (output.terms_B5.detach() * share_B[:, None]).sum(0) / c.accumulation
            tally.sentences += int(batch.weights_B.sum())
            tally.tokens += int(batch.mask_BM.sum())
            tally.places += batch.mask_BM.numel()
        tally.steps += 1
        self.step += 1
        return norm

    def _record(self, tally: Tally, norm: float, epoch: int) -> None:
        """Sum the tallies of all ranks and write one record."""
        seconds = time.perf_counter() - tally.started
        sums = torch.tensor(
            [
                float(tally.loss),
                *torch.as_tensor(tally.terms_5).tolist(),
                tally.sentences,
                tally.tokens,
                tally.places,
                tally.waited,
            ],
            dtype=torch.float64,
            device=self.session.device,
        )
        if self.session.ranks > 1:
            dist.all_reduce(sums)
        loss, *terms, sentences, tokens, places, waited = sums.tolist()
        mean = 1 / (tally.steps * self.session.ranks)
        self.monitor.record(
            "train",
            self.step,
            epoch,
            {
                "loss": loss * mean,
                "loss_terms": {name: term * mean for name, term in zip(TERMS, terms, strict=True)},
                "learning_rate": self.rate,
                "gradient_norm": norm,
                "loss_scale": self.trainee.loss_scale,
                "skipped_steps": self.trainee.engine.skipped_steps,
                "sentences_per_second": sentences / seconds,
                "tokens_per_second": tokens / seconds,
                "padding_share": 1 - tokens / places,
                "waiting_share": waited / (seconds * self.session.ranks),
            },
        )

    def _score(self, epoch: int) -> dict:
        self.trainee.engine.eval()
        s = self.session
        dev = score_split(self.trainee.engine, Path(s.config.shards), self.manifest, "dev", s.device, s.rank, s.ranks)
        self.monitor.record("dev", self.step, epoch, dev)
        log.info(
            "stage %d epoch %d: dev triple F1 %.1f average, %.1f pooled",
            self.stage,
            epoch + 1,
            dev["average"].get("triple", 0.0),
            dev["pooled"].get("triple", 0.0),
        )
        return dev


def _grouped(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    group = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    assert not group, "an epoch's micro-steps are a multiple of the accumulation"
