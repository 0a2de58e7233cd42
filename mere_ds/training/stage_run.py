"""What a stage does, step by step: start or resume, compute the frozen features, train, save checkpoints."""

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from pathlib import Path

import torch

from mere_ds.config import TrainConfig
from mere_ds.encoders.sources import locate_weights, weights_digest
from mere_ds.model.loading import load_model
from mere_ds.model.mere import MereModel
from mere_ds.model.triple import TripleModel
from mere_ds.runs.checkpoint import Checkpoints, state_of
from mere_ds.runs.resume import CLIPPING, DATA, STAGE_ONE, check_same, ingredients, other_shards, unrecorded_clipping
from mere_ds.runs.starts import record_start
from mere_ds.runs.trained import TrainedModel
from mere_ds.shards.drawing import described as described_draws
from mere_ds.shards.features import FeatureStore
from mere_ds.shards.manifest import Manifest
from mere_ds.training.engine import Trainee
from mere_ds.training.feature_cache import features_of, why_not
from mere_ds.training.loop import Progress
from mere_ds.training.observers import Observer
from mere_ds.training.session import Session
from mere_ds.training.stage_trainer import StageTrainer
from mere_ds.training.starting import described

log = logging.getLogger("mere_ds")


def train_stage(
    session: Session,
    stage: int,
    fresh: Callable[[], TripleModel],
    manifest: Manifest,
    rate: float,
    stage_one: str | None = None,
    observers: Iterable[Observer] = (),
    start: TrainedModel | None = None,
) -> dict:
    """Train a stage from its newest checkpoint, or a `fresh` model if there is none; returns its best dev scores.

    `rate` is the peak learning rate, `stage_one` the digest of the model that stage two starts from, `start` the model
    of another run that a fresh stage one takes over.
    """
    now = _ingredients(session, stage, manifest, stage_one, start)
    checkpoint = session.from_rank_0(_resume_point(session, stage) if session.is_main else None)
    state = _checked_state(session, stage, checkpoint, now) if checkpoint else {}
    progress = Progress(**{f.name: state[f.name] for f in fields(Progress)}) if state else Progress()
    if progress.finished:
        log.info("stage %d of %s is finished (--overwrite trains it again)", stage, session.config.run)
        return progress.best_dev
    torch.manual_seed(session.config.seed + stage)  # the initialisation of new parts must not depend on what ran before
    model = _resumed(stage, checkpoint) if checkpoint else _started_fresh(session, stage, fresh, start)
    model.to(session.device)
    _log_sizes(session, stage, model, manifest)
    with _features(session, stage, model, manifest, now) as features:
        trainee = Trainee(model, rate, session)
        settings = session.folder.started(stage) or _settings_of(session, start) if session.is_main else {}
        recorded = {}  # rank 0 writes the checkpoints
        if session.is_main:
            where = {"stage": stage, "step": progress.step} | _started_from(start)
            recorded = record_start(session.folder.root, session.ranks, **where)
        facts = {"ingredients": now, "cached_features": bool(features), "told": settings, "start": recorded}
        if checkpoint:
            trainee.restore(checkpoint, state["counters"])
            if state["cached_features"] != facts["cached_features"]:
                log.warning(
                    "features were cached only before or only after the resume: the result may differ by rounding"
                )
        tally = state.get("tally")
        trainer = StageTrainer(session, stage, trainee, manifest, progress, facts, features, tally, observers)
        best = trainer.train()
        trainee.engine.destroy()
    return best


def _ingredients(
    session: Session, stage: int, manifest: Manifest, stage_one: str | None, start: TrainedModel | None
) -> dict:
    """Everything that determines the result; rank 0 computes the digest of --encoder_weights."""
    weights = session.from_rank_0(_weights_digest(session.config, stage) if session.is_main else None)
    settings = session.config, session.deepspeed_config
    return ingredients(*settings, stage, manifest.sha256, stage_one, weights, start.sha256 if start else None)


