"""What a stage of a training costs, before it starts: updates, passes, disk space, memory and traffic of a rank.

Counts of sentences and updates are upper bounds, as stage two may stop early. P below are parameters, N ranks.
"""

import contextlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from transformers import AutoConfig

from mere_ds.config import TrainConfig
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
    """The cost of a stage; `manifest` is of the job's languages, `features`: whether another job has made them.

    Without `ranks` the scorings of --eval_steps are not counted.
    """
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
    scorings = epochs
    if updates is not None and config.eval_steps:
        before = updates - 1  # those at the ends of epochs are counted already
        scorings += before // config.eval_steps - before // math.lcm(config.eval_steps, -(-train // batch))
    passes = dev * scorings
    if tunes:
        passes = sentences + passes if again else 0 if features else train + dev
    return StageCost(kind_of(config, stage), sentences, updates, passes, _disk(config, stage, manifest))


def kind_of(config: TrainConfig, stage: int) -> str:
    """`StageCost.speed` of a stage."""
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
    return (config.keep + 1) * saved_bytes(trained, whole - trained)


def saved_bytes(trained: int, frozen: int) -> int:
    """Bytes of a checkpoint's tensors, which are also those of the copy that rank 0 holds in its main memory."""
    return _BYTES * (3 * trained + frozen)


def _parameters(manifest: Manifest) -> int:
    """The encoder's number of parameters, from its configuration, as its weights may not be here."""
    config = AutoConfig.from_pretrained(manifest.encoder_folder, local_files_only=True)
    width = config.hidden_size
    layer = 4 * width + 2 * getattr(config, "intermediate_size", 4 * width)
    positions = getattr(config, "max_position_embeddings", 0)
    return width * (config.vocab_size + positions + config.num_hidden_layers * layer + width)


def recorded_speeds(metrics: Path) -> dict[int, list[float]]:
    """Stage -> sentences per second (over all ranks) of each record of a run's `metrics.jsonl`; {} without one."""
    seen: dict[int, list[float]] = {}
    for line in metrics.read_text(encoding="utf-8", errors="replace").splitlines() if metrics.exists() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a kill may have cut the last line
            record = json.loads(line)
            if record["kind"] == "train":
                seen.setdefault(int(record["stage"]), []).append(float(record["sentences_per_second"]))
    return seen


def hours(stages: Iterable[StageCost], speed: dict[str, float]) -> float | None:
    """Hours of training; None if the speed of one of these stages is unknown."""
    if any(stage.speed not in speed for stage in stages):
        return None
    return sum(stage.sentences / speed[stage.speed] for stage in stages) / 3600


def shown_time(hours: float) -> str:
    """Hours in words."""
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


class Held(NamedTuple):
    """Bytes that a rank holds all the time; activations, buckets and copies come on top."""

    weights: float
    gradients: float
    optimizer: float


def zero_bytes(stage: int, ranks: int, trained: int, frozen: int = 0, weight: float = 2, optimizer: float = 12) -> Held:
    """Bytes of weights, gradients and optimizer a rank in ZeRO `stage` (ZeRO paper, section 5).

    A weight takes `weight` bytes, its gradient as many, Adam's moments with the fp32 master copy `optimizer`. ZeRO 1
    shares the optimizer's part among the `ranks`, 2 gradients too, 3 weights too.
    """
    weights, gradients, states = (ranks if stage >= first else 1 for first in (3, 2, 1))
    return Held(weight * (trained + frozen) / weights, weight * trained / gradients, optimizer * trained / states)


def optimizer_bytes(precision: str, stage: int) -> int:
    """Bytes a parameter of Adam's two moments, with the master copy that DeepSpeed keeps: always in 16 bits, and in
    fp32 from ZeRO 1 on. `precision` is as from `precision_of`."""
    return 8 if weight_bytes(precision) == 4 and stage == 0 else 12


def weight_bytes(precision: str) -> int:
    """Bytes of a weight under training; with autocast they stay in fp32."""
    return 2 if precision in ("fp16", "bf16") else 4


def traffic(
    stage: int, ranks: int, values: int, accumulation: int = 1, weight: float = 2, reduce: bool = False
) -> float:
    """Bytes that a rank sends an update as DeepSpeed works by default: rings send (N-1)/N of `values` a pass.

    ZeRO 0 all-reduces gradients (two passes); 1 and 2 do so too and gather the weights besides, with `reduce` they
    send gradients to their owners alone (one pass). 2 and 3 reduce in every micro-step; 3 gathers once in it, as long
    as DeepSpeed may keep the model together until the backward.
    """
    gradients = 1 if reduce else 2
    passes = {0: 2, 1: gradients + 1, 2: gradients * accumulation + 1, 3: 2 * accumulation}[stage]
    return passes * values * weight * (ranks - 1) / ranks
