"""The folders of a plan's runs, the settings of train.py for each, and which of them are done."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mere_ds.config import TrainConfig, knobs_of_stage
from mere_ds.errors import UserError
from mere_ds.evaluation.provenance import read_evaluation
from mere_ds.knobs import deepspeed_keys
from mere_ds.reproduction.plan import Job, Plan
from mere_ds.runs.checkpoint import state_of
from mere_ds.runs.resume import DATA, STAGE_ONE, check_same
from mere_ds.runs.run_folder import RunFolder
from mere_ds.shards.manifest import Manifest
from mere_ds.sums import STATE, recorded_digest

OVERRIDES = ("batch_size", "encoder_weights")
"""Knobs of `--train` that a job may override."""


@dataclass(frozen=True)
class Workspace:
    """What all jobs of a plan share."""

    out: Path
    manifest: Manifest
    """Of all the shards' languages."""
    common: dict[str, Any]
    """Knobs of every training: shards, deepspeed_config and those passed in `--train`."""

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.out / "runs" / name)

    @property
    def features(self) -> Path:
        """Stage two's features, shared by all jobs with the same stage one; removed when all jobs are done."""
        return self.out / "features"

    def log(self, job: Job) -> Path:
        """The output of the job's programs."""
        return self.out / "runs" / f"{job.name}.log"

    def given(self, job: Job) -> dict[str, Any]:
        """The knobs to pass to train.py. Raises UserError if both the job and `--train` set one."""
        ours = job.knobs | {"run": str(self.run(job.name).root)}
        if job.needs:
            ours["stage_one_run"] = str(self.run(job.needs).root)
            if "feature_cache" not in self.common:
                ours |= {"feature_cache": str(self.features), "keep_features": True}
        if twice := [name for name in ours if name in self.common and name not in OVERRIDES]:
            raise UserError(f"--train has --{twice[0]}, which {job.name} sets itself: remove it from --train")
        return self.common | ours

    def config(self, job: Job) -> TrainConfig:
        """The same with all defaults. Raises UserError for knobs that don't fit together."""
        return TrainConfig(**self.given(job))

    def is_trained(self, job: Job) -> bool:
        """Whether every stage is finished. Raises UserError if it was trained with different settings."""
        return all([self._is_trained(job, stage) for stage in job.stages])

    def _is_trained(self, job: Job, stage: int) -> bool:
        run, given, config = self.run(job.name), self.given(job), self.config(job)
        latest = run.model(stage, "latest")
        if not (latest / STATE).is_file():
            return False
        state = state_of(latest)
        knobs = knobs_of_stage(config, stage)
        of_deepspeed = set(deepspeed_keys(TrainConfig).values()) - given.keys()  # its JSON may say them
        now = {f"--{name}": value for name, value in knobs.items() if name not in of_deepspeed}
        now[DATA] = self.manifest.sha256
        best = job.needs and self.run(job.needs).model(1, "best")
        if best and (best / STATE).is_file():
            now[STAGE_ONE] = recorded_digest(best, "model.safetensors")
        then = {name: value for name, value in state["ingredients"].items() if name in now}
        check_same(
            then,
            now,
            stage,
            str(run.root),
            "use the same settings as before, choose another --out, or remove that folder",
        )
        return state["finished"]

    def open_evaluations(self, job: Job) -> list[tuple[int, ...]]:
        """The missing evaluations of a trained job's model: () for the one as trained, else the k to run together."""

        def is_done(k: int | None) -> bool:
            try:
                return read_evaluation(self.run(job.name), "test", k).is_usual
            except UserError:  # there is none, or not of this model
                return False

        ks = tuple(k for k in job.ks if not is_done(k))
        return [()] * (not is_done(None)) + [ks] * bool(ks)

    def is_done(self, job: Job) -> bool:
        return self.is_trained(job) and not self.open_evaluations(job)


def command_line(knobs: Mapping[str, object]) -> list[str]:
    """Flags that pass these values to train.py."""
    return [f"--{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in knobs.items()]


def missing(plan: Plan, place: Workspace) -> list[Job]:
    """The jobs that aren't done yet, in order, without those that are left out."""
    return [job for job in plan.jobs if job.name not in plan.left_out and not place.is_done(job)]
