"""A plan's cost, printed before it starts: updates, encoder passes, disk space, and hours if the speed is known.

All counts are upper bounds, as stage two may stop early.
"""

import statistics
from collections.abc import Iterable

from mere_ds.corpus.languages import choose_languages
from mere_ds.reproduction.place import Workspace
from mere_ds.reproduction.plan import Job
from mere_ds.training.cost import StageCost, kind_of, recorded_speeds, stage_cost


def costs(jobs: Iterable[Job], place: Workspace, ranks: int | None) -> dict[str, list[StageCost]]:
    """Job -> the cost of each of its stages."""
    found: dict[str, list[StageCost]] = {}
    kept: set[str] = set()
    for job in jobs:
        config = place.config(job)
        languages, _ = choose_languages(config.languages, place.manifest.languages)
        manifest = place.manifest.only(languages)
        features = config.keep_features and job.needs in kept  # the first stage two makes them for the others
        found[job.name] = [stage_cost(config, stage, manifest, ranks, features) for stage in job.stages]
        kept |= {job.needs} if job.needs else set()
    return found


def speeds(jobs: Iterable[Job], place: Workspace) -> dict[str, float]:
    """Sentences per second by `StageCost.speed`: the medians of the existing runs' records."""
    seen: dict[str, list[float]] = {}
    for job in jobs:
        config = place.config(job)
        for stage, values in recorded_speeds(place.run(job.name).metrics).items():
            seen.setdefault(kind_of(config, stage), []).extend(values)
    return {kind: statistics.median(values) for kind, values in seen.items()}
