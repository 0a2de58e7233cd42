"""Score a trained run on a split of its shards."""

import json

import torch
from tqdm import tqdm

from mere_ds.encoders.sources import fingerprint, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.scoring import EVALUATION_BATCH, score_split
from mere_ds.inference import check_k
from mere_ds.model.mere import MereModel
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.remote import CACHE_GIB
from mere_ds.training.run_folder import RunFolder, write_json


def evaluate_run(
    run: str, shards: str | None, split: str, k: int | None, which: str, shard_cache: str | None = None
) -> dict:
    """Scores of a run's model, also written to `RUN/evaluation/{split}.json`.

    `{"split", "k", "languages": {"de": {"sentences", "relation", "pair", "head", "tail", "triple", ...}},
    "average": {...}, "pooled": {...}}`, F1 in percent. Raises UserError for a run, shards or k that don't fit.
    """
    folder = RunFolder(run)
    model_folder = folder.trained_model(which)
    told = json.loads(folder.config.read_text(encoding="utf-8"))["stage1"] if folder.config.exists() else {}
    shards = told["shards"] if shards is None else shards
    manifest = Manifest.load(shards, shard_cache or told.get("shard_cache"), told.get("shard_cache_gib", CACHE_GIB))
    manifest.check_tokenizer(fingerprint(load_tokenizer(model_folder)))
    model = MereModel.from_pretrained(model_folder).eval()
    if manifest.labels != model.config.labels or manifest.languages != model.config.languages:
        raise UserError(f"{shards} has other labels or languages than the model in {model_folder}")
    if k is not None:
        check_k(model, k)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sentences = manifest.splits[split].sentences
    with tqdm(total=-(-sentences // EVALUATION_BATCH), desc=split, unit="batch", disable=None) as bar:
        result = score_split(model.to(device), manifest, split, device, k=k, on_batch=lambda *_: bar.update())
    result = {"split": split, "k": k or model.config.top_k, **result}
    write_json(folder.evaluation / f"{split}.json", result)
    return result
