"""The paper's two stages: what each one starts from and what it trains."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from mere_ds.config import PRESETS, TAKEN_OVER, TWO_STAGES, TrainConfig
from mere_ds.corpus.languages import choose_languages
from mere_ds.encoders.sources import load_encoder, locate_weights, usable_positions
from mere_ds.encoders.tokenizer_files import read_tokenizer
from mere_ds.errors import UserError
from mere_ds.knobs import knobs_of
from mere_ds.model.configuration import HerbertaConfig, MereConfig, TripleConfig
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.loading import load_model
from mere_ds.model.mere import MereModel
from mere_ds.model.triple import TripleModel
from mere_ds.runs.checkpoint import state_of
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import TrainedModel, check_run
from mere_ds.shards.manifest import Manifest
from mere_ds.sums import OPTIMIZER, STATE, damage, recorded_digest
from mere_ds.training.observers import Observer
from mere_ds.training.session import Session
from mere_ds.training.stage_run import train_stage
from mere_ds.training.starting import find_start, start_from

log = logging.getLogger("mere_ds")

CHOSEN = {name: name in TAKEN_OVER for preset in PRESETS.values() for name in preset} | {
    knob.model: knob.inherited for knob in knobs_of(TrainConfig).values() if knob.model
}
"""Fields of the model's config that are set by systems and knobs -> whether stage two takes them over."""
OF_STAGE_TWO = tuple(name for name, taken_over in CHOSEN.items() if not taken_over)
"""Fields of the model's config that stage two sets; so mERE-LS can serve as stage one of mERE."""
OF_STAGE_ONE = ("model_type", "triples", *(name for name, taken_over in CHOSEN.items() if taken_over))
"""Fields of the model's config that stage two takes over from stage one."""


def open_shards(config: TrainConfig) -> Manifest:
    """The shards' manifest for the chosen languages, checked against files and encoder. Raises UserError."""
    manifest = Manifest.load(config.shards, config.shard_cache, config.shard_cache_gib)
    theirs = manifest.encoder.source
    if config.encoder not in (None, theirs) and Path(config.encoder).resolve() != Path(theirs):
        raise UserError(
            f"{config.shards} was made with the encoder {theirs}, not {config.encoder}: remove --encoder, or make "
            f"shards with mere-ds shard ... --encoder={config.encoder}"
        )
    if config.triples not in (None, manifest.triples):
        raise UserError(
            f"{config.shards} was made with --triples={manifest.triples}: remove --triples={config.triples}, or make "
            f"shards with mere-ds shard ... --triples={config.triples}"
        )
    _ = manifest.encoder_folder  # checks its files
    return _of_languages(manifest, config)


def _of_languages(manifest: Manifest, config: TrainConfig) -> Manifest:
    languages, lacking = choose_languages(config.languages, manifest.languages)
    chosen = manifest.only(languages)
    if not chosen.splits["train"].sentences:
        raise UserError(
            f"{config.shards} contains no training sentence of --languages={config.languages}: choose others"
        )
    if chosen is not manifest:
        log.info("languages: %s (the shards have %s)", ", ".join(languages), ", ".join(manifest.languages))
    if lacking:
        log.info(
            "the shards have no sentences in %s: ignoring these languages of --languages=%s",
            ", ".join(lacking),
            config.languages,
        )
    return chosen


def train_stage_one(session: Session, manifest: Manifest, observers: Iterable[Observer] = ()) -> dict:
    """Section 3.2: encoder, LA, relation classifier and entity heads on randomly concatenated sentences (eq. 10)."""
    start = session.from_rank_0(find_start(session.config.start) if session.is_main else None)

    def fresh() -> TripleModel:
        _warn_if_rate_is_low(session, manifest)
        return model_of_stage_one(session.config, manifest, start)

    return train_stage(session, 1, fresh, manifest, session.config.learning_rate, observers=observers, start=start)


def model_of_stage_one(config: TrainConfig, manifest: Manifest, start: TrainedModel | None) -> TripleModel:
    """The model before its first update: new parts from torch's seed, and what fits of `start`, if given."""
    model = new_model(config, manifest, starting_encoder(config, manifest))
    if start:
        start_from(start, model, manifest)
    return model


def new_model(config: TrainConfig, manifest: Manifest, encoder: PreTrainedModel) -> TripleModel:
    """Stage one's model around an encoder. Raises UserError for knobs that don't fit the shards."""
    kind = HerbertaModel if config.system == "HERBERTa" else MereModel
    return kind.from_encoder(encoder, model_config(config, manifest))


def begin_stage_two(model: TripleModel, wanted: TripleConfig, new_encoder: Callable[[], PreTrainedModel]) -> None:
    """Give stage one's model the parts that stage two trains, as `wanted`; HERBERTa's tagger gets a `new_encoder`."""
    choices = {name: getattr(wanted, name) for name in OF_STAGE_TWO if hasattr(wanted, name)}
    if isinstance(model, HerbertaModel):
        model.begin_stage_two(new_encoder(), **choices)
    else:
        assert isinstance(model, MereModel), "no other model has a stage two"
        model.begin_stage_two(**choices)


