"""The training loop, for any model: update, report, save, stop on a signal, resume from a checkpoint."""

import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import torch

from mere_ds.errors import UserError
from mere_ds.files import write_json
from mere_ds.model.precision import nonfinite
from mere_ds.ranks.stop import LEFT_EARLY
from mere_ds.runs.checkpoint import Checkpoints, name_of
from mere_ds.sums import STATE
from mere_ds.training.learner import Learner, Rows, Tensors
from mere_ds.training.nonfinite import NonfiniteGuard
from mere_ds.training.observers import Beginning, Observers
from mere_ds.training.process import Process
from mere_ds.training.saving import Saver

log = logging.getLogger("mere_ds")

B = TypeVar("B", bound=Rows)


@dataclass
class Progress:
    """How far the training has come; saved in every checkpoint."""

    step: int = 0
    """Updates so far, including skipped ones."""
    epoch: int = 0
    """Finished epochs, including their scoring."""
    skipped: int = 0
    """Updates that changed nothing because a loss or gradient wasn't finite."""
    best: str | None = None
    """Name of the checkpoint with the best dev score."""
    best_score: float = -1.0
    best_dev: dict = field(default_factory=dict)
    epochs_since_best: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Pace:
    """Length of the training and intervals of reports and checkpoints; all counts are in updates."""

    epoch_steps: int
    total_steps: int
    log_every: int
    save_steps: int | None
    """None: not by steps."""
    save_minutes: float = 0.0
    """0: not by time."""


class Loop(ABC, Generic[B]):
    """Trains from `progress` on, on every rank; subclasses define the model's update and the batches.

    `facts` are saved in every checkpoint. Raises UserError and MachineError.
    """

    def __init__(
        self,
        process: Process,
        name: str,
        learner: Learner,
        progress: Progress,
        pace: Pace,
        checkpoints: Checkpoints,
        guard: NonfiniteGuard,
        observers: Observers,
        facts: dict,
    ) -> None:
        self.process, self.name, self.learner, self.at, self.pace = process, name, learner, progress, pace
        self.guard, self.observers, self.facts = guard, observers, facts
        self.saver = Saver(process, checkpoints, observers)
        self.saved_step, self.saved_at = progress.step, time.monotonic()

    def run(self, knobs: dict) -> None:
        """Train all epochs; `knobs` are passed to the observers.

        Exits with code 85 (SystemExit) after a stop signal to any rank, with all progress saved.
        """
        with self.observers, self.saver:
            self.observers.begin(Beginning(self.name, self.at.step, self.pace.total_steps, knobs))
            while not self.at.finished:
                self._train_epoch()
                self._end_epoch()
            self._wait_for_save()

    @abstractmethod
    def _batches(self) -> AbstractContextManager[Iterator[list[B]]]:
        """The micro-batches of each remaining update of epoch `at.epoch`, after `at.step` updates."""

    @abstractmethod
    def _update(self, micro_batches: list[B]) -> list[torch.Tensor]:
        """Forward and backward passes and the update, skipped if `learner` finds it not finite; returns the losses."""

    @abstractmethod
    def _record(self) -> None:
        """Report the means since the last record to the observers."""

    @abstractmethod
    def _end_epoch(self) -> None:
        """Count the epoch in `at`, set `at.finished` if it was the last one, and save a checkpoint if due."""

    @abstractmethod
    def _state(self) -> dict:
        """Further entries of a checkpoint's state, as JSON. Every rank must call it."""

    @abstractmethod
    def _writer(self, weights: Tensors, moments: Tensors) -> Callable[[Path], None]:
        """Rank 0: what writes a checkpoint's files, except its state, into a folder.

        Another thread calls it while training goes on, so it must use nothing that training changes.
        """

    def _train_epoch(self) -> None:
        with self._batches() as batches:
            for micro_batches in batches:
                self._between_steps()
                losses = self._update(micro_batches)
                self.at.step += 1
                self.at.skipped += not self.learner.updated
                self.guard.look(self.at.step, self.at.epoch, micro_batches, losses)
                self.observers.step_done(self.at.step)
                if self.at.step % self.pace.log_every == 0 or self.at.step == self.pace.total_steps:
                    self._record()
                self._look_within_epoch()
                if self.at.step >= self.pace.total_steps:
                    return

    def _look_within_epoch(self) -> None:
        """After each update: whatever else is due before the next one, such as scores."""

    def _between_steps(self) -> None:
        """Save if it is due, exit if any rank was asked to stop: all ranks agree on both."""
        self.saver.look()
        minutes = (time.monotonic() - self.saved_at) / 60
        due = self.process.is_main and 0 < self.pace.save_minutes <= minutes
        due |= self.pace.save_steps is not None and self.at.step % self.pace.save_steps == 0
        leave, save = self.process.any_of(self.process.stop.received is not None, due)
        if (leave or save) and self.at.step > self.saved_step:
            self._save(name_of(self.at.step))
        if leave:
            self._wait_for_save()
            log.info("%s was asked to stop: exiting after step %d", self.name, self.at.step)
            sys.exit(LEFT_EARLY)

    def _finish_if(self, last: bool) -> None:
        """Record whether this was the last epoch. Raises UserError if it was and every update was skipped."""
        self.at.finished = last
        if last and self.at.skipped == self.at.step:
            raise UserError(
                f"{self.name} learned nothing: all {self.at.step} updates were skipped, since the loss or gradient "
                "was never finite: check the rows in the log, and start again with --overwrite and a lower "
                "--learning_rate"
            )

    def _describe(self, weights: Tensors) -> None:
        """Rank 0: report statistics of the weights to the observers at the end of an epoch."""

    def _save(self, name: str, dev: dict | None = None) -> None:
        """Copy all that makes the checkpoint `name`, which is written while training goes on.

        `dev` are its scores at the end of an epoch, else None. What is due at a step is done before its checkpoint, so
        a resumed training never does it again.
        """
        self.saver.wait()  # for the checkpoint before: this one's copy takes its memory
        weights, moments = self.learner.snapshot()
        state = asdict(self.at) | self._state() | {"dev": dev, "counters": self.learner.counters()} | self.facts

        if self.process.is_main:
            if dev is not None:
                self._describe(weights)
            if self.at.finished:
                self.observers.end(self.at.step, self.at.best_score)
            self.observers.save(self.at.step)
            step, write = self.at.step, self._writer(weights, moments)

            def fill(folder: Path) -> None:
                self._check_finite(step, weights)
                write(folder)
                write_json(folder / STATE, state)

            self.saver.start(step, name, fill, self.at.best)
        self.saved_step, self.saved_at = self.at.step, time.monotonic()

    def _wait_for_save(self) -> None:
        """Return on all ranks when the checkpoint under way is whole; a launcher ends all ranks once one has left."""
        self.saver.wait()
        self.process.wait_for_all()

    def _check_finite(self, step: int, weights: Tensors) -> None:
        """Raises UserError if one of these weights of a step isn't finite: it must not replace a good one."""
        if name := nonfinite(weights):
            raise UserError(
                f"{self.name}, step {step}: {name} contains numbers that aren't finite, so this step is not "
                "saved; the last checkpoint is kept: start again with --overwrite and a lower --learning_rate"
            )
