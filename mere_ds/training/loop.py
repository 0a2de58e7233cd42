"""One stage of training: load a batch, step, tell, score, save."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from mere_ds.config import knobs_of_stage
from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.scoring import score_split
from mere_ds.files import write_json
from mere_ds.model.precision import nonfinite
from mere_ds.ranks.stop import LEFT_EARLY
from mere_ds.runs.checkpoint import Checkpoints, name_of
from mere_ds.shards.batch import Batch
from mere_ds.shards.features import FeatureStore
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader
from mere_ds.sums import STATE
from mere_ds.training.engine import Trainee, without_compiling, write_model
from mere_ds.training.monitor import Monitor
from mere_ds.training.nonfinite import NonfiniteGuard, poisoned
from mere_ds.training.optimization import rate_factor
from mere_ds.training.session import Session
from mere_ds.training.tally import Tally, restored, stored
from mere_ds.training.word_dropout import WordDropout

log = logging.getLogger("mere_ds")

TERMS = ("head_start", "head_end", "tail_start", "tail_end", "relation", "characters")
"""Of the loss; the last one only where the model has heads for it."""


@dataclass
class Progress:
    """How far a stage is; a checkpoint keeps it."""

    step: int = 0
    """Updates made, the skipped ones included."""
    epoch: int = 0
    """Epochs trained and scored."""
    skipped: int = 0
    """Updates that changed nothing, because loss or gradient wasn't finite."""
    best: str | None = None
    """Name of the checkpoint with the best dev score."""
    best_score: float = -1.0
    best_dev: dict = field(default_factory=dict)
    epochs_since_best: int = 0
    finished: bool = False


