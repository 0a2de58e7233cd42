"""The paper's two stages: what each starts from, what it trains, what it leaves behind."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from mere_ds.config import PRESETS, TrainConfig
from mere_ds.encoders.sources import fingerprint, load_encoder, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.model.configuration import MereConfig
from mere_ds.model.mere import MereModel
from mere_ds.shards.manifest import ENCODER, Manifest
from mere_ds.training.engine import Trainee
from mere_ds.training.loop import StageTrainer
from mere_ds.training.run_folder import RunFolder, write_json
from mere_ds.training.session import Session

log = logging.getLogger("mere_ds")

STAGE_TWO_KNOBS = (
    *("submodule_layers", "bottleneck", "top_k", "renormalise_top_k"),
    *("alpha", "beta", "ordered_spans"),
)
"""Of the model's knobs, those that stage two may choose anew."""


def open_shards(config: TrainConfig) -> Manifest:
    """The shards' manifest, checked against the files and the encoder asked for. Raises UserError."""
    manifest = Manifest.load(config.shards)
    theirs = manifest.encoder.source
    if config.encoder not in (None, theirs) and Path(config.encoder).resolve() != Path(theirs):
        raise UserError(
            f"{config.shards} was made with the encoder {theirs}, not {config.encoder}: leave --encoder out, or make "
            f"shards with mere-ds shard ... --encoder={config.encoder}"
        )
    manifest.check_tokenizer(fingerprint(load_tokenizer(Path(config.shards) / ENCODER)))
    return manifest


def train_stage_one(session: Session, manifest: Manifest) -> dict:
    """Section 3.2: encoder, LA, relation classifier and entity heads on randomly concatenated sentences (eq. 10)."""
    model = MereModel.from_encoder(
        load_encoder(Path(session.config.shards) / ENCODER, manifest.encoder),
        model_config(session.config, manifest),
    )
    return _train(session, 1, model, manifest, session.config.learning_rate)


def train_stage_two(session: Session, manifest: Manifest) -> dict:
    """Section 3.3: all of stage one frozen but relation classifier and entity heads; LS is tuned (eq. 11)."""
    if not PRESETS[session.config.system]["use_ls"]:
        log.info("%s has no Language-specific Switcher: no stage two", session.config.system)
        return {}
    start = session.folder.model(1, "best")
    if not (start / "training.json").is_file():
        raise UserError(f"{start} is missing: train stage one first (--stage=1 with the same --run)")
    model = MereModel.from_pretrained(start)
    manifest.check_tokenizer(fingerprint(load_tokenizer(start)))
    if model.config.labels != manifest.labels or model.config.languages != manifest.languages:
        raise UserError(f"{session.config.shards} has other labels or languages than stage one of {session.config.run}")
    _check_start(model.config, session.config)
    model.begin_stage_two(**_knobs(session.config, STAGE_TWO_KNOBS))
    rate = session.config.learning_rate_stage_two or session.config.learning_rate
    return _train(session, 2, model, manifest, rate)


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


def _train(session: Session, stage: int, model: MereModel, manifest: Manifest, rate: float) -> dict:
    if session.leads:
        session.folder.start_stage(stage, session.config.as_dict(), session.config.overwrite)
    dist.barrier()
    log.info(
        "stage %d: %d of %d parameters train, %d sentences, global batch %d on %d ranks",
        stage,
        sum(p.numel() for p in model.parameters() if p.requires_grad),
        sum(p.numel() for p in model.parameters()),
        manifest.splits["train"].sentences,
        session.deepspeed_config["train_batch_size"],
        session.ranks,
    )
    torch.manual_seed(session.config.seed + session.rank)  # each rank its own dropout
    trainee = Trainee(model.to(session.device), rate, session)

    def save(trainee: Trainee, better: bool, facts: dict) -> None:
        state = trainee.state_dict()
        if session.leads:
            save_model(session.folder, Path(session.config.shards) / ENCODER, trainee.model, state, facts, better)
        dist.barrier()

    best = StageTrainer(session, stage, trainee, manifest, save).run()
    trainee.engine.destroy()
    return best


def save_model(folder: RunFolder, tokenizer: Path, model: MereModel, state: dict, facts: dict, better: bool) -> None:
    """Save weights, config and tokenizer as `last`, and as `best` too if `better`; each appears whole or not at all."""
    last, best = (folder.model(facts["stage"], which) for which in ("last", "best"))

    def write(part: Path) -> None:
        model.save_pretrained(part, state_dict=state)
        config = MereConfig.from_pretrained(part)  # names the precision of the engine's copy; the state's is fp32
        config.dtype = "float32"
        config.save_pretrained(part)
        load_tokenizer(tokenizer).save_pretrained(part)
        write_json(part / "training.json", facts)

    _replace(last, write)
    if better:
        _replace(best, lambda part: shutil.copytree(last, part))


def _replace(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a folder beside `folder`, then put it in its place."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    write(part)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
