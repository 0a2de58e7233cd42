"""The command `mere-ds reproduce`."""

from typing import Literal

from mere_ds.config import PUBLISHED_MTMB


def reproduce(
    *,
    shards: str,
    out: str,
    table: Literal["2", "3", "all"] | None = None,
    figure: Literal["3", "4", "5", "6", "7", "8"] | None = None,
    sweep: Literal["k", "T"] | None = None,
    seeds: int = 1,
    languages: str = "all",
    train: str = "",
    mtmb: str | None = PUBLISHED_MTMB,
    launcher: str | None = None,
    deepspeed_config: str | None = None,
    dry_run: bool = False,
    list: bool = False,
    only: int | None = None,
) -> None:
    """Train and score everything that a table, a figure or a sweep needs, and make its report.

    Prints the plan and its cost, then runs what is missing: runs in OUT/runs, the report in OUT/report, the table also
    in OUT/table2.txt or the like. The same command resumes where it stopped. On INT, TERM or USR1 the running training
    saves and the command exits with code 85.

    Examples:
        mere-ds reproduce --table=2 --shards=shards --out=paper --seeds=3 --dry_run
        mere-ds reproduce --figure=6 --shards=shards --out=paper --train="--epochs=2 --new_parts_rate=10"

    Args:
        shards: Folder made by mere-ds shard, or its address.
        out: Folder for runs and report; tables and figures with the same folder share trainings.
        table: 2 (systems), 3 (layers of the sub-modules), or all: every table, figure and sweep.
        figure: 3, 4, 5 (relation, labels, entities), 6 (s), 7 (mERE14) or 8 (router).
        sweep: k (sub-modules used in prediction, without training) or T (number of sub-modules).
        seeds: Trainings of each job, with the seeds 0, 1, ...
        languages: all, EURO, SVO or a list; rows of a group use its languages among these.
        train: Flags of mere_ds/train.py for all trainings.
        mtmb: Folder or hub model with MTMB's weights; none omits its row.
        launcher: Command that starts mere_ds/train.py (None: deepspeed on all GPUs, or with 2 ranks on a CPU).
        deepspeed_config: DeepSpeed's JSON, a file or the name of one in ds_configs/ (None: one for the device).
        dry_run: Only print the plan and its cost.
        list: Only list the jobs for a script: number, state, number of the job that it needs, name.
        only: Number of the one job to run, without a report.
    """
    from mere_ds.reproduction.run import Options, steps

    chosen = {"table": table, "figure": figure, "sweep": sweep}
    options = Options(shards, out, seeds, languages, train, mtmb, launcher, deepspeed_config)
    for text in steps(chosen, options, dry_run, list, only):
        print(text, flush=True)