class StageTrainer:
    """Trains one stage of one model from `progress` on; see `run`.

    `facts` go into every checkpoint, `tally` comes from the last one. `features` by split are what the model need not
    compute (see `FeatureStore`).
    """

    def __init__(
        self,
        session: Session,
        stage: int,
        trainee: Trainee,
        manifest: Manifest,
        progress: Progress,
        facts: dict,
        features: dict[str, FeatureStore],
        tally: dict | None = None,
    ) -> None:
        self.session, self.stage, self.trainee, self.manifest = session, stage, trainee, manifest
        self.at, self.facts, self.features = progress, facts, features
        c = session.config
        self.tunes_switcher = c.tunes_switcher(stage)
        self.concatenate = c.concatenate_stage_two if self.tunes_switcher else c.concatenate
        self.epochs = c.epochs_stage_two if self.tunes_switcher else c.epochs
        self.judged_by = "triple" if trainee.model.finds_entities else "relation"
        self.epoch_steps = self._plan(0).steps
        self.total_steps = min(self.epochs * self.epoch_steps, c.max_steps or sys.maxsize)
        self.tokenizer = load_tokenizer(manifest.encoder_folder)
        self.word_dropout = WordDropout(c.word_dropout, self.tokenizer, c.seed)
        self.factor = rate_factor(c, self.total_steps)
        self.checkpoints = Checkpoints(session.folder.stage(stage), c.keep)
        self.saved_step, self.saved_at = self.at.step, time.monotonic()
        self.tally = restored(tally, session.rank, session.ranks, session.device)
        self.waited = 0.0  # seconds, by the epoch's reader

    def run(self) -> dict:
        """All epochs: train, score on dev, save; tuning LS stops early. Returns the best dev scores.

        Leaves with exit code 85 (SystemExit) after a stop signal to any rank. Raises UserError and MachineError.
        """
        with Monitor(
            self.session.folder, self.stage, self.at.step, self.total_steps, self.session.leads
        ) as self.monitor:
            self.guard = NonfiniteGuard(self.session, self.stage, self.trainee, self.monitor)
            while not self.at.finished:
                self._train_epoch()
                self._end_epoch()
        return self.at.best_dev

    def _train_epoch(self) -> None:
        c, epoch = self.session.config, self.at.epoch
        self.trainee.engine.train()
        if not self.tally.places:
            self.tally = Tally()  # from now on, for its clock
        reader = ShardReader(
            self.manifest,
            "train",
            self._plan(epoch),
            self.session.rank,
            self.session.ranks,
            micro=c.batch_size,
            accumulation=c.accumulation,
            start_step=self.at.step - epoch * self.epoch_steps,
            prefetch=c.prefetch,
            features=self.features.get("train"),
        )
        with reader:
            for micro_batches in _grouped(reader, c.accumulation):
                self.waited = reader.seconds_waited
                self._between_steps()
                norm = self._update(micro_batches, self.tally)
                self.monitor.step_done()
                if self.tally.steps and (self.at.step % c.log_every == 0 or self.at.step == self.total_steps):
                    self.tally.waited = self.waited - self.tally.waited
                    self._record(self.tally, norm)
                    self.tally = Tally(waited=self.waited)
                if self.at.step >= self.total_steps:
                    return

    def _between_steps(self) -> None:
        """Save where it is time, leave where any rank was told to stop: all ranks agree on both."""
        c = self.session.config
        minutes = (time.monotonic() - self.saved_at) / 60
        due = self.session.leads and 0 < c.save_minutes <= minutes
        due |= c.save_steps is not None and self.at.step % c.save_steps == 0
        wishes = torch.tensor([self.session.stop.received is not None, due], dtype=torch.int32)
        if self.session.ranks > 1:
            wishes = wishes.to(self.session.device)
            dist.all_reduce(wishes, op=dist.ReduceOp.MAX)
        leave, save = wishes.tolist()
        if (leave or save) and self.at.step > self.saved_step:
            self._save(name_of(self.at.step))
        if leave:
            log.info("stage %d was told to stop: leaves after step %d", self.stage, self.at.step)
            sys.exit(LEFT_EARLY)

    def _end_epoch(self) -> None:
        """Score on dev and save; decides whether this epoch is the best and whether it is the last."""
        at, c = self.at, self.session.config
        self.tally = Tally()  # each epoch has its own records
        dev = self._score()
        score = dev[c.best_by].get(self.judged_by, 0.0)
        at.epoch += 1
        name = name_of(at.step, at.epoch)
        learned = at.skipped < at.step
        if learned and score > at.best_score:
            at.best, at.best_score, at.best_dev, at.epochs_since_best = name, score, dev, 0
        else:
            at.epochs_since_best += 1
        early = self.tunes_switcher and at.epochs_since_best >= c.patience
        at.finished = at.step >= self.total_steps or early
        if at.finished and not learned:
            raise UserError(
                f"stage {self.stage} ends without one update: all {at.step} were skipped, for loss or gradient wasn't "
                "finite. Nothing is learned: --overwrite with a lower --learning_rate, and look at the rows in the log"
            )
        if early and at.step < self.total_steps:
            log.info("stage two stops early: no better dev score for %d epochs", at.epochs_since_best)
        self._save(name, dev)

    def _save(self, name: str, dev: dict | None = None) -> None:
        started = time.perf_counter()
        weights, moments = self.trainee.snapshot()
        self._check_finite(weights)
        tally = stored(self.tally, self.waited, self.session.ranks, self.session.device)
        state = asdict(self.at) | {"stage": self.stage, "dev": dev, "tally": tally}
        state |= {"counters": self.trainee.full_state.counters()}

        def fill(folder: Path) -> None:
            write_model(folder, self.trainee.model, weights, moments)
            self.tokenizer.save_pretrained(folder)
            write_json(folder / STATE, state | self.facts)

        if self.at.finished:
            knobs, languages = knobs_of_stage(self.session.config, self.stage), self.trainee.model.config.languages
            self.monitor.stage_done(self.at.step, knobs, self.at.best_score, languages, weights)
        self.monitor.flush()
        if self.session.leads:
            self.session.lease.check()
            self.checkpoints.write(name, fill, self.at.best)
            log.info("saved %s in %.1f s", name, time.perf_counter() - started)
        dist.barrier()
        self.saved_step, self.saved_at = self.at.step, time.monotonic()

    def _check_finite(self, weights: dict[str, torch.Tensor]) -> None:
        """Raises UserError on all ranks where rank 0 has a weight that isn't finite: it must not replace a good one."""
        if name := self.session.from_rank_0(nonfinite(weights)):
            raise UserError(
                f"stage {self.stage}, step {self.at.step}: {name} holds numbers that aren't finite, so nothing is "
                "saved and the last checkpoint stays: --overwrite with a lower --learning_rate"
            )

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

    def _update(self, micro_batches: list[Batch], tally: Tally) -> float:
        """One weight update: the gradient of eq. 12's mean over the sentences of the whole global batch."""
        c, epoch = self.session.config, self.at.epoch
        self.rate = self.trainee.set_rate(self.factor(self.at.step))
        self._seed_dropout()
        losses, terms = [], []
        for batch in micro_batches:
            tally.sentences += int(batch.weights_B.sum())  # before it moves: a GPU would have to be waited for
            tally.tokens += int(batch.mask_BM.sum())
            tally.places += batch.mask_BM.numel()
            batch = batch.to(self.session.device)
            output = self.trainee.engine(
                self.word_dropout(batch, epoch),
                batch.mask_BM,
                batch.languages_B,
                labels_B=batch.labels_B,
                positions_B4=batch.positions_B4,
                cuts_B4=batch.cuts_B4,
                concatenate=self.concatenate,
                features=batch.features,
            )
            # DeepSpeed averages over ranks and micro-steps; the last global batch of an epoch may not be full
            share_B = batch.weights_B * (self.session.ranks * c.accumulation / batch.global_sentences)
            loss = (output.loss_B * share_B).sum()
            self.trainee.engine.backward(poisoned(loss))
            norm = self.trainee.step()
            losses.append(loss.detach())
            cut_loss_B = torch.zeros_like(output.loss_B) if output.cut_loss_B is None else output.cut_loss_B
            terms_B6 = torch.cat((output.terms_B5, cut_loss_B[:, None]), dim=1).detach()
            terms.append((terms_B6 * share_B[:, None]).sum(0))
        self.at.step += 1
        if self.trainee.updated:
            tally.loss += sum(losses) / c.accumulation
            tally.terms_6 += sum(terms) / c.accumulation
            tally.steps += 1
        else:
            self.at.skipped += 1
        self.guard.look(self.at.step, epoch, micro_batches, losses)
        return norm

    def _seed_dropout(self) -> None:
        """Dropout depends on seed, stage, step and rank alone, so that a checkpoint needs no random state."""
        entropy = (self.session.config.seed, self.stage, self.at.step, self.session.rank)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1)

    def _record(self, tally: Tally, norm: float) -> None:
        """Sum the tallies of all ranks and write one record."""
        seconds = time.perf_counter() - tally.started
        sums = torch.tensor(tally.sums(), dtype=torch.float64, device=self.session.device)
        if self.session.ranks > 1:
            dist.all_reduce(sums)
        names = TERMS if self.session.config.characters else TERMS[:-1]
        loss, *terms, sentences, tokens, places, waited = sums.tolist()
        mean = 1 / (tally.steps * self.session.ranks)
        self.monitor.record(
            "train",
            self.at.step,
            self.at.epoch,
            {
                "loss": loss * mean,
                "loss_terms": {name: term * mean for name, term in zip(names, terms, strict=False)},
                "learning_rate": self.rate,
                "gradient_norm": norm,
                "loss_scale": self.trainee.loss_scale,
                "skipped_steps": self.at.skipped,
                "sentences_per_second": sentences / seconds,
                "tokens_per_second": tokens / seconds,
                "padding_share": 1 - tokens / places,
                "waiting_share": waited / (seconds * self.session.ranks),
            },
        )

    def _score(self) -> dict:
        self.trainee.engine.eval()
        s = self.session
        with without_compiling() if s.config.compile else nullcontext():  # scoring has shapes of its own, used rarely
            dev = score_split(
                self.trainee.engine,
                self.manifest,
                "dev",
                self.tokenizer,
                s.device,
                s.rank,
                s.ranks,
                features=self.features.get("dev"),
            )
        self.monitor.record("dev", self.at.step, self.at.epoch, dev)
        log.info(
            "stage %d epoch %d: dev %s F1 %.1f average, %.1f pooled; triple by characters %.1f average",
            self.stage,
            self.at.epoch + 1,
            self.judged_by,
            dev["average"].get(self.judged_by, 0.0),
            dev["pooled"].get(self.judged_by, 0.0),
            dev["average"].get("triple_characters", 0.0),
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
