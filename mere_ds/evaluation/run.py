"""Score trained runs on a split of their shards."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from tqdm import tqdm

from mere_ds.encoders.sources import fingerprint, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.predictions import evaluation_name, read_predictions
from mere_ds.evaluation.recording import Recorder
from mere_ds.evaluation.scoring import EVALUATION_BATCH, batches
from mere_ds.evaluation.summary import scores_of
from mere_ds.files import write_json, write_json_lines
from mere_ds.inference import check_k
from mere_ds.model.loading import load_model
from mere_ds.model.precision import DTYPES, check_available
from mere_ds.model.triple import TripleModel
from mere_ds.shards.batch import Batch
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.remote import CACHE_GIB
from mere_ds.training.run_folder import RunFolder


@dataclass
class Candidate:
    """A run's model and what it answers, with each k."""

    folder: RunFolder
    model: TripleModel
    manifest: Manifest
    recorders: dict[int | None, Recorder]
    results: list[dict] = field(default_factory=list)

    def joins(self, other: "Candidate") -> bool:
        """Whether it can take the other's features; then it lets go of its own encoder and LA."""
        return self.manifest == other.manifest and self.model.share_unifying_parts(other.model)

    @torch.no_grad()
    def answer(self, batch: Batch, features: tuple[torch.Tensor, torch.Tensor] | None) -> None:
        for k, recorder in self.recorders.items():
            output = self.model(batch.token_ids_BM, batch.mask_BM, batch.languages_B, k=k, features=features)
            recorder.add(batch, output)


def evaluate_runs(
    runs: Sequence[str],
    shards: str | None,
    split: str,
    ks: Sequence[int | None] = (None,),
    which: str = "best",
    shard_cache: str | None = None,
    precision: str = "fp32",
) -> list[dict]:
    """Scores of each run's model with each k (None: as trained), also written to `RUN/evaluation/{NAME}.json`, NAME as
    in `evaluation_name`. What comes before the switcher runs once for every k and every run that has the same.

    In the order of runs, each with its k. Each is `{"split", "k", "which", "system", "seed", ..., "router"}` with all
    of `summary.scores_of`, which is made from the predictions in `{NAME}.jsonl` beside it; k is null where there is no
    switcher. `precision` is one of `DTYPES`. Raises UserError for a run, shards, k or precision that don't fit, before
    anything is scored.
    """
    if not runs:
        raise UserError("name at least one run")
    if not ks:
        raise UserError("--k= names no number")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_available(precision, device)
    passes: list[list[Candidate]] = []
    candidates = [_open(run, shards, split, ks, which, shard_cache) for run in runs]
    for one in candidates:
        for others in passes:
            if one.joins(others[0]):
                others.append(one)
                break
        else:
            passes.append([one])
    about = {"split": split, "which": which, "precision": precision}
    for group in passes:
        _answer_all(group, split, device, DTYPES[precision])
        for one in group:
            one.results = [_write(one, about, k) for k in ks]
    return [result for one in candidates for result in one.results]


def _open(run, shards, split, ks, which, shard_cache) -> Candidate:
    """What `evaluate_runs` was told, loaded and checked."""
    folder = RunFolder(run)
    model_folder = folder.trained_model(which)
    told = folder.told
    shards = told["shards"] if shards is None else shards
    manifest = Manifest.load(shards, shard_cache or told.get("shard_cache"), told.get("shard_cache_gib", CACHE_GIB))
    model = load_model(model_folder).eval()
    tokenizer = load_tokenizer(model_folder)
    manifest.check_tokenizer(fingerprint(tokenizer))
    if manifest.labels != model.config.labels or not set(model.config.languages) <= set(manifest.languages):
        raise UserError(f"{shards} has other labels or languages than the model in {model_folder}")
    manifest = manifest.only(model.config.languages)
    for k in ks:
        if k is not None:
            check_k(model, k)
    return Candidate(folder, model, manifest, {k: Recorder(manifest, split, tokenizer) for k in ks})


@torch.no_grad()
def _answer_all(group: Sequence[Candidate], split: str, device: torch.device, dtype: torch.dtype) -> None:
    """Let all models of a pass answer every sentence; the first one's encoder and LA serve them all."""
    first = group[0]
    for one in group:
        one.model.to(device, dtype)
    several = sum(len(one.recorders) for one in group) > 1
    total = -(-first.manifest.splits[split].sentences // EVALUATION_BATCH)
    for batch in tqdm(batches(first.manifest, split, device), desc=split, total=total, unit="batch", disable=None):
        features = first.model.unify(batch.token_ids_BM, batch.mask_BM) if several else None
        for one in group:
            one.answer(batch, features)


def _write(one: Candidate, about: dict, k: int | None) -> dict:
    """The predictions, and the scores made of them."""
    path = one.folder.evaluation / f"{evaluation_name(about['split'], k)}.jsonl"
    records = one.recorders[k].records()
    write_json_lines(path, tqdm(records, desc=f"writing {path.name}", unit="sentence", disable=None))
    switcher = getattr(one.model, "switcher", None)  # HERBERTa has no place for one
    result = {
        **about,
        **{name: one.folder.told.get(name) for name in ("system", "seed")},
        "k": switcher and (k or one.model.config.top_k),
        **scores_of(read_predictions(path)),
        "router": switcher and _router(switcher, one.model.config.languages),
    }
    write_json(path.with_suffix(".json"), result)
    return result


def _router(switcher: nn.Module, languages: list[str]) -> dict | None:
    """Each language's f_1 to f_T of eq. 5 (Figure 8); None where there is no router."""
    f_NT = switcher.probabilities()
    return None if f_NT is None else {"languages": languages, "probabilities": f_NT.tolist()}
