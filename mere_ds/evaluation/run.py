"""Score a trained run on a split of its shards."""

import torch
from torch import nn
from tqdm import tqdm

from mere_ds.encoders.sources import fingerprint, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.predictions import evaluation_name, read_predictions, write_predictions
from mere_ds.evaluation.recording import Recorder
from mere_ds.evaluation.scoring import EVALUATION_BATCH, predictions
from mere_ds.evaluation.summary import scores_of
from mere_ds.inference import check_k
from mere_ds.model.loading import load_model
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.remote import CACHE_GIB
from mere_ds.training.run_folder import RunFolder, write_json


def evaluate_run(
    run: str, shards: str | None, split: str, k: int | None, which: str, shard_cache: str | None = None
) -> dict:
    """Scores of a run's model, also written to `RUN/evaluation/{NAME}.json`, NAME as in `evaluation_name`.

    `{"split", "k", "which", "system", "seed", ..., "router"}` with all of `summary.scores_of`, which is made from the
    predictions in `{NAME}.jsonl` beside it; k is null where there is no switcher. Raises UserError for a run, shards or
    k that don't fit.
    """
    folder = RunFolder(run)
    model_folder = folder.trained_model(which)
    told = folder.told
    shards = told["shards"] if shards is None else shards
    manifest = Manifest.load(shards, shard_cache or told.get("shard_cache"), told.get("shard_cache_gib", CACHE_GIB))
    tokenizer = load_tokenizer(model_folder)
    manifest.check_tokenizer(fingerprint(tokenizer))
    model = load_model(model_folder).eval()
    if manifest.labels != model.config.labels or not set(model.config.languages) <= set(manifest.languages):
        raise UserError(f"{shards} has other labels or languages than the model in {model_folder}")
    manifest = manifest.only(model.config.languages)
    if k is not None:
        check_k(model, k)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, recorder = model.to(device), Recorder(manifest, split, tokenizer)
    sentences = manifest.splits[split].sentences
    batches = predictions(model, manifest, split, device, k=k)
    for batch, output in tqdm(batches, desc=split, total=-(-sentences // EVALUATION_BATCH), unit="batch", disable=None):
        recorder.add(batch, output)
    path = folder.evaluation / f"{evaluation_name(split, k)}.jsonl"
    write_predictions(path, tqdm(recorder.records(), desc="writing", total=sentences, unit="sentence", disable=None))
    switcher = getattr(model, "switcher", None)  # HERBERTa has no place for one
    result = {
        **{"split": split, "k": switcher and (k or model.config.top_k), "which": which},
        **{"system": told.get("system"), "seed": told.get("seed")},
        **scores_of(read_predictions(path)),
        "router": switcher and _router(switcher, model.config.languages),
    }
    write_json(path.with_suffix(".json"), result)
    return result


def _router(switcher: nn.Module, languages: list[str]) -> dict | None:
    """Each language's f_1 to f_T of eq. 5 (Figure 8); None where there is no router."""
    f_NT = switcher.probabilities()
    return None if f_NT is None else {"languages": languages, "probabilities": f_NT.tolist()}
