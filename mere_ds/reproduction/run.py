"""Shows the plan with its cost, runs what is missing, and writes the report."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mere_ds import flags
from mere_ds.config import TrainConfig
from mere_ds.corpus.languages import choose_languages
from mere_ds.errors import MachineError, UserError
from mere_ds.ranks.stop import LEFT_EARLY
from mere_ds.reproduction import launching, mtmb
from mere_ds.reproduction.place import Workspace, command_line, missing
from mere_ds.reproduction.plan import EVERYTHING, Job, Plan, Setting, make_plan
from mere_ds.reproduction.reporting import write_report
from mere_ds.reproduction.showing import as_list, as_text
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.remote import absolute
from mere_ds.train import train

CHOSEN_HERE = ("system", "stage", "languages", "stage_one_run", "start", "seed", "overwrite", "dry_run")
"""Knobs that `--train` can't have."""
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Options:
    """The command line's options, except the table or figure."""

    shards: str
    out: str
    seeds: int
    languages: str
    train: str
    mtmb: str | None
    launcher: str | None
    deepspeed_config: str | None


def steps(
    chosen: Mapping[str, str | None], options: Options, dry_run: bool, only_list: bool, only: int | None
) -> Iterator[str]:
    """Run what is missing for the chosen table, figure or sweep; yields the texts to print.

    Raises like `prepare` and `Reproduction.run`, and UserError unless exactly one of the three is chosen.
    """
    targets = [f"{kind} {value}" for kind, value in chosen.items() if value is not None]
    if len(targets) != 1:
        raise UserError("exactly one of --table, --figure and --sweep is required: see mere-ds reproduce --help")
    ours = prepare(EVERYTHING if targets == ["table all"] else targets[0], options)
    if only_list:
        yield as_list(ours.plan, missing(ours.plan, ours.place))
    else:
        if only is None:
            yield as_text(ours.target, ours.plan, missing(ours.plan, ours.place), ours.place, ours.ranks)
        if not dry_run:
            ours.run(only)
            if only is None:
                yield write_report(ours.target, ours.plan, ours.place)


@dataclass(frozen=True)
class Reproduction:
    """A plan, its folder and how its runs are started; created by `prepare`."""

    target: str
    plan: Plan
    place: Workspace
    launcher: str | None
    ranks: int | None
    """None if only the launcher knows."""

    def run(self, only: int | None = None) -> None:
        """Run what is missing, or just job number `only`.

        Exits with code 85 (SystemExit) after a signal. Raises UserError or MachineError for a job that failed, after
        printing its last lines; the same command resumes it.
        """
        todo = missing(self.plan, self.place)
        if only is not None:
            todo = self._just(only, todo)
        with launching.programs() as programs, tqdm(todo, unit="job", disable=None) as bar:
            for job in bar:
                bar.set_description(job.name)
                number = 1 + self.plan.jobs.index(job)
                bar.write(f"job {number} of {len(self.plan.jobs)}: {job.name}, see {self.place.log(job)}")
                self._run_job(job, programs)
        if only is None:
            shutil.rmtree(self.place.features, ignore_errors=True)

    def _just(self, only: int, todo: list[Job]) -> list[Job]:
        if not 0 < only <= len(self.plan.jobs):
            raise UserError(f"--only={only}: must be between 1 and {len(self.plan.jobs)}, see --list")
        job = self.plan.jobs[only - 1]
        if job.name in self.plan.left_out:
            raise UserError(f"--only={only}: {job.name} is left out: {self.plan.left_out[job.name]}")
        before = next((j for j in self.plan.jobs if j.name == job.needs), None)
        if before and not self.place.is_trained(before):
            raise UserError(
                f"--only={only}: {job.name} needs {before.name}, which is not trained yet: run that job first"
            )
        return [j for j in todo if j is job]

    def _run_job(self, job: Job, programs: launching.Programs) -> None:
        log, run = self.place.log(job), self.place.run(job.name)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out={self.place.out}: {error.strerror}") from None
        if not self.place.is_trained(job):
            launcher = launching.training_command(self.launcher, self.ranks)
            self._run_program(job, programs, [*launcher, *command_line(self.place.given(job))], log)
        for ks in self.place.open_evaluations(job):
            self._run_program(job, programs, launching.evaluation_command(run.root, ks), log)

    def _run_program(self, job: Job, programs: launching.Programs, command: list[str], log: Path) -> None:
        code, last = (LEFT_EARLY, []) if programs.stop_requested else programs.run(command, log)
        if programs.stop_requested or code == LEFT_EARLY:
            sys.stderr.write(f"{job.name} was asked to stop: run the same command again to resume it\n")
            sys.exit(LEFT_EARLY)
        if code:
            sys.stderr.write("".join(f"  {line}\n" for line in last))
            kind = UserError if code == 2 else MachineError
            raise kind(
                f"{job.name} failed with exit code {code} (output: {log}): run the same command again to resume it"
            )


def prepare(target: str, options: Options) -> Reproduction:
    """The plan of a target (see `plan.TARGETS`), after all checks that are possible in advance. Raises UserError."""
    if not 1 <= options.seeds <= MOST_SEEDS:
        raise UserError(f"--seeds={options.seeds}: must be between 1 and {MOST_SEEDS}")
    ranks, _ = launching.ranks_here()
    common = _common_knobs(options)
    config = TrainConfig(**common, run="-")
    manifest = Manifest.load(config.shards, config.shard_cache, config.shard_cache_gib)
    chosen, _ = choose_languages(options.languages, manifest.languages)
    trained = manifest.splits["train"].by_language
    setting = Setting(
        languages=tuple(language for language in chosen if trained.get(language)),
        choice=options.languages,
        batch_size=config.batch_size,
        submodule_layers=config.submodule_layers,
        top_k=config.top_k,
        mtmb=options.mtmb,
        triples=manifest.triples,
    )
    plan = make_plan(target, setting, options.seeds)
    place = Workspace(Path(options.out), manifest, common)
    for job in plan.jobs:
        place.config(job)
    _leave_out_mtmb(plan, place, options.mtmb)
    return Reproduction(target, plan, place, options.launcher, ranks if options.launcher is None else None)


def _common_knobs(options: Options) -> dict[str, Any]:
    """The settings of every training; `--train` is parsed as train.py would parse it."""
    ours = {"shards": absolute(options.shards)}
    if options.deepspeed_config:
        ours["deepspeed_config"] = options.deepspeed_config
    try:
        typed = flags.parse(train, [*command_line(ours | {"run": "-"}), *shlex.split(options.train)], "train.py")
    except ValueError as error:  # includes UserError, and shlex's error for an unclosed quote
        raise UserError(f"--train: {error}") from None
    if taken := [name for name in CHOSEN_HERE if name in typed]:
        raise UserError(f"--train: --{taken[0]} is set by the plan: remove it from --train")
    del typed["run"]
    return {"keep": 1} | typed


def _leave_out_mtmb(plan: Plan, place: Workspace, weights: str | None) -> None:
    """Mark MTMB's jobs as left out if its weights can't be used; jobs keep their numbers, the same on all machines."""
    jobs = [job for job in plan.jobs if job.knobs["system"] == "MTMB" and not place.is_done(job)]
    if weights and jobs and (reason := mtmb.why_not(weights, place.manifest.encoder)):
        plan.left_out |= {job.name: reason for job in jobs}
