"""Observers that report a training to W&B and MLflow (`--report_to`), each stage as a run of its own there.

`RUN/tracking.json` remembers these runs, so that a resumed stage goes on with its own.
"""

import importlib.util
import logging
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mere_ds.errors import UserError, first_line
from mere_ds.files import read_json, write_json
from mere_ds.optional_libraries import needed, not_installed
from mere_ds.training.observers import BEST, Beginning, Observer, Record, flat

log = logging.getLogger("mere_ds")

PROJECT = "mere-ds"
"""W&B's project and MLflow's experiment, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME say otherwise."""
_AT_ONCE = 500  # MLflow takes at most 1,000 metrics in a request


class Tracker(Observer):
    """What W&B and MLflow have in common.

    If the library can't begin, training doesn't begin either (UserError); if it fails later, a warning says so and
    nothing more is reported there, since the run folder has all records.
    """

    library: str
    advice: str
    """What to do where it can't begin."""

    def __init__(self, run: Path, stage: int) -> None:
        self._name, self._place = f"{run.absolute().name}, stage {stage}", f"stage{stage}"
        self._folder, self._ids = run, run / "tracking.json"
        self._lost = self._ended = False

    def on_begin(self, beginning: Beginning) -> None:
        kept: dict = {}
        if self._ids.exists():
            kept = read_json(self._ids, "remove it, and runs at W&B and MLflow begin anew")
        own = kept.get(self._place, {}) if beginning.step else {}
        with needed(f"--report_to={self.library} needs"):
            try:
                number = self._open(beginning, own.get(self.library))
            except ModuleNotFoundError:
                raise
            except Exception as error:  # of any type: no account, no server, no such run
                raise UserError(
                    f"--report_to={self.library}: {first_line(error)}: {self.advice}"
                    + (f"; or remove {self._ids}, if the run is gone there" if own else "")
                ) from error
        others = {name: its for name, its in kept.get(self._place, {}).items() if beginning.step}
        write_json(self._ids, kept | {self._place: others | {self.library: number}})

    def on_record(self, record: Record) -> None:
        self._tell(lambda: self._log(dict(flat(record.kind, record.values)), record))

    def on_end(self, step: int, best: float | None) -> None:
        self._ended = True
        if best is not None:
            self._tell(lambda: self._log_best(step, best))

    def on_close(self) -> None:
        self._tell(self._close)

    def _tell(self, act: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            act()
        except Exception as error:  # of any type, mostly the network
            self._lost = True
            log.warning(
                "--report_to=%s: %s: nothing more is reported there; metrics.jsonl has all records",
                self.library,
                first_line(error),
            )

    @abstractmethod
    def _open(self, beginning: Beginning, known: str | None) -> str:
        """Begin a run, or go on with the one that is `known`; returns its id."""

    @abstractmethod
    def _log(self, values: dict[str, float], record: Record) -> None: ...

    @abstractmethod
    def _log_best(self, step: int, best: float) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class Wandb(Tracker):
    """W&B, with its own settings from the environment, such as WANDB_MODE=offline and WANDB_PROJECT."""

    library = "wandb"
    advice = "run wandb login, or set WANDB_MODE=offline in the environment"

    def _open(self, beginning: Beginning, known: str | None) -> str:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=self._folder.absolute().name,
            name=self._name,
            dir=self._folder,
            id=known,
            resume="allow" if known else None,
            config=beginning.knobs,
            settings=wandb.Settings(silent=True, console="off"),
        )
        # steps of its own only grow, and those after a checkpoint come again when a training resumes
        self._run.define_metric("*", step_metric="step")
        return self._run.id

    def _log(self, values: dict[str, float], record: Record) -> None:
        self._run.log({**values, "step": record.step, "epoch": record.epoch})

    def _log_best(self, step: int, best: float) -> None:
        self._run.summary[BEST] = best

    def _close(self) -> None:
        self._run.finish(exit_code=0 if self._ended else 1)


class MLflow(Tracker):
    """MLflow, at MLFLOW_TRACKING_URI in the experiment MLFLOW_EXPERIMENT_NAME."""

    library = "mlflow"
    advice = "set MLFLOW_TRACKING_URI in the environment to a server that runs"

    def _open(self, beginning: Beginning, known: str | None) -> str:
        # by default it would hold up all ranks for minutes where a server doesn't answer
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        if known:
            self._client.update_run(known, status="RUNNING")
            self._id = known
            return known
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._id = self._client.create_run(experiment, run_name=self._name).info.run_id
        self._client.log_batch(self._id, params=[Param(k, str(value)) for k, value in beginning.knobs.items()])
        return self._id

    def _log(self, values: dict[str, float], record: Record) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        left = iter(values.items())
        while batch := [Metric(name, float(value), now, record.step) for name, value in islice(left, _AT_ONCE)]:
            self._client.log_batch(self._id, metrics=batch)

    def _log_best(self, step: int, best: float) -> None:
        self._client.log_metric(self._id, BEST, best, step=step)

    def _close(self) -> None:
        self._client.set_terminated(self._id, "FINISHED" if self._ended else "KILLED")


_BY_NAME: dict[str, type[Any]] = {kind.library: kind for kind in (Wandb, MLflow)}


def trackers(names: Sequence[str], run: Path, stage: int) -> list[Observer]:
    """The observers that `--report_to` names."""
    return [_BY_NAME[name](run, stage) for name in names]


def check_installed(names: Sequence[str]) -> None:
    """Raises UserError, before any work, if a library that `--report_to` names is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise not_installed(name, f"--report_to={name} needs")
