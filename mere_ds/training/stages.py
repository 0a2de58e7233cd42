"""The paper's two stages: what each starts from, what it trains, what it leaves behind."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path

import torch
import torch.distributed as dist

from mere_ds.config import PRESETS, TrainConfig
from mere_ds.encoders.sources import fingerprint, load_encoder, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.model.configuration import MereConfig
from mere_ds.model.mere import MereModel
from mere_ds.shards.manifest import Manifest
from mere_ds.training.checkpoint import STATE, Checkpoints, damage, digest_of, state_of
from mere_ds.training.engine import Trainee
from mere_ds.training.feature_cache import features_of, why_not
from mere_ds.training.loop import Progress, StageTrainer
from mere_ds.training.resume import DATA, STAGE_ONE, check_same, ingredients
from mere_ds.training.session import Session

log = logging.getLogger("mere_ds")

STAGE_TWO_KNOBS = (
    *("submodule_layers", "bottleneck", "top_k", "renormalise_top_k"),
    *("alpha", "beta", "ordered_spans"),
)
"""Of the model's knobs, those that stage two may choose anew."""


def open_shards(config: TrainConfig) -> Manifest:
    """The shards' manifest, checked against the files and the encoder asked for. Raises UserError."""
    manifest = Manifest.load(config.shards, config.shard_cache, config.shard_cache_gib)
    theirs = manifest.encoder.source
    if config.encoder not in (None, theirs) and Path(config.encoder).resolve() != Path(theirs):
        raise UserError(
            f"{config.shards} was made with the encoder {theirs}, not {config.encoder}: leave --encoder out, or make "
            f"shards with mere-ds shard ... --encoder={config.encoder}"
        )
    manifest.check_tokenizer(fingerprint(load_tokenizer(manifest.encoder_folder)))
    return manifest


def train_stage_one(session: Session, manifest: Manifest) -> dict:
    """Section 3.2: encoder, LA, relation classifier and entity heads on randomly concatenated sentences (eq. 10)."""

    def fresh() -> MereModel:
        encoder = load_encoder(manifest.encoder_folder, manifest.encoder)
        return MereModel.from_encoder(encoder, model_config(session.config, manifest))

    return _train(session, 1, fresh, manifest, session.config.learning_rate)


def train_stage_two(session: Session, manifest: Manifest) -> dict:
    """Section 3.3: all of stage one frozen but relation classifier and entity heads; LS is tuned (eq. 11)."""
    if not PRESETS[session.config.system]["use_ls"]:
        log.info("%s has no Language-specific Switcher: no stage two", session.config.system)
        return {}
    start = session.from_rank_0(_best_of_stage_one(session) if session.leads else None)

    def fresh() -> MereModel:
        model = MereModel.from_pretrained(start)
        manifest.check_tokenizer(fingerprint(load_tokenizer(start)))
        if model.config.labels != manifest.labels or model.config.languages != manifest.languages:
            raise UserError(
                f"{session.config.shards} has other labels or languages than stage one of {session.config.run}"
            )
        _check_start(model.config, session.config)
        model.begin_stage_two(**_knobs(session.config, STAGE_TWO_KNOBS))
        return model

    rate = session.config.learning_rate_stage_two or session.config.learning_rate
    return _train(session, 2, fresh, manifest, rate, digest_of(start, "model.safetensors"))


def _best_of_stage_one(session: Session) -> Path:
    """The checkpoint that stage two starts from; raises UserError if there is none or it is damaged."""
    best = session.folder.model(1, "best")
    if not (best / STATE).is_file():
        raise UserError(f"{best} is missing: train stage one first (--stage=1 with the same --run)")
    if what := damage(best):
        raise UserError(f"{best.resolve()} is damaged ({what}): train stage one anew (--stage=1 --overwrite)")
    if not state_of(session.folder.model(1, "latest"))["finished"]:
        log.warning("stage one of %s is not finished; stage two starts from its best epoch so far", session.config.run)
    return best.resolve()


