"""`train --dry_run`: what a training would take, before anything starts.

Builds the model's shapes without memory or weights, needs no GPU, trains nothing and writes nothing into the run
folder.
"""

import statistics
from collections.abc import Iterator

import torch
from transformers import PreTrainedModel

from mere_ds.columns import align
from mere_ds.config import TWO_STAGES, TrainConfig
from mere_ds.encoders.loading import encoder_shapes
from mere_ds.encoders.weights import word_embeddings
from mere_ds.model.triple import TripleModel
from mere_ds.ranks.rendezvous import RankInfo
from mere_ds.runs.resume import precision_of
from mere_ds.runs.run_folder import RunFolder
from mere_ds.shards.manifest import Manifest
from mere_ds.training.cost import (
    StageCost,
    hours,
    optimizer_bytes,
    recorded_speeds,
    saved_bytes,
    shown_time,
    stage_cost,
    traffic,
    weight_bytes,
    zero_bytes,
)
from mere_ds.training.session import settled
from mere_ds.training.stages import begin_stage_two, model_config, new_model, open_shards
from mere_ds.training.starting import find_start

_MIB = 2**20
_MORE_RANKS = (8, 64)
"""Numbers of ranks whose memory is shown beside that of this training."""
_HEAD = ("MiB, ZeRO", "weights", "gradients", "optimizer", "together", "sent")


def print_cost(config: TrainConfig, given: frozenset[str]) -> None:
    """Rank 0 prints the cost of the stages that `config` trains; `given` are the knobs that the user passed.

    Raises UserError for what would be refused before the first update, except what only the machines of the training
    can tell: whether they have the GPUs and the weights of the encoder.
    """
    place = RankInfo.from_environment()
    if place.rank:
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config, ds, why = settled(config, given, place.ranks, device)
    manifest = open_shards(config)
    if config.stage != "2":
        find_start(config.start)
    print(f"--deepspeed_config={config.deepspeed_config}{f': {why}' if why else ''}")
    for stage in (1, 2) if config.stage == "all" else (int(config.stage),):
        if stage == 1 or config.system in TWO_STAGES:
            print("\n" + "\n".join(_described(stage, config, ds, manifest, place.ranks)))
    print(
        "\nZeRO 0 to 3: MiB that a rank holds all the time (activations, buckets and copies come on top), and that it "
        "sends in an update; docs/training.md has the formulas."
    )


def shapes(config: TrainConfig, manifest: Manifest, stage: int) -> TripleModel:
    """The model that a stage trains, on the device "meta". Raises UserError for knobs that don't fit the shards."""

    def encoder() -> PreTrainedModel:
        return encoder_shapes(manifest.encoder_folder, manifest.encoder)

    with torch.device("meta"):
        model = new_model(config, manifest, encoder())
        if stage == 2:
            begin_stage_two(model, model_config(config, manifest), encoder)
    return model


def _described(stage: int, config: TrainConfig, ds: dict, manifest: Manifest, ranks: int) -> Iterator[str]:
    model = shapes(config, manifest, stage)
    trained, frozen = (sum(p.numel() for p in model.parameters() if p.requires_grad is r) for r in (True, False))
    words = word_embeddings(model.trained_encoder).weight
    waiting = words.numel() if config.embedding_rows == "touched" and words.requires_grad else 0
    cost = stage_cost(config, stage, manifest, ranks)
    early = f", fewer if dev scores don't improve for {config.patience} epochs" * config.tunes_switcher(stage)
    yield f"stage {stage}: {trained + frozen:,} parameters, {trained:,} of them trained, in {precision_of(ds)}"
    yield (
        f"{cost.updates:,} steps of {ds['train_batch_size']} sentences = {config.batch_size} x {ranks} ranks x "
        f"{config.accumulation} accumulation: {cost.sentences:,} training sentences, "
        f"{manifest.splits['train'].sentences:,} an epoch{early}"
    )
    yield f"{cost.passes:,} sentences without gradient (dev scores, features)"
    saved = saved_bytes(trained, frozen + waiting) / _MIB  # a table that waits is saved twice: as is, and up to date
    yield f"{(config.keep + 1) * saved:,.1f} MiB of checkpoints: the newest --keep={config.keep} and the best one"
    yield f"{saved:,.1f} MiB of rank 0's main memory for the copy that a save writes"
    yield _time(stage, config, cost)
    yield align(list(_memory_rows(config, ds, ranks, trained, frozen, waiting)))


def _time(stage: int, config: TrainConfig, cost: StageCost) -> str:
    speeds = recorded_speeds(RunFolder(config.run).metrics).get(stage)
    if not speeds:
        return "time: unknown until this run has recorded the speed of some steps"
    speed = statistics.median(speeds)
    needed = hours([cost], {cost.speed: speed})
    assert needed is not None, "its speed was passed"
    return f"time: about {shown_time(needed)} at this run's {speed:,.1f} sentences a second so far, without scoring"


def _memory_rows(
    config: TrainConfig, ds: dict, ranks: int, trained: int, frozen: int, waiting: int
) -> Iterator[tuple[str, ...]]:
    """By ZeRO stage, in MiB: what a rank holds, in parts and together, and sends; the same together on more ranks.

    Of `waiting` parameters only the few rows that a batch has get a gradient, in ZeRO 0: they are left out there.
    """
    zero, precision = ds.get("zero_optimization", {}), precision_of(ds)
    weight, others = weight_bytes(precision), [n for n in _MORE_RANKS if n != ranks]
    reduce = zero.get("use_multi_rank_bucket_allreduce") is False
    yield (*_HEAD, *(f"on {n} ranks" for n in others))
    for stage in range(4):
        sizes = (trained, frozen, weight, optimizer_bytes(precision, stage))
        held, without = zero_bytes(stage, ranks, *sizes), 0 if stage else waiting
        held = held._replace(gradients=held.gradients - weight * without)
        sent = traffic(stage, ranks, trained - without, config.accumulation, weight, reduce)
        elsewhere = [sum(zero_bytes(stage, n, *sizes)) - weight * without for n in others]
        mark = " (chosen)" if stage == zero.get("stage", 0) else ""
        yield (f"{stage}{mark}", *(f"{size / _MIB:,.1f}" for size in (*held, sum(held), sent, *elsewhere)))
