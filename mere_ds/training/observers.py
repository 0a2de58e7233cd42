"""Observers of a training: a progress bar, `metrics.jsonl`, TensorBoard, and users' own."""

import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm

from mere_ds.files import json_line

BEST = "best/dev"
"""TensorBoard tag of the score by which a stage's best epoch was chosen."""


@dataclass(frozen=True)
class Beginning:
    """A training that starts or resumes."""

    name: str
    """"stage 1", "stage 2" or "pretraining"."""
    step: int
    """Updates made before; greater than 0 if an interrupted training resumes."""
    total_steps: int
    """Updates in total; training may stop earlier."""
    knobs: dict
    """The settings by knob."""


@dataclass(frozen=True)
class Record:
    """The numbers reported at one step."""

    kind: str
    """train (means since the last record), dev (scores), router (shares by language) or nonfinite (a skipped update).
    """
    step: int
    epoch: int
    values: dict
    """Nested JSON; numbers that aren't finite are None."""


class Observer:
    """Follows a training; override what you need. Called on rank 0 only, in the main thread.

    Pass your own to `mere_ds.train.run`; it is called for both stages, one after the other:

        class Alarm(Observer):
            def on_record(self, record):
                if record.kind == "nonfinite":
                    send_mail(f"step {record.step} was skipped")

    An exception ends the training. When it resumes from its last checkpoint, the steps after it are reported again.
    """

    def on_begin(self, beginning: Beginning) -> None:
        """Before the first update."""

    def on_step(self, step: int) -> None:
        """After update `step`."""

    def on_record(self, record: Record) -> None:
        """After every --log_every updates, after each scoring, and after each skipped update."""

    def on_save(self, step: int) -> None:
        """Before a checkpoint is written: flush everything here, since it is not reported again after a resume."""

    def on_checkpoint(self, step: int, folder: Path) -> None:
        """When the checkpoint of `step` is complete in `folder`: some steps later, but before the next `on_save`."""

    def on_end(self, step: int, best: float | None) -> None:
        """When training is finished, before the last checkpoint; `best` is the best dev score, None without scoring."""

    def on_close(self) -> None:
        """At the end, whether training finished, stopped or failed; not if `on_begin` failed."""


class Observers:
    """All observers of one training, as a context manager that closes them at the end."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        """Ranks other than 0 pass no observers."""
        self._all = list(observers)
        self._stack = ExitStack()

    def __enter__(self) -> "Observers":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def begin(self, beginning: Beginning) -> None:
        for observer in self._all:
            observer.on_begin(beginning)
            self._stack.callback(observer.on_close)

    def step_done(self, step: int) -> None:
        for observer in self._all:
            observer.on_step(step)

    def record(self, kind: str, step: int, epoch: int, values: dict) -> None:
        record = Record(kind, step, epoch, _finite(values))
        for observer in self._all:
            observer.on_record(record)

    def save(self, step: int) -> None:
        for observer in self._all:
            observer.on_save(step)

    def saved(self, step: int, folder: Path) -> None:
        for observer in self._all:
            observer.on_checkpoint(step, folder)

    def end(self, step: int, best: float | None) -> None:
        for observer in self._all:
            observer.on_end(step, best)


class Bar(Observer):
    """A progress bar on stderr, which shows these values of the last record, some under a name of their own."""

    def __init__(self, *shown: str, **renamed: str) -> None:
        self._shown = {name: name for name in shown} | renamed

    def on_begin(self, beginning: Beginning) -> None:
        seconds = 1 if sys.stderr.isatty() else 30  # in a log file every refresh adds a line
        self._bar = tqdm(
            initial=beginning.step, total=beginning.total_steps, desc=beginning.name, unit="step", mininterval=seconds
        )

    def on_step(self, step: int) -> None:
        self._bar.update()

    def on_record(self, record: Record) -> None:
        found = {shown: record.values.get(name) for shown, name in self._shown.items()}
        values = {shown: value for shown, value in found.items() if value is not None}
        if values:
            self._bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()}, refresh=False)

    def on_close(self) -> None:
        self._bar.close()


class MetricsFile(Observer):
    """Appends each record to a file, one JSON object per line."""

    def __init__(self, path: Path, stage: int) -> None:
        self._path, self._stage = path, stage

    def on_begin(self, beginning: Beginning) -> None:
        self._file = self._path.open("ab")

    def on_record(self, record: Record) -> None:
        place = {"stage": self._stage, "kind": record.kind, "step": record.step, "epoch": record.epoch}
        row = place | {"time": round(time.time(), 3)} | record.values
        self._file.write(json_line(row))
        self._file.flush()

    def on_close(self) -> None:
        self._file.close()


class TensorBoard(Observer):
    """Writes each number as a scalar with tag `kind/name` or `kind/language/name`; knobs and best score as hparams."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_begin(self, beginning: Beginning) -> None:
        self._knobs = beginning.knobs
        self._board = SummaryWriter(str(self._folder), purge_step=beginning.step + 1)

    def on_record(self, record: Record) -> None:
        for tag, value in flat(record.kind, record.values):
            self._board.add_scalar(tag, value, record.step)

    def on_save(self, step: int) -> None:
        self._board.flush()

    def on_end(self, step: int, best: float | None) -> None:
        if best is None:
            return
        known = {n: value if isinstance(value, bool | int | float) else str(value) for n, value in self._knobs.items()}
        assert self._board.file_writer is not None, "made with the board"
        for summary in hparams(known, {BEST: None}):
            self._board.file_writer.add_summary(summary)
        self._board.add_scalar(BEST, best, step)

    def on_close(self) -> None:
        self._board.close()


def _finite(value: Any) -> Any:
    """The values with None for numbers that aren't finite, which neither JSON nor TensorBoard can represent."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flat(prefix: str, values: dict) -> Iterator[tuple[str, float]]:
    """(tag, number) of each number in a record's values; tags are `kind/name` or `kind/language/name`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(f"{prefix}/{name}", value)
        elif isinstance(value, int | float):
            yield f"{prefix}/{name}", value