def model_config(config: TrainConfig, manifest: Manifest) -> MereConfig:
    """The model that the knobs describe, for the shards' languages, labels and masks."""
    return MereConfig(
        languages=manifest.languages,
        labels=manifest.labels,
        label_mask=manifest.label_mask,
        language_token_ids=[manifest.encoder.language_token_ids[x] for x in manifest.languages],
        max_length=manifest.max_length,
        **PRESETS[config.system],
        **_knobs(config, ("la_residual", *STAGE_TWO_KNOBS)),
    )


def _knobs(config: TrainConfig, names: tuple[str, ...]) -> dict:
    """Knobs that training and model know by the same name."""
    values = {name: getattr(config, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _check_start(trained: MereConfig, config: TrainConfig) -> None:
    """Raises UserError where the knobs describe another stage one than the one that was trained."""
    asked = PRESETS[config.system] | {"la_residual": config.la_residual}
    for name, value in asked.items():
        if getattr(trained, name) != value:
            raise UserError(
                f"stage one of {config.run} was trained with {name} = {getattr(trained, name)}, now it is {value}: "
                "pass the same --system and --la_residual"
            )


def _train(
    session: Session,
    stage: int,
    fresh: Callable[[], MereModel],
    manifest: Manifest,
    rate: float,
    stage_one: str | None = None,
) -> dict:
    """Train a stage from its newest checkpoint on, or from a `fresh` model where there is none."""
    now = ingredients(session.config, session.deepspeed_config, stage, manifest.sha256, stage_one)
    goes_on = session.leads and not session.config.overwrite
    checkpoint = session.from_rank_0(_where_to_go_on(session, stage) if goes_on else None)
    torch.manual_seed(session.config.seed + stage)  # new parts don't depend on what ran before
    if checkpoint:
        state = state_of(checkpoint)
        check_same(state["ingredients"], now, stage, session.config.run)
        progress = Progress(**{f.name: state[f.name] for f in fields(Progress)})
        if progress.finished:
            log.info("stage %d of %s is finished (--overwrite trains it anew)", stage, session.config.run)
            return progress.best_dev
        log.info("stage %d goes on from %s", stage, checkpoint.name)
        model = MereModel.from_pretrained(checkpoint)
    else:
        progress, model = Progress(), fresh()
        if session.leads:
            told = {"ranks": session.ranks, "global_batch": session.deepspeed_config["train_batch_size"]}
            session.folder.start_stage(stage, session.config.as_dict() | told)
        dist.barrier()
    trained, frozen = (sum(p.numel() for p in model.parameters() if p.requires_grad is r) for r in (True, False))
    model.to(session.device)
    log.info(
        "stage %d: %d of %d parameters train, %d sentences, global batch %d = %d x %d ranks x %d accumulation",
        stage,
        trained,
        trained + frozen,
        manifest.splits["train"].sentences,
        session.deepspeed_config["train_batch_size"],
        session.config.batch_size,
        session.ranks,
        session.config.accumulation,
    )
    with _features(session, stage, model, manifest, now) as features:
        trainee = Trainee(model, rate, session)
        facts = {"ingredients": now, "cached_features": bool(features)}
        if checkpoint:
            trainee.restore(checkpoint, state["counters"])
            if state["cached_features"] != facts["cached_features"]:
                log.warning("features are cached now or before, but not both: the result may differ by rounding")
        best = StageTrainer(session, stage, trainee, manifest, progress, facts, features).run()
        trainee.engine.destroy()
    return best


def _features(session: Session, stage: int, model: MereModel, manifest: Manifest, now: dict):
    """A context: what stage two need not compute each epoch (see `features_of`), {} where there is no use for it."""
    if stage == 1:
        return nullcontext({})
    if reason := why_not(session, manifest):
        log.info("the frozen part is computed anew each epoch: %s", reason)
        return nullcontext({})
    return features_of(session, model, manifest, [now[STAGE_ONE], now[DATA]], now["precision"])


def _where_to_go_on(session: Session, stage: int) -> Path | None:
    """Rank 0: the newest checkpoint that is whole; makes metrics.jsonl and links agree with it."""
    checkpoints = Checkpoints(session.folder.stage(stage), session.config.keep)
    found = checkpoints.newest_whole()
    if found:
        state = state_of(found)
        checkpoints.settle(state["best"])
        session.folder.cut_metrics(stage, state["step"])
    return found
