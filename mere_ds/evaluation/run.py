"""Score trained runs on a split of their shards."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from mere_ds.config import Which
from mere_ds.encoders.tokenizer_files import read_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.calibration import calibrated, reliability
from mere_ds.evaluation.predictions import evaluation_name
from mere_ds.evaluation.provenance import made_from, write_evaluation
from mere_ds.evaluation.recording import Recorder
from mere_ds.evaluation.scoring import EVALUATION_BATCH, batches
from mere_ds.model.calibration import Calibration
from mere_ds.model.packing import pack
from mere_ds.model.parts import MereParts
from mere_ds.model.precision import DTYPES, check_available
from mere_ds.model.switcher import LanguageSwitcher, Switcher
from mere_ds.model.use import UsedMere, load_in_memory
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import TrainedModel, trained_model
from mere_ds.shards.batch import Batch
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.remote import CACHE_GIB


@dataclass
class Candidate:
    """A run's model and its answers with each k."""

    trained: TrainedModel
    model: Any
    """As `load_for_use` gives it."""
    manifest: Manifest
    recorders: dict[int | None, Recorder]
    results: list[dict] = field(default_factory=list)

    def joins(self, other: "Candidate") -> bool:
        """Whether it can use the other's features; if so, its own encoder and LA are released."""
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
    which: Which = "best",
    shard_cache: str | None = None,
    precision: str = "fp32",
) -> list[dict]:
    """Scores of each run's model with each k (None: as trained), also written to `RUN/evaluation/NAME.json` (see
    `evaluation_name`). The layers before the switcher run only once for all k and all runs that share them.

    Results are in the order of runs, then of k; see `provenance.write_evaluation`. k is None without a switcher.
    `shards` None: those that each run was trained on, which must be unchanged. `precision` is one of `DTYPES`. Raises
    UserError for a run, shards, k or precision that don't fit, before anything is scored.
    """
    if not runs:
        raise UserError("RUN is missing: pass one run folder or more")
    if not ks:
        raise UserError("--k is empty: pass one number or more, such as --k=1,2")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_available(precision, device)
    passes: list[list[Candidate]] = []
    candidates = [_open(run, shards, split, ks, which, shard_cache, DTYPES[precision]) for run in runs]
    for one in candidates:
        for others in passes:
            if one.joins(others[0]):
                others.append(one)
                break
        else:
            passes.append([one])
    about = {"split": split, "k": None, "which": which, "precision": precision}
    for group in passes:
        _answer_all(group, split, device)
        for one in group:
            one.results = [_write(one, about, k) for k in ks]
    return [result for one in candidates for result in one.results]


def _open(
    run: str,
    shards: str | None,
    split: str,
    ks: Sequence[int | None],
    which: Which,
    shard_cache: str | None,
    dtype: torch.dtype,
) -> Candidate:
    """The arguments of `evaluate_runs` for one run, loaded and checked."""
    trained = trained_model(RunFolder(run), which)
    for k in ks:
        trained.check_k(k)
    manifest = _manifest(trained, shards, shard_cache)
    model = load_in_memory(trained.folder, dtype)
    if differences := manifest.differences(model.config.languages, model.config.labels, others_too=True):
        raise UserError(f"{manifest.source} does not fit the model in {trained.folder}: it {differences}")
    kind = getattr(model.config, "triples", "one")  # HERBERTa has one in any case
    if manifest.triples != kind:
        raise UserError(
            f"{manifest.source} was made with --triples={manifest.triples}, but the model in {trained.folder} is of "
            f"--triples={kind}: pass such --shards"
        )
    tokenizer = read_tokenizer(trained.folder)
    manifest.check_tokenizer(tokenizer.fingerprint)
    manifest = manifest.only(model.config.languages)
    if not manifest.splits[split].sentences and not (split == "test" and any(manifest.missed_test.values())):
        languages = ", ".join(manifest.languages)
        raise UserError(f"{manifest.source}: contains no {split} sentence in {languages}, so there is nothing to score")
    calibration = Calibration.load(trained.folder)
    return Candidate(trained, model, manifest, {k: Recorder(manifest, split, tokenizer, calibration) for k in ks})


def _manifest(trained: TrainedModel, shards: str | None, shard_cache: str | None) -> Manifest:
    """Manifest of the shards to score on. Raises UserError if they are the default but have changed since the training:
    their dev or test sentences may have been trained on."""
    settings = trained.run.settings(trained.stage)
    place = settings.get("shards") if shards is None else shards
    if place is None:
        raise UserError(f"{trained.run.config}: does not record the shards of the training: pass --shards")
    manifest = Manifest.load(
        place, shard_cache or settings.get("shard_cache"), settings.get("shard_cache_gib", CACHE_GIB)
    )
    if shards is None and manifest.sha256 != trained.trained_on:
        raise UserError(
            f"{place}: not the shards that {trained.folder} was trained on (sha256 of manifest.json was "
            f"{trained.trained_on[:12]}..., is {manifest.sha256[:12]}...): restore them, train again (--overwrite), or "
            f"pass --shards={place} to score on these different data"
        )
    return manifest


@torch.no_grad()
def _answer_all(group: Sequence[Candidate], split: str, device: torch.device) -> None:
    """Run all models of a group on every sentence; they share the first one's encoder and LA."""
    first = group[0]
    for one in group:
        one.model.to(device)
        if isinstance(one.model, UsedMere):
            pack(one.model)
    several = sum(len(one.recorders) for one in group) > 1
    total = -(-first.manifest.splits[split].sentences // EVALUATION_BATCH)
    for batch in tqdm(batches(first.manifest, split, device), desc=split, total=total, unit="batch", disable=None):
        features = None
        if several and isinstance(first.model, MereParts):
            features = first.model.unify(batch.token_ids_BM, batch.mask_BM)
        for one in group:
            one.answer(batch, features)


def _write(one: Candidate, about: dict, k: int | None) -> dict:
    """Write the predictions and their scores."""
    path = one.trained.run.evaluation / f"{evaluation_name(about['split'], k)}.json"
    records = tqdm(one.recorders[k].records(), desc=f"writing {path.stem}", unit="sentence", disable=None)
    switcher = getattr(one.model, "switcher", None)  # HERBERTa has none
    trained = one.trained
    if one.manifest.triples == "many":
        about = about | {"triples": "many", "calibration": _reliability(one.recorders[k], one.manifest.languages)}
    about = about | {
        "k": switcher and (k or one.model.config.top_k),
        **{"system": trained.system, "seed": trained.seed, "stage": trained.stage},
    }
    router = switcher and _router(switcher, one.model.config.languages)
    return write_evaluation(path, about, records, router, made_from(trained, one.manifest))


def _reliability(recorder: Recorder, languages: list[str]) -> dict:
    """The calibration that was used, and how far the scores of all candidates are probabilities, before and after."""
    found = recorder.candidates()
    scores = {"raw": found.raw_F, "calibrated": calibrated(found, recorder.calibration, languages)}
    return recorder.calibration.as_dict() | {name: reliability(x_F, found.right_F) for name, x_F in scores.items()}


def _router(switcher: Switcher | LanguageSwitcher, languages: list[str]) -> dict | None:
    """Each language's f_1 to f_T of eq. 5 (Figure 8); None without a router."""
    f_NT = switcher.probabilities()
    return None if f_NT is None else {"languages": languages, "probabilities": f_NT.tolist()}
