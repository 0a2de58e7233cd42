"""What is known of a trained model, gathered from its run for the model card. No path of this machine is among it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mere_ds.config import PUBLISHED_MTMB
from mere_ds.corpus.languages import language_code
from mere_ds.errors import MachineError, UserError
from mere_ds.evaluation.predictions import evaluation_name
from mere_ds.evaluation.provenance import read_evaluation
from mere_ds.model.calibration import CALIBRATION, Calibration
from mere_ds.model.configuration import TripleConfig
from mere_ds.model.fields import MereFields
from mere_ds.runs.resume import WEIGHTS
from mere_ds.runs.trained import TrainedModel
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.remote import CACHE_GIB

SPLITS = ("test", "dev")
_ON_THE_HUB = {"e5-small": "intfloat/multilingual-e5-small"}
"""By name of an encoder that needs no hub, the model there that it is made of."""


@dataclass(frozen=True)
class Weights:
    """What an exported folder computes with, as the card tells it."""

    precision: str
    """Number format of the stored weights."""
    extra: str
    """The extra of this package that is enough to use it."""
    remarks: tuple[str, ...] = ()
    """Sentences for the card, of safe characters."""
    f1_lost: Mapping[str, float] = field(default_factory=dict)
    """Points of triple F1 that it has less than the run's weights, by language and "average", where measured."""


@dataclass(frozen=True)
class Score:
    """F1 in percent of a language's sentences, or of all languages."""

    sentences: int
    f1: dict[str, float]
    """By metric: "relation", and "triple" and "triple_characters" where there are entities."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """By metric, its 95 % interval, low and high; none for what training measured itself."""


@dataclass(frozen=True)
class Scores:
    """A split's scores of exactly the exported checkpoint."""

    split: str
    rows: dict[str, Score]
    """By language, then "average" and "pooled"."""
    remarks: tuple[str, ...] = ()
    """What is unusual about them, as `provenance.remarks`."""


@dataclass(frozen=True)
class Data:
    """The shards that the model was trained on."""

    sentences: dict[str, dict[str, int]]
    """By split and language."""
    triples: dict[str, int]
    """Triples of the training sentences by label; labels without any are left out."""
    cut_off: dict[str, int]
    """Sentences longer than max_length, by split."""
    encoder: str
    """Where the encoder came from, in words."""
    base_model: str | None
    """The encoder's id on the Hugging Face hub."""


@dataclass(frozen=True)
class Facts:
    """Everything that the card says of a model, besides how its files were made."""

    system: str
    stage: int
    step: int
    finished: bool
    lacks_stage_two: bool
    sha256: str
    """Of the checkpoint's SHA256SUMS, and so of all its files."""
    languages: list[str]
    labels: list[str]
    label_mask: list[list[int]]
    """Languages x labels; 1 if the language has the label."""
    max_length: int
    finds_many: bool
    min_score: float | None
    """The threshold of scores, where a text has any number of triples."""
    trained_on: str
    """sha256 of the shards' manifest."""
    data: Data | None
    """None if the shards are not there any more."""
    knobs: dict[str, dict]
    """By stage, in words, everything that determined its result."""
    versions: dict[str, str]
    """What it was trained with, if that is recorded."""
    scores: list[Scores]


def gather(model: TrainedModel, config: TripleConfig | MereFields) -> tuple[Facts, list[str]]:
    """What the card says of a run's model, which has the configuration `config`; and lines on what it can't say.

    Raises UserError for an evaluation that is damaged or of an older model.
    """
    if strange := [language for language in config.languages if language_code(language) is None]:
        raise UserError(f"{model.folder}: {strange[0]!r} is not a language code: train on data with codes such as de")
    data, scores, missing = _of_run(model, config.languages)
    stages = {"one": model.stage_one} if model.stage_one else {}
    stages |= {"one" if model.stage == 1 else "two": model.ingredients}
    return Facts(
        system=model.system,
        stage=model.stage,
        step=model.step,
        finished=model.finished,
        lacks_stage_two=model.lacks_stage_two,
        sha256=model.sha256,
        languages=config.languages,
        labels=config.labels,
        label_mask=config.label_mask,
        max_length=config.max_length,
        finds_many=getattr(config, "triples", "one") == "many",
        min_score=Calibration.load(model.folder).min_score if (model.folder / CALIBRATION).exists() else None,
        trained_on=model.trained_on,
        data=data,
        knobs={f"stage {number}": knobs for number, knobs in stages.items()},
        versions=(model.state.get("start") or {}).get("versions") or {},
        scores=scores,
    ), missing


