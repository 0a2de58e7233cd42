"""A plan's cost, printed before it starts: updates, encoder passes, disk space, and hours if the speed is known.

All counts are upper bounds, as stage two may stop early.
"""

import contextlib
import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from transformers import AutoConfig

from mere_ds.config import TrainConfig
from mere_ds.corpus.languages import choose_languages
from mere_ds.reproduction.place import Workspace
from mere_ds.reproduction.plan import Job
from mere_ds.shards.manifest import Manifest

_BYTES = 4  # of a weight in a checkpoint; Adam's two moments are as large


@dataclass(frozen=True)
class StageCost:
    """One stage of one job."""

    speed: str
    """Stages with the same value here train at roughly the same speed."""
    sentences: int
    """Number of training sentences over all epochs."""
    updates: int | None
    """None if the number of ranks is unknown."""
    passes: int
    """Sentences through an encoder without gradient: for dev scores, and for features that stage two computes once."""
    disk: int
    """Size of the kept checkpoints in bytes."""

    @property
    def passes_with_gradient(self) -> int:
        return 0 if self.speed == "switcher" else self.sentences


def stage_cost(
    config: TrainConfig, stage: int, manifest: Manifest, ranks: int | None, features: bool = False
) -> StageCost:
    """The cost of a stage; `manifest` is of the job's languages, `features`: whether another job has made them."""
    train, dev = (manifest.splits[split].sentences for split in ("train", "dev"))
    tunes = config.tunes_switcher(stage)
    epochs = config.epochs_stage_two if tunes else config.epochs
    sentences, updates = epochs * train, None
    if ranks:
        batch = config.batch_size * config.accumulation * ranks
        updates = min(epochs * -(-train // batch), config.max_steps or epochs * train)
        sentences = min(sentences, updates * batch)
        epochs = -(-sentences // train)
    again = tunes and (config.word_dropout > 0 or config.concatenate_stage_two > 1 or config.feature_cache_gib == 0)
    passes = dev * epochs
    if tunes:
        passes = sentences + passes if again else 0 if features else train + dev
    return StageCost(_kind(config, stage), sentences, updates, passes, _disk(config, stage, manifest))


def _kind(config: TrainConfig, stage: int) -> str:
    return "switcher" if config.tunes_switcher(stage) else "encoder"


def _disk(config: TrainConfig, stage: int, manifest: Manifest) -> int:
    """Bytes of weights and Adam's moments of encoder and sub-modules in the newest checkpoints and the best one; the
    rest is negligible."""
    encoder = _parameters(manifest)
    trained, whole = encoder, encoder
    if config.tunes_switcher(stage):
        layers = config.submodule_layers
        if config.system == "mERE14":
            layers = (max(layers),) * len(manifest.languages)
        trained = sum(layers) * 2 * manifest.encoder.hidden_size * config.bottleneck
        whole = encoder + trained
    elif stage == 2:
        whole = 2 * encoder
    return (config.keep + 1) * _BYTES * (whole + 2 * trained)


def _parameters(manifest: Manifest) -> int:
    """The encoder's number of parameters, from its configuration, as its weights may not be here."""
    config = AutoConfig.from_pretrained(manifest.encoder_folder, local_files_only=True)
    width = config.hidden_size
    layer = 4 * width + 2 * getattr(config, "intermediate_size", 4 * width)
    positions = getattr(config, "max_position_embeddings", 0)
    return width * (config.vocab_size + positions + config.num_hidden_layers * layer + width)


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
        metrics, config = place.run(job.name).metrics, place.config(job)
        for line in metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else ():
            with contextlib.suppress(ValueError):  # a kill may have cut the last line
                record = json.loads(line)
                if record["kind"] == "train":
                    seen.setdefault(_kind(config, record["stage"]), []).append(record["sentences_per_second"])
    return {kind: statistics.median(values) for kind, values in seen.items()}


def hours(stages: Iterable[StageCost], speed: dict[str, float]) -> float | None:
    """Hours of training; None if the speed of one of these stages is unknown."""
    if any(stage.speed not in speed for stage in stages):
        return None
    return sum(stage.sentences / speed[stage.speed] for stage in stages) / 3600
