"""The training loop for the paper's two stages."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from mere_ds.config import TrainConfig, knobs_of_stage
from mere_ds.encoders.tokenizer_files import TOKENIZER_FILES, read_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.scoring import score_split
from mere_ds.files import write_json
from mere_ds.model.calibration import CALIBRATION
from mere_ds.runs.checkpoint import Checkpoints, name_of, step_of
from mere_ds.shards.batch import Batch
from mere_ds.shards.features import FeatureStore
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader
from mere_ds.sums import STATE
from mere_ds.training.engine import Trainee, saved_config, without_compiling, write_model
from mere_ds.training.learner import Tensors
from mere_ds.training.loop import Loop, Pace, Progress
from mere_ds.training.nonfinite import NonfiniteGuard, nan_if_not_finite
from mere_ds.training.observers import Bar, MetricsFile, Observer, Observers, TensorBoard
from mere_ds.training.operations import Tokens, counted, operations
from mere_ds.training.optimization import rate_factor
from mere_ds.training.profiling import Profile
from mere_ds.training.session import Session
from mere_ds.training.tally import Tally, most_memory, restored, slowest, stored
from mere_ds.training.tracking import trackers
from mere_ds.training.word_dropout import WordDropout

log = logging.getLogger("mere_ds")


class StageTrainer(Loop[Batch]):
    """Trains one stage of one model from `progress` on; see `train`.

    `facts` are saved in every checkpoint, `tally` comes from the last one. `features` are precomputed, by split (see
    `FeatureStore`). `observers` are the user's own; the run folder's records are always written.
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
        observers: Iterable[Observer] = (),
    ) -> None:
        self.session, self.stage, self.trainee, self.manifest = session, stage, trainee, manifest
        self.features = features
        c, name = session.config, f"stage {stage}"
        self.tunes_switcher = c.tunes_switcher(stage)
        self.concatenate = c.concatenate_stage_two if self.tunes_switcher else c.concatenate
        self.judged_by = "triple" if trainee.model.finds_entities else "relation"
        self.tokenizer = read_tokenizer(manifest.encoder_folder)
        files = TOKENIZER_FILES if session.is_main else ()
        self._tokenizer_files = {name: (manifest.encoder_folder / name).read_bytes() for name in files}
        self.word_dropout = WordDropout(c.word_dropout, self.tokenizer, c.seed)
        epoch_steps = self._plan(0).steps
        epochs = c.epochs_stage_two if self.tunes_switcher else c.epochs
        total_steps = min(epochs * epoch_steps, c.max_steps or sys.maxsize)
        if progress.epoch != progress.step // epoch_steps:
            raise UserError(
                f"stage {stage} of {c.run}: {STATE} of the newest checkpoint records {progress.epoch} finished epochs "
                f"after step {progress.step}, but an epoch has {epoch_steps} steps: copy the checkpoint again, or "
                "train this stage again (--overwrite)"
            )
        self.factor = rate_factor(c.warmup, c.schedule, total_steps)
        self.tally = restored(tally, trainee.model.terms, session.rank, session.ranks, session.device)
        self.waited = 0.0  # seconds that this epoch's reader has waited
        self.rate = self.norm = 0.0  # of the last update
        self.operations = operations(trainee.model, bool(features)) if session.is_main else None
        self.calibration: dict | None = None  # what dev told of the weights as they are
        own = _own_observers(session, stage) if session.is_main else []
        listening = Observers([*own, *observers] if session.is_main else ())
        super().__init__(
            session,
            name,
            trainee,
            progress,
            Pace(epoch_steps, total_steps, c.log_every, c.save_steps, c.save_minutes),
            Checkpoints(session.folder.stage(stage), c.keep),
            _guard(session, name, trainee, listening),
            listening,
            facts,
        )

    def train(self) -> dict:
        """All epochs: train, score on dev, save; when tuning LS, with early stopping. Returns the best dev scores.

        Exits with code 85 (SystemExit) after a stop signal to any rank. Raises UserError and MachineError.
        """
        self.run(knobs_of_stage(self.session.config, self.stage))
        return self.at.best_dev

    @contextmanager
    def _batches(self) -> Iterator[Iterator[list[Batch]]]:
        c, epoch = self.session.config, self.at.epoch
        self.trainee.engine.train()
        if not self.tally.places:
            self.tally = Tally(self.tally.names)  # restarts its clock
        reader = ShardReader(
            self.manifest,
            "train",
            self._plan(epoch),
            self.session.rank,
            self.session.ranks,
            micro=c.batch_size,
            accumulation=c.accumulation,
            start_step=self.at.step - epoch * self.pace.epoch_steps,
            prefetch=c.prefetch,
            features=self.features.get("train"),
        )
        with reader:
            yield self._timed(reader)

    def _timed(self, reader: ShardReader) -> Iterator[list[Batch]]:
        for micro_batches in _grouped(reader, self.session.config.accumulation):
            self.waited = reader.seconds_waited
            yield micro_batches

    def _plan(self, epoch: int) -> EpochPlan:
        c, m = self.session.config, self.manifest
        return EpochPlan(
            m.index_of("train"),
            c.batch_size * self.session.ranks * c.accumulation,
            concatenate=self.concatenate,
            seed=c.seed,
            epoch=epoch,
            window=c.window,
            temperature=c.language_temperature,
        )

    def _update(self, micro_batches: list[Batch]) -> list[torch.Tensor]:
        """One weight update: the gradient of eq. 12's mean over the sentences of the whole global batch."""
        c, tally = self.session.config, self.tally
        self.rate = self.trainee.set_rate(self.factor(self.at.step))
        self._seed_dropout()
        losses, terms = [], []
        for batch in micro_batches:
            tally.sentences += int(batch.weights_B.sum())  # while on the CPU: reading it from a GPU would block
            tally.tokens += int(batch.mask_BM.sum())
            tally.places += batch.mask_BM.numel()
            tally.work += counted(batch.mask_BM, self.concatenate)
            batch = batch.to(self.session.device)
            output = self.trainee.engine(
                self.word_dropout(batch, self.at.epoch),
                batch.mask_BM,
                batch.languages_B,
                labels_T=batch.labels_T,
                positions_T4=batch.positions_T4,
                cuts_T4=batch.cuts_T4,
                sentence_T=batch.sentence_T,
                concatenate=self.concatenate,
                features=batch.features,
            )
            # DeepSpeed averages over ranks and micro-steps; the last global batch of an epoch may not be full
            share_B = batch.weights_B * (self.session.ranks * c.accumulation / batch.global_sentences)
            loss = (output.loss_B * share_B).sum()
            self.trainee.engine.backward(nan_if_not_finite(loss))
            self.norm = self.trainee.step()
            losses.append(loss.detach())
            terms.append((output.terms_BN.detach() * share_B[:, None]).sum(0))
        if self.trainee.updated:
            tally.loss += sum(losses) / c.accumulation
            tally.terms_N += sum(terms) / c.accumulation
            tally.steps += 1
        return losses

    def _seed_dropout(self) -> None:
        """Make dropout depend only on seed, stage, step and rank, so that a checkpoint needs no random state."""
        entropy = (self.session.config.seed, self.stage, self.at.step, self.session.rank)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1)

    def _record(self) -> None:
        """Bring the tallies of all ranks together in one record, unless all updates since the last one were skipped."""
        if not self.tally.steps:
            return
        tally, self.tally = self.tally, Tally(self.tally.names, waited=self.waited)
        tally.waited = self.waited - tally.waited
        seconds = time.perf_counter() - tally.started
        ranks, device = self.session.ranks, self.session.device
        *columns, memory = zip(*tally.of_all(ranks, device, most_memory(device)), strict=True)
        *sums, waits, _, _, _, _ = columns
        loss, *terms, sentences, tokens, places = map(sum, sums)
        mean = 1 / (tally.steps * ranks)
        self.observers.record(
            "train",
            self.at.step,
            self.at.epoch,
            {
                "loss": loss * mean,
                "loss_terms": {name: term * mean for name, term in zip(tally.names, terms, strict=True)},
                "learning_rate": self.rate,
                "gradient_norm": self.norm,
                "loss_scale": self.trainee.loss_scale,
                "skipped_steps": self.at.skipped,
                "sentences_per_second": sentences / seconds,
                "tokens_per_second": tokens / seconds,
                "padding_share": 1 - tokens / places,
                "waiting_share": sum(waits) / (seconds * ranks),
                **slowest(waits, seconds),
                "memory_mib": max(memory) / 2**20,
                **self._speed(Tokens(*map(sum, columns[-4:])), seconds),
            },
        )

    def _speed(self, seen: Tokens, seconds: float) -> dict[str, float]:
        """Operations a second over all ranks, and their share of what the devices can; {} where they are unknown."""
        if self.operations is None:
            return {}
        found = {"tflops_per_second": self.operations.of(seen) / seconds / 1e12}
        if peak := self.session.config.peak_tflops:
            found["peak_share"] = found["tflops_per_second"] / (peak * self.session.ranks)
        return found

    def _end_epoch(self) -> None:
        """Score on dev and save; determines whether this epoch is the best and whether it is the last."""
        at, c = self.at, self.session.config
        self.tally = Tally(self.tally.names)  # each epoch has its own records
        dev = self._score()
        name = name_of(at.step, at.epoch + 1)
        better = self._is_best(name, dev) or (at.best and step_of(at.best) > at.epoch * self.pace.epoch_steps)
        at.epochs_since_best = 0 if better else at.epochs_since_best + 1
        at.epoch += 1
        early = self.tunes_switcher and at.epochs_since_best >= c.patience
        self._finish_if(at.step >= self.pace.total_steps or early)
        if early and at.step < self.pace.total_steps:
            log.info("stage two stops early: the dev score has not improved for %d epochs", at.epochs_since_best)
        self._save_scored(name, dev, dev)

    def _look_within_epoch(self) -> None:
        """Score on dev if --eval_steps says so and the epoch doesn't end here; the best model so far is saved."""
        step, every = self.at.step, self.session.config.eval_steps
        if not every or step % every or step % self.pace.epoch_steps == 0 or step == self.pace.total_steps:
            return
        started = time.perf_counter()
        dev, name = self._score(), name_of(step)
        self.tally.started += time.perf_counter() - started  # it is no training
        if self._is_best(name, dev):
            self._save_scored(name, dev, None)
        self.trainee.engine.train()

    def _is_best(self, name: str, dev: dict) -> bool:
        """Whether the scores `dev` are the best so far; then `name` is the best checkpoint from now on."""
        at, score = self.at, dev[self.session.config.best_by].get(self.judged_by, 0.0)
        better = at.skipped < at.step and score > at.best_score
        if better:
            at.best, at.best_score, at.best_dev = name, score, dev
        return better

    def _save_scored(self, name: str, dev: dict, of_epoch: dict | None) -> None:
        """Save weights that dev has scored, with their calibration; `of_epoch` are its scores if an epoch ends here."""
        self.calibration = dev.get("calibration")
        self._save(name, of_epoch)
        self.calibration = None

    def _score(self) -> dict:
        self.trainee.settle()
        self.trainee.engine.eval()
        s = self.session
        with without_compiling() if s.config.compile else nullcontext():  # scoring uses other shapes, and rarely
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
        self.observers.record("dev", self.at.step, self.at.epoch, dev)
        log.info(
            "stage %d epoch %d, step %d: dev %s F1 %.1f average, %.1f pooled; triple by characters %.1f average",
            self.stage,
            self.at.epoch + 1,
            self.at.step,
            self.judged_by,
            dev["average"].get(self.judged_by, 0.0),
            dev["pooled"].get(self.judged_by, 0.0),
            dev["average"].get("triple_characters", 0.0),
        )
        return dev

    def _state(self) -> dict:
        tally = stored(self.tally, self.waited, self.session.ranks, self.session.device)
        return {"stage": self.stage, "tally": tally}

    def _writer(self, weights: Tensors, moments: Tensors) -> Callable[[Path], None]:
        config, calibration = saved_config(self.trainee.model), self.calibration

        def write(folder: Path) -> None:
            write_model(folder, config, weights, moments)
            for name, content in self._tokenizer_files.items():
                (folder / name).write_bytes(content)
            if calibration is not None:
                write_json(folder / CALIBRATION, calibration)

        return write

    def _describe(self, weights: Tensors) -> None:
        if shares := router_shares(weights, self.trainee.model.config.languages):
            self.observers.record("router", self.at.step, self.at.epoch - 1, shares)