def _of_run(model: TrainedModel, languages: list[str]) -> tuple[Data | None, list[Scores], list[str]]:
    """What only the run says; and lines on what is missing."""
    if model.exported:
        told = "scores, counts of the training data and versions are left out, which an exported model doesn't record"
        return None, [], [f"{told}: export the run itself for a card with them"]
    data, missing = _data(model, languages)
    scores = []
    for split in SPLITS:
        found, lack = _scores(model, split)
        scores += [found] if found else []
        missing += lack
    return data, scores, missing


def manifest_of(model: TrainedModel, languages: list[str]) -> Manifest:
    """Of the shards that a model was trained on, in its languages. Raises UserError and MachineError if they can't be
    read any more."""
    told = model.state.get("told") or {}
    place = told.get("shards")
    if place is None:
        raise UserError("the checkpoint doesn't record where the shards are")
    manifest = Manifest.load(place, told.get("shard_cache"), told.get("shard_cache_gib", CACHE_GIB))
    if manifest.sha256 != model.trained_on:
        raise UserError(f"{place}: not the shards of the training: restore them")
    return manifest.only(languages)


def _data(model: TrainedModel, languages: list[str]) -> tuple[Data | None, list[str]]:
    """What the shards' manifest says; None, and why, if it can't be read or isn't that of the training."""
    try:
        manifest = manifest_of(model, languages)
    except (UserError, MachineError) as error:
        return None, [f"counts of the training data are left out: {error}"]
    told = model.state.get("told") or {}
    triples: Counter[str] = Counter()
    for counts in manifest.splits["train"].counts.values():
        triples.update(counts)
    encoder, base_model = _encoder(manifest, model, told)
    return Data(
        sentences={name: split.by_language for name, split in manifest.splits.items()},
        triples=dict(triples),
        cut_off={name: sum(split.truncated.values()) for name, split in manifest.splits.items()},
        encoder=encoder,
        base_model=base_model,
    ), []


def _encoder(manifest: Manifest, model: TrainedModel, told: dict) -> tuple[str, str | None]:
    """In words, and its id on the hub if it is there; a local folder's path isn't told."""
    encoder = manifest.encoder
    if weights := model.ingredients.get(WEIGHTS):
        on_hub = PUBLISHED_MTMB if told.get("encoder_weights") == PUBLISHED_MTMB else None
        return f"weights of its own (sha256 {weights})", on_hub
    if encoder.kind == "hub":
        return f"{encoder.source}, revision {encoder.revision}", encoder.source
    if encoder.kind == "folder":
        return f"a folder (sha256 of its weights {encoder.weights_sha256})", None
    if encoder.kind == "tiny":
        return "tiny, which begins with random weights", None
    return encoder.source, _ON_THE_HUB.get(encoder.source)


def _scores(model: TrainedModel, split: str) -> tuple[Scores | None, list[str]]:
    """A split's scores of this very checkpoint; None, and why, if there are none."""
    path, lacking = model.run.evaluation / f"{evaluation_name(split, None)}.json", f"scores on {split} are left out"
    alone = model.folder == model.run.root
    if path.exists() and not alone:
        evaluation = read_evaluation(model.run, split)
        if evaluation.made_from["checkpoint"]["sha256"] == model.sha256:
            return Scores(split, _rows(evaluation.content), tuple(evaluation.remarks())), []
        why = f"{path} is of another checkpoint (--which={evaluation.content['which']})"
    else:
        why = f"there is no {path}"
    if split == "dev" and (found := model.state.get("dev") or {}).get("languages"):
        return Scores(split, _rows(found), ("measured while training",)), []
    if alone:
        return None, [f"{lacking}: {model.folder} is a single checkpoint: export the run itself for a card with them"]
    flag = "" if split == "test" else f" --split={split}"
    return None, [f"{lacking}: {why}: run mere-ds evaluate{flag} before"]


def _rows(content: dict) -> dict[str, Score]:
    metrics = ("relation", "triple", "triple_characters")
    bounds = {"triple": content.get("intervals"), "triple_characters": content.get("intervals_characters")}
    total = sum(row["sentences"] for row in content["languages"].values())
    rows = {}
    for name, row in {**content["languages"], "average": content["average"], "pooled": content["pooled"]}.items():
        own = {
            metric: (found["languages"] if name in content["languages"] else found)[name]
            for metric, found in bounds.items()
            if found
        }
        rows[name] = Score(row.get("sentences", total), {m: row[m] for m in metrics if m in row}, own)
    return rows