def train_stage_two(session: Session, manifest: Manifest, observers: Iterable[Observer] = ()) -> dict:
    """Section 3.3: stage one is frozen except relation classifier and entity heads; LS is tuned (eq. 11).

    For HERBERTa this stage trains the second encoder, with the relation classifier frozen too.
    """
    if session.config.system not in TWO_STAGES:
        log.info("%s has no Language-specific Switcher, so there is no stage two", session.config.system)
        return {}
    one = RunFolder(session.config.stage_one_run or session.config.run)
    start = session.from_rank_0(_best_of_stage_one(one) if session.is_main else None)
    if session.config.start and session.config.stage == "2":
        log.info(
            "--start=%s was for stage one, from which stage two starts: it has no effect now", session.config.start
        )
    assert start is not None  # rank 0 has found it

    def fresh() -> TripleModel:
        model = load_model(start)
        if differences := manifest.differences(model.config.languages, model.config.labels):
            raise UserError(
                f"{session.config.shards} with --languages={session.config.languages} does not fit stage one of "
                f"{one.root}: it {differences}"
            )
        manifest.check_tokenizer(read_tokenizer(start).fingerprint)
        wanted = model_config(session.config, manifest)
        _check_start(model.config, wanted, one)
        begin_stage_two(model, wanted, lambda: starting_encoder(session.config, manifest))
        return model

    rate = session.config.learning_rate
    if session.config.tunes_switcher(2) and session.config.learning_rate_stage_two is not None:
        rate = session.config.learning_rate_stage_two
    return train_stage(session, 2, fresh, manifest, rate, recorded_digest(start, "model.safetensors"), observers)


def _best_of_stage_one(run: RunFolder) -> Path:
    """The checkpoint that stage two starts from. Raises UserError if it is missing or damaged."""
    if run.root.exists():
        check_run(run)
    best = run.model(1, "best")
    if not (best / STATE).is_file():
        raise UserError(f"{best} is missing: train stage one first (--stage=1 --run={run.root})")
    if what := damage(best, unused=(OPTIMIZER,)):
        raise UserError(f"{best.resolve()} is damaged ({what}): train stage one again (--stage=1 --overwrite)")
    if not state_of(run.model(1, "latest"))["finished"]:
        log.warning("stage one of %s is not finished; stage two starts from its best epoch so far", run.root)
    return best.resolve()


def _warn_if_rate_is_low(session: Session, manifest: Manifest) -> None:
    c = session.config
    random = manifest.encoder.kind == "tiny" and c.encoder_weights is None and c.start is None
    if session.is_main and random and c.learning_rate <= TrainConfig.learning_rate:
        log.warning(
            "the encoder's weights are random, but --learning_rate=%g suits pretrained ones and is too low here: "
            "try --learning_rate=2e-3",
            c.learning_rate,
        )


def starting_encoder(config: TrainConfig, manifest: Manifest) -> PreTrainedModel:
    """The encoder that training starts from. Raises UserError if the shards' sentences are too long for it."""
    weights = None if config.encoder_weights is None else locate_weights(config.encoder_weights)
    encoder = load_encoder(manifest.encoder_folder, manifest.encoder, weights=weights)
    most = usable_positions(encoder)
    if manifest.max_length > most:  # older versions counted positions that the encoder reserves
        raise UserError(
            f"{config.shards} was made with --max_length={manifest.max_length}, but {manifest.encoder.source} takes at "
            f"most {most} tokens: run mere-ds shard again with --max_length={most}"
        )
    return encoder


def model_config(config: TrainConfig, manifest: Manifest) -> TripleConfig:
    """The model's config from the knobs and the shards' languages, labels and masks. Raises UserError."""
    if config.characters and not manifest.cuts:
        raise UserError(
            f"{config.shards} was made by an older mere-ds and doesn't record which characters of a token belong to an "
            "entity: run mere-ds shard again, or remove --characters"
        )
    data: dict[str, Any] = {
        "languages": manifest.languages,
        "labels": manifest.labels,
        "label_mask": manifest.label_mask,
        "language_token_ids": [manifest.encoder.language_token_ids[x] for x in manifest.languages],
        "max_length": manifest.max_length,
    }
    if config.system != "HERBERTa":
        return MereConfig(**data, triples=manifest.triples, **model_choices(config, MereConfig))
    if manifest.triples == "many":
        raise UserError(
            f"HERBERTa finds one triple a sentence, and {config.shards} holds any number: choose another --system, or "
            "make shards with mere-ds shard ... --triples=one"
        )
    most = manifest.encoder.max_length
    if manifest.max_length >= most:
        raise UserError(
            f"{config.shards} has --max_length={manifest.max_length}, but HERBERTa adds a token for the relation and "
            f"the encoder takes at most {most}: make shards with mere-ds shard ... --max_length={most - 1}"
        )
    return HerbertaConfig(**data, **model_choices(config, HerbertaConfig))


def model_choices(config: TrainConfig, kind: type[TripleConfig]) -> dict[str, Any]:
    """The fields of such a model's config that are set by the system or by knobs; the system takes precedence."""
    known = {f.name for f in fields(kind)}
    values = {knob.model: getattr(config, name) for name, knob in knobs_of(config).items() if knob.model in known}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()} | PRESETS[
        config.system
    ]


def _check_start(trained: TripleConfig, wanted: TripleConfig, run: RunFolder) -> None:
    """Raises UserError if the knobs describe a different stage one than the one that was trained."""
    inherited = [name for name, knob in knobs_of(TrainConfig).items() if knob.inherited]
    for name in OF_STAGE_ONE:
        then, now = getattr(trained, name, None), getattr(wanted, name, None)
        if now not in (then, "auto"):
            raise UserError(
                f"stage one of {run.root} was trained with {name} = {then}, but it is {now} now: "
                f"pass the same {', '.join(f'--{name}' for name in ('system', *inherited))}"
            )
