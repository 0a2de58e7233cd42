"""The training loop for pretraining, in one process: its batches, update and records."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from mere_ds.encoders.weights import WEIGHTS
from mere_ds.files import share
from mere_ds.pretraining.batches import BlankBatch, Collator
from mere_ds.pretraining.folder import PretrainFolder
from mere_ds.pretraining.learner import BlanksLearner
from mere_ds.pretraining.pairing import Pairing
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.runs.checkpoint import state_of
from mere_ds.sums import OPTIMIZER
from mere_ds.training.learner import Tensors
from mere_ds.training.loop import Loop, Pace, Progress
from mere_ds.training.nonfinite import NonfiniteGuard
from mere_ds.training.observers import Bar, Observer, Observers, TensorBoard
from mere_ds.training.optimization import rate_factor
from mere_ds.training.process import Process

NAME = "pretraining"
SHOWN = ("masked_words", "matching", "accuracy")
"""Values whose means are recorded; the last two only exist for batches with pairs."""


class BlanksTrainer(Loop[BlankBatch]):
    """Trains from the folder's newest checkpoint; `ingredients` determine the result. See `Loop.run`."""

    def __init__(
        self,
        process: Process,
        settings: PretrainSettings,
        folder: PretrainFolder,
        pairing: Pairing,
        collator: Collator,
        learner: BlanksLearner,
        ingredients: dict,
        observers: Iterable[Observer] = (),
    ) -> None:
        self.settings, self.pairing, self.collator, self.blanks = settings, pairing, collator, learner
        epoch_steps = len(pairing.epoch(settings.batch_size, settings.seed, 0))
        total_steps = settings.steps or settings.epochs * epoch_steps
        self.factor = rate_factor(settings.warmup, "linear", total_steps)
        self.rate = 0.0  # of the last update
        progress = Progress()
        self.values: dict[str, list[torch.Tensor]] = {name: [] for name in SHOWN}
        """The values since the last record; they stay on the device until the next one."""
        self.means: dict[str, float] = {}
        """The newest mean of each value."""
        if checkpoint := folder.checkpoints.newest_whole():
            state = state_of(checkpoint)
            progress.step, progress.epoch, progress.skipped = state["step"], state["epoch"], state["skipped"]
            learner.restore(checkpoint, state["counters"])
            self.means = state["means"]
            for name, values in state["values"].items():
                self.values[name] = [torch.tensor(value, device=learner.device) for value in values]
        listening = Observers([TensorBoard(folder.tensorboard), Bar(*SHOWN), *observers])
        guard = NonfiniteGuard(
            process,
            learner,
            listening,
            NAME,
            rows="usable sentences",
            limit=1,
            advice="Start again with --overwrite and a lower --learning_rate",
        )
        pace = Pace(epoch_steps, total_steps, settings.log_every, settings.save_steps)
        facts = {"ingredients": ingredients, "cached_features": False, "start": folder.record_start(progress.step)}
        super().__init__(process, NAME, learner, progress, pace, folder.checkpoints, guard, listening, facts)

    @property
    def result(self) -> dict:
        """The number of steps and the newest means."""
        return {"steps": self.at.step, **self.means}

    @contextmanager
    def _batches(self) -> Iterator[Iterator[list[BlankBatch]]]:
        epoch = self.pairing.epoch(self.settings.batch_size, self.settings.seed, self.at.epoch)
        left = epoch[self.at.step - self.at.epoch * self.pace.epoch_steps :]
        yield ([self.collator(rows, step)] for step, rows in enumerate(left, start=self.at.step))

    def _update(self, micro_batches: list[BlankBatch]) -> list[torch.Tensor]:
        (batch,) = micro_batches
        entropy = [self.settings.seed, self.at.step]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))  # dropout
        factor = self.factor(self.at.step)
        self.rate = factor * self.settings.learning_rate
        values = self.blanks.update(batch.to(self.blanks.device), factor)
        if self.blanks.updated:
            for name in values.keys() & self.values.keys():
                self.values[name].append(values[name])
        return [values["loss"]]

    def _record(self) -> None:
        means = {name: round(float(torch.stack(x).mean()), 4) for name, x in self.values.items() if x}
        if not means:
            return
        self.observers.record("pretrain", self.at.step, self.at.epoch, {**means, "learning_rate": self.rate})
        self.means |= means
        for values in self.values.values():
            values.clear()

    def _end_epoch(self) -> None:
        """No scoring here; the finished encoder is saved by `PretrainFolder.finish`."""
        self.at.epoch += 1
        self._finish_if(self.at.step >= self.pace.total_steps)
        if self.at.finished:
            self._check_finite(self.at.step, self.blanks.model.state_dict())
            self.observers.end(self.at.step, None)

    def _state(self) -> dict:
        return {"values": {name: torch.tensor(x).tolist() for name, x in self.values.items()}, "means": self.means}

    def _writer(self, weights: Tensors, moments: Tensors) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            for name, tensors in ((WEIGHTS, weights), (OPTIMIZER, moments)):
                save_file(tensors, folder / name)
                share(folder / name)

        return write
