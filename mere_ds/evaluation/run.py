"""Score a trained run on a split of its shards."""

from collections.abc import Sequence

import torch
from torch import nn
from tqdm import tqdm

from mere_ds.encoders.sources import fingerprint, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.predictions import evaluation_name, read_predictions, write_predictions
from mere_ds.evaluation.recording import Recorder
from mere_ds.evaluation.scoring import EVALUATION_BATCH, batches
from mere_ds.evaluation.summary import scores_of
from mere_ds.inference import check_k
from mere_ds.model.loading import load_model
from mere_ds.model.precision import DTYPES, check_available
from mere_ds.model.triple import MereOutput, TripleModel
from mere_ds.shards.batch import Batch
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.remote import CACHE_GIB
from mere_ds.training.run_folder import RunFolder, write_json


def evaluate_run(
    run: str,
    shards: str | None,
    split: str,
    ks: Sequence[int | None] = (None,),
    which: str = "best",
    shard_cache: str | None = None,
    precision: str = "fp32",
) -> list[dict]:
    """Scores of a run's model with each k (None: as trained), also written to `RUN/evaluation/{NAME}.json`, NAME as in
    `evaluation_name`. What comes before the switcher runs once for all of them.

    Each is `{"split", "k", "which", "system", "seed", ..., "router"}` with all of `summary.scores_of`, which is made
    from the predictions in `{NAME}.jsonl` beside it; k is null where there is no switcher. `precision` is one of
    `DTYPES`. Raises UserError for a run, shards, k or precision that don't fit.
    """
    if not ks:
        raise UserError("--k= names no number")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_available(precision, device)
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
    for k in ks:
        if k is not None:
            check_k(model, k)
    model = model.to(device, DTYPES[precision])
    recorders = {k: Recorder(manifest, split, tokenizer) for k in ks}
    total = -(-manifest.splits[split].sentences // EVALUATION_BATCH)
    for batch in tqdm(batches(manifest, split, device), desc=split, total=total, unit="batch", disable=None):
        for recorder, output in zip(recorders.values(), _outputs(model, batch, list(recorders)), strict=True):
            recorder.add(batch, output)
    about = {"split": split, "which": which, "precision": precision, **{x: told.get(x) for x in ("system", "seed")}}
    return [_write(folder, about, model, k, recorder) for k, recorder in recorders.items()]


@torch.no_grad()
def _outputs(model: TripleModel, batch: Batch, ks: Sequence[int | None]) -> list[MereOutput]:
    """With each k; several share the frozen part's features."""
    sentences = batch.token_ids_BM, batch.mask_BM
    features = model.unify(*sentences) if len(ks) > 1 else None
    return [model(*sentences, batch.languages_B, k=k, features=features) for k in ks]


def _write(folder: RunFolder, about: dict, model: TripleModel, k: int | None, recorder: Recorder) -> dict:
    """The predictions, and the scores made of them."""
    path = folder.evaluation / f"{evaluation_name(about['split'], k)}.jsonl"
    write_predictions(path, tqdm(recorder.records(), desc=f"writing {path.name}", unit="sentence", disable=None))
    switcher = getattr(model, "switcher", None)  # HERBERTa has no place for one
    result = {
        **about,
        "k": switcher and (k or model.config.top_k),
        **scores_of(read_predictions(path)),
        "router": switcher and _router(switcher, model.config.languages),
    }
    write_json(path.with_suffix(".json"), result)
    return result


def _router(switcher: nn.Module, languages: list[str]) -> dict | None:
    """Each language's f_1 to f_T of eq. 5 (Figure 8); None where there is no router."""
    f_NT = switcher.probabilities()
    return None if f_NT is None else {"languages": languages, "probabilities": f_NT.tolist()}