def router_shares(weights: Tensors, languages: list[str]) -> dict[str, dict[str, float]]:
    """f_t(L_n) of eq. 5 by language and sub-module number (from 1); {} if the model has no learned router.

    `weights` are the whole model's by name. Shape suffixes: N languages, T sub-modules, D hidden size.
    """
    if "switcher.router.weight" not in weights:
        return {}
    E_ND, W_TD = weights["switcher.languages.weight"], weights["switcher.router.weight"]
    f_NT = (E_ND @ W_TD.T).softmax(dim=1)
    shares = zip(languages, f_NT.tolist(), strict=True)
    return {language: {str(t): share for t, share in enumerate(f_T, start=1)} for language, f_T in shares}


def _own_observers(session: Session, stage: int) -> list[Observer]:
    """Those that write the run folder's records, and the progress bar."""
    folder, steps = session.folder, session.config.profile
    own: list[Observer] = [
        MetricsFile(folder.metrics, stage),
        TensorBoard(folder.tensorboard(stage)),
        Bar("loss", **{"TFLOP/s": "tflops_per_second", "of peak": "peak_share"}),
    ]
    own += trackers(session.config.report_to, folder.root, stage)
    return own + ([Profile(folder.profile, f"stage{stage}", steps)] if steps else [])


def _guard(session: Session, name: str, trainee: Trainee, observers: Observers) -> NonfiniteGuard:
    c = session.config
    rows = "train split" if c.languages == "all" else f"train split with --languages={c.languages}"
    limit, advice = _nonfinite_policy(c)
    return NonfiniteGuard(session, trainee, observers, name, rows, limit, advice)


def _nonfinite_policy(config: TrainConfig) -> tuple[int, str]:
    """The number of non-finite updates in a row after which training stops, and the advice to give then."""
    if config.on_nonfinite == "stop":
        return 1, "Use --on_nonfinite=skip to continue without such batches"
    return config.nonfinite_limit, "Try a lower --learning_rate"


def _grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    group = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    assert not group, "an epoch's micro-steps are a multiple of the accumulation"