def _weights_digest(config: TrainConfig, stage: int) -> str | None:
    """Digest of the weights that this stage's encoder starts from; None if they are the shards' own."""
    if config.encoder_weights is None or config.tunes_switcher(stage):
        return None
    return weights_digest(locate_weights(config.encoder_weights))


def _resume_point(session: Session, stage: int) -> Path | None:
    """Rank 0: the newest intact checkpoint; None if there is none or with --overwrite.

    Also makes metrics.jsonl and the links consistent with it.
    """
    if session.config.overwrite:
        return None
    checkpoints = Checkpoints(session.folder.stage(stage), session.config.keep)
    found = checkpoints.newest_whole()
    if found:
        state = state_of(found)
        checkpoints.prune(state["best"])
        session.folder.restore_config()
        session.folder.cut_metrics(stage, state["step"])
    return found


def _checked_state(session: Session, stage: int, checkpoint: Path, now: dict) -> dict:
    """The checkpoint's state. Raises UserError if it is from a training with other settings."""
    state = state_of(checkpoint)
    then = state["ingredients"]
    if then.get(CLIPPING) is None:
        then[CLIPPING] = unrecorded_clipping(session.deepspeed_config)
    moved = then.get(DATA) != now[DATA]
    advice = other_shards(session.folder.settings(stage).get("shards"), session.config.shards) if moved else None
    check_same(then, now, stage, session.config.run, advice)
    return state


def _resumed(stage: int, checkpoint: Path) -> TripleModel:
    log.info("stage %d resumes from %s", stage, checkpoint.name)
    return load_model(checkpoint)


def _started_fresh(
    session: Session, stage: int, fresh: Callable[[], TripleModel], start: TrainedModel | None
) -> TripleModel:
    """A fresh model. Only once it exists are the files of an earlier training removed."""
    model = fresh()
    if session.is_main:
        session.folder.start_stage(stage, _settings_of(session, start))
    session.wait_for_all()
    return model


def _settings_of(session: Session, start: TrainedModel | None) -> dict:
    """The settings of a stage that starts now: all knobs, global batch, number of ranks, gradient clipping, and the
    model that it starts from, if any."""
    ds = session.deepspeed_config
    settings = {"ranks": session.ranks, "global_batch": ds["train_batch_size"], CLIPPING: ds[CLIPPING]}
    return session.config.as_dict() | settings | _started_from(start)


def _started_from(start: TrainedModel | None) -> dict:
    return {"started_from": described(start)} if start else {}


def _log_sizes(session: Session, stage: int, model: TripleModel, manifest: Manifest) -> None:
    trained, frozen = (sum(p.numel() for p in model.parameters() if p.requires_grad is r) for r in (True, False))
    log.info(
        "stage %d: %d of %d parameters trainable, %d sentences, global batch %d = %d x %d ranks x %d accumulation",
        stage,
        trained,
        trained + frozen,
        manifest.splits["train"].sentences,
        session.deepspeed_config["train_batch_size"],
        session.config.batch_size,
        session.ranks,
        session.config.accumulation,
    )
    temperature = session.config.language_temperature
    if temperature != 1:
        drawn = described_draws(manifest.languages, manifest.index_of("train").counts_U, temperature)
        log.info("stage %d: each epoch at --language_temperature=%g: %s", stage, temperature, "; ".join(drawn))


def _features(
    session: Session, stage: int, model: TripleModel, manifest: Manifest, now: dict
) -> AbstractContextManager[dict[str, FeatureStore]]:
    """The features that stage two computes only once (see `features_of`); {} if caching is not useful."""
    if stage == 1:
        return nullcontext({})
    if reason := why_not(session, manifest):
        log.info("features are not cached but computed in every epoch: %s", reason)
        return nullcontext({})
    assert isinstance(model, MereModel)  # `why_not` rejects all others
    return features_of(session, model, manifest, [now[STAGE_ONE], now[DATA], *manifest.languages], now["precision"])
