"""Prints a plan with its cost for users, and as a list for job scripts."""

import shutil
from collections.abc import Sequence

from mere_ds.reproduction.cost import costs, speeds
from mere_ds.reproduction.place import Workspace
from mere_ds.reproduction.plan import Job, Plan
from mere_ds.training.cost import StageCost, hours, shown_time

_GIB = 2**30
_HEAD = ("", "job", "stages", "sentences", "updates", "with gradient", "without", "GiB", "state")
_LEFT_BOUND = ("job", "state")
_LEGEND = (
    "sentences: training sentences over all epochs; with gradient, without: sentences through an encoder; "
    "GiB: kept checkpoints. All are upper bounds, as stage two may stop early."
)


def as_list(plan: Plan, missing: Sequence[Job]) -> str:
    """A line per job: its number, its state (missing, done, left-out), the number of the job that it needs (or 0), and
    its name."""
    number = {job.name: i for i, job in enumerate(plan.jobs, 1)}
    return "\n".join(
        f"{number[job.name]} {_state(job, plan, missing)} {number.get(job.needs or '', 0)} {job.name}"
        for job in plan.jobs
    )


def as_text(target: str, plan: Plan, missing: Sequence[Job], place: Workspace, ranks: int | None) -> str:
    """The plan as a table with costs, what is left out and why, and the total of what is still to do."""
    of_jobs = costs(plan.jobs, place, ranks)
    rows: list[tuple[str, ...]] = [_HEAD]
    for number, job in enumerate(plan.jobs, 1):
        stages = "+".join(map(str, job.stages))
        rows.append((str(number), job.name, stages, *_cells(of_jobs[job.name]), _state(job, plan, missing)))
    return "\n".join(
        [
            f"{target}: {len(plan.jobs)} jobs, {len(missing)} of them to do, in {place.out / 'runs'}",
            *_aligned(rows),
            _LEGEND,
            *(f"left out: {row}: {why}" for row, why in plan.left_out.items()),
            *(_to_do(missing, plan, of_jobs, place) if missing else ["Nothing is missing."]),
        ]
    )


def _state(job: Job, plan: Plan, missing: Sequence[Job]) -> str:
    if job.name in plan.left_out:
        return "left-out"
    return "missing" if job in missing else "done"


def _cells(stages: Sequence[StageCost]) -> tuple[str, ...]:
    updates = [stage.updates for stage in stages if stage.updates is not None]
    return (
        f"{sum(stage.sentences for stage in stages):,}",
        f"{sum(updates):,}" if len(updates) == len(stages) else "?",
        f"{sum(stage.passes_with_gradient for stage in stages):,}",
        f"{sum(stage.passes for stage in stages):,}",
        f"{sum(stage.disk for stage in stages) / _GIB:.2f}",
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<" if head in _LEFT_BOUND else ">" for head in rows[0]]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]


def _to_do(missing: Sequence[Job], plan: Plan, of_jobs: dict[str, list[StageCost]], place: Workspace) -> list[str]:
    stages = [stage for job in missing for stage in of_jobs[job.name]]
    sentences, updates, with_gradient, without, disk = _cells(stages)
    there = next(path for path in (place.out.absolute(), *place.out.absolute().parents) if path.exists())
    scorings = sum(1 + len(job.ks) for job in missing)
    time = hours(stages, speeds(plan.jobs, place))
    return [
        f"to do: {len(stages)} trainings of {sentences} sentences in {updates} updates; {with_gradient} encoder passes "
        f"with gradient, {without} without; {scorings} scorings of the test split "
        f"({place.manifest.splits['test'].sentences:,} sentences); {disk} GiB of checkpoints, "
        f"{shutil.disk_usage(there).free / _GIB:.1f} GiB are free",
        "time: unknown until runs here have recorded the training speed of an encoder and of a switcher"
        if time is None
        else f"time: about {shown_time(time)} of training at the speed of the runs so far, without scoring",
    ]
