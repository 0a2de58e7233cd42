"""Run folders as training and `mere-ds evaluate` leave them, around made-up predictions."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

from mere_ds.config import TrainConfig, knobs_of_stage
from mere_ds.corpus.smiler import ENGLISH_SENTENCES, SENTENCES
from mere_ds.evaluation.predictions import evaluation_name
from mere_ds.evaluation.provenance import made_from, write_evaluation
from mere_ds.files import write_json
from mere_ds.runs.resume import DATA, STAGE_ONE
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import trained_model
from mere_ds.training.loop import Progress

SHARDS = "5" * 64
"""The sha256 of the manifest of made-up shards."""
ROWS = SENTENCES | {"en": ENGLISH_SENTENCES["small"]}
"""Rows of SMiLER's files by language."""


def make_checkpoint(
    run: Path, stage: int, ingredients: dict, name: str = "step-00000010-epoch-1", links=("best", "latest"), **state
) -> Path:
    """A checkpoint without a model: its state, and a list of digests with a model's."""
    folder = run / "checkpoints" / f"stage{stage}" / name
    folder.mkdir(parents=True, exist_ok=True)
    state = {"step": 10, "finished": True, "ingredients": ingredients, "cached_features": False} | state
    state |= {"best": name, "best_dev": {"dev/triple_f1": 50.0}}
    state = asdict(Progress()) | {"stage": stage, "counters": {"updates": 0, "loss_scaler": {}}} | state
    write_json(folder / "training.json", state)
    digests = {"training.json": hashlib.sha256((folder / "training.json").read_bytes()).hexdigest()}
    digests["model.safetensors"] = weights_digest(stage, ingredients)
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {file}\n" for file, digest in digests.items()))
    if not (run / "config.json").exists():
        write_json(run / "config.json", {f"stage{stage}": {"shards": "shards"}})
    for link in (folder.with_name(link) for link in links):
        link.unlink(missing_ok=True)
        link.symlink_to(name)
    return folder


def weights_digest(stage: int, ingredients: dict) -> str:
    """That of the weights that a training with these ingredients gives."""
    return hashlib.sha256(f"{stage} {json.dumps(ingredients, sort_keys=True)}".encode()).hexdigest()


def ingredients_of(stage: int, shards: str = SHARDS, **knobs) -> dict:
    """What decides a stage's result, from knobs of train.py."""
    knobs = {"shards": "shards", "run": "run", "deepspeed_config": "ds.json", "batch_size": 12} | knobs
    told = {f"--{name}": value for name, value in knobs_of_stage(TrainConfig(**knobs), stage).items()}
    told = json.loads(json.dumps(told))
    return told | {DATA: shards, STAGE_ONE: None, "global batch": 32}


def train(run: Path, stages=(1,), shards: str = SHARDS, system: str = "mERE-LS", **knobs) -> Path:
    """Leave a finished training of these stages in a run folder."""
    knobs["system"] = system
    told = {}
    start = None
    for stage in stages:
        ingredients = ingredients_of(stage, shards, **knobs) | {STAGE_ONE: start}
        make_checkpoint(run, stage, ingredients)
        start = weights_digest(stage, ingredients)
        told[f"stage{stage}"] = {"shards": "shards", **knobs}
    write_json(run / "config.json", told)
    return run


def evaluate(
    run: Path,
    records: list[dict],
    k: int | None = None,
    split: str = "test",
    which: str = "best",
    shards: str = SHARDS,
    labels: tuple[str, ...] = ("birth-place", "no_relation"),
    rows: dict[str, int] = ROWS,
    router: dict | None = None,
    precision: str = "fp32",
    triples: str = "one",
    calibration: dict | None = None,
) -> Path:
    """Leave an evaluation in a trained run folder: the path of its scores."""
    model = trained_model(RunFolder(run), which)
    languages = {record["lang"] for record in records}
    files = [{"language": language, "rows": rows.get(language, 0)} for language in sorted(languages)]
    manifest = SimpleNamespace(sha256=shards, source="shards", labels=list(labels), files=files)
    path = run / "evaluation" / f"{evaluation_name(split, k)}.json"
    about = {
        "split": split, "k": k or 3, "which": which, "precision": precision,
        "system": model.system, "seed": model.seed, "stage": model.stage,
    }  # fmt: skip
    if triples == "many":
        about |= {"triples": "many", "calibration": calibration}
    write_evaluation(path, about, records, router, made_from(model, manifest))
    return path
