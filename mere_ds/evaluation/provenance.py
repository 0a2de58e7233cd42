"""What an evaluation was made from: recorded when it is written, checked whenever it is read.

In `RUN/evaluation/test.json`, `made_from` records the checkpoint, what determined its training, the shards, the
versions, and the digest of the predictions beside it; `digest` covers all other entries. File times are never used.
"""

import fcntl
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mere_ds
from mere_ds.config import TWO_STAGES
from mere_ds.errors import UserError
from mere_ds.evaluation.many import scores_of_many
from mere_ds.evaluation.metrics import METRICS
from mere_ds.evaluation.predictions import PredictionsWriter, check_predictions, evaluation_name, read_predictions
from mere_ds.evaluation.summary import scores_of
from mere_ds.files import digest_of_json, read_json, write_json, writing
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import TrainedModel, check_run, trained_model
from mere_ds.versions import versions

if TYPE_CHECKING:  # comparing and reporting go without torch, which shards need
    from mere_ds.shards.manifest import Manifest

_DIGEST = "digest"
_PARTS = {
    **dict.fromkeys(("checkpoint", "trained", "shards", "versions", "predictions", "sentences"), dict),
    "metrics": list,
}
"""The entries of `made_from` and their types."""
ABOUT = frozenset(("split", "k", "which", "precision", "system", "seed", "stage"))
"""The entries that describe an evaluation, besides its scores."""
USUAL = {"which": "best", "precision": "fp32"}
"""How a run is scored by default."""


@dataclass(frozen=True)
class Evaluation:
    """A run's scores on a split, verified to be of the run's current model."""

    run: RunFolder
    path: Path
    content: dict
    """See `write_evaluation`."""
    finished: bool
    """Whether the model's training is finished by now."""
    advice: str
    """The command that makes it again."""

    @property
    def made_from(self) -> dict:
        return self.content["made_from"]

    @property
    def predictions(self) -> Path:
        return self.path.with_suffix(".jsonl")

    def records(self) -> Iterator[dict]:
        """The predictions. Raises UserError if they aren't those that the scores were made from."""
        return read_predictions(self.predictions, self.made_from["predictions"], self.advice)

    @property
    def is_usual(self) -> bool:
        """Whether it is the evaluation that `mere-ds evaluate RUN` makes by default."""
        return self.made_from["shards"]["as_trained"] and all(self.content[name] == USUAL[name] for name in USUAL)

    def remarks(self, precision: bool = True) -> list[str]:
        return remarks(self.content, self.finished, precision)


def made_from(model: TrainedModel, manifest: "Manifest") -> dict:
    """The part of `made_from` that is known before scoring; `manifest` is of the shards to score on."""
    rows: Counter[str] = Counter()
    for file in manifest.files:
        rows[file["language"]] += file["rows"]
    trained = {"stage1": model.stage_one} if model.stage_one else {}
    return {
        "checkpoint": {
            **{"stage": model.stage, "name": model.folder.name, "step": model.step},
            **{"finished": model.finished, "sha256": model.sha256},
        },
        "trained": trained | {f"stage{model.stage}": model.ingredients},
        "shards": {
            **{"place": str(manifest.source), "manifest": manifest.sha256},
            "as_trained": manifest.sha256 == model.trained_on,
            **{"labels": manifest.labels, "rows": dict(rows)},
        },
        "metrics": list(METRICS),
        "versions": versions(),
    }


def write_evaluation(path: Path, about: dict, records: Iterable[dict], router: dict | None, made: dict) -> dict:
    """Write the scores of the records to `path` and the records to a .jsonl beside it; returns the content of `path`.

    It consists of `about` (all of `ABOUT`), `summary.scores_of`, "router", "made_from" and "digest". The two files
    change together: only one process writes at a time, and an error leaves both unchanged.
    """
    with _one_at_a_time(path.parent), writing(path.with_suffix(".jsonl")) as file:
        writer = PredictionsWriter(file)
        scored = scores_of_many if about.get("triples") == "many" else scores_of
        content = about | scored(writer.through(records))
        content |= {"router": router, "made_from": made | writer.facts()}
        file.flush()
        os.fsync(file.fileno())  # a full disk is noticed before the scores change
        write_json(path, content | {_DIGEST: digest_of_json(content)})
    return content


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process writes here. On a file system without locks, mixed-up files are still detected when
    they are read."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_evaluation(run: RunFolder, split: str, k: int | None = None) -> Evaluation:
    """A run's evaluation, made with or without `k`. Raises UserError, with the command that makes it again, unless it
    is intact and of the run's current model."""
    path = run.evaluation / f"{evaluation_name(split, k)}.json"
    plain = _command_for(run, {"split": split}, k)
    check_run(run)
    if not path.exists():
        raise UserError(f"{path}: missing: {plain}")
    content = read_json(path, plain)
    digest, record = content.pop(_DIGEST, None), content.get("made_from")
    if not isinstance(record, dict) or digest is None:
        raise UserError(f"{path}: does not record what it was made from (an older mere-ds wrote it): {plain}")
    if digest != digest_of_json(content):
        raise UserError(f"{path}: damaged, its content does not match its digest: {plain}")
    strange = any(not isinstance(record.get(name), kind) for name, kind in _PARTS.items())
    if strange or not content.keys() >= ABOUT or record["metrics"] != [*METRICS]:
        raise UserError(f"{path}: its metrics or entries are not those of this mere-ds {mere_ds.__version__}: {plain}")
    if content["split"] != split or k not in (None, content["k"]):
        raise UserError(f"{path}: has the scores of split {content['split']} with k = {content['k']}: {plain}")
    advice = _command_for(run, content, k)
    check_predictions(path.with_suffix(".jsonl"), record["predictions"], advice)
    now, then = trained_model(run, content["which"]), record["checkpoint"]
    if now.sha256 != then["sha256"]:
        raise UserError(
            f"{path}: made from {_named(**then)}, but this run's model ({content['which']}) is now "
            f"{_named(now.stage, now.folder.name, now.sha256)}: {advice}"
        )
    return Evaluation(run, path, content, now.finished, advice)


def _named(stage: int, name: str, sha256: str, **_: object) -> str:
    return f"stage {stage}'s {name} (sha256 {sha256[:12]}...)"


def _command_for(run: RunFolder, content: dict, k: int | None = None) -> str:
    """The command that makes an evaluation of this kind."""
    flags = [] if content["split"] == "test" else [f"--split={content['split']}"]
    flags += [] if k is None else [f"--k={k}"]
    flags += [f"--{name}={content[name]}" for name, usual in USUAL.items() if content.get(name, usual) != usual]
    shards = content.get("made_from", {}).get("shards", {})
    flags += [] if shards.get("as_trained", True) else [f"--shards={shlex.quote(shards['place'])}"]
    return f"run {' '.join(['mere-ds evaluate', shlex.quote(str(run.root)), *flags])}"


def check_scored_alike(one: Evaluation, other: Evaluation) -> None:
    """Raises UserError unless two evaluations of a run differ only in k."""
    for name in USUAL:
        _check_equal(one, other, name, one.content[name], other.content[name])
    for name, key in (("checkpoint", "sha256"), ("shards", "manifest")):
        _check_equal(one, other, f"{name} (sha256)", one.made_from[name][key], other.made_from[name][key])


def _check_equal(one: Evaluation, other: Evaluation, name: str, here: str, there: str) -> None:
    if here != there:
        raise UserError(
            f"{other.path}: its {name} is {there[:12]}, but that of {one.path.name} is {here[:12]}: score it the same "
            f"way ({_command_for(one.run, one.content, other.content['k'])}), or remove it"
        )


def check_same_sentences(evaluations: Iterable[Evaluation]) -> None:
    """Raises UserError if two evaluations have different sentences of a language."""
    first: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        for language, asked in evaluation.made_from["sentences"].items():
            other = first.setdefault(language, evaluation)
            before = other.made_from["sentences"][language]
            if asked != before:
                raise UserError(
                    f"{evaluation.path}: its {asked['count']} sentences of {language} (sha256 "
                    f"{asked['sha256'][:12]}...) are not the {before['count']} of {other.path} "
                    f"({before['sha256'][:12]}...): evaluate both on the same test files, or report them separately"
                )


def remarks(content: dict, finished: bool, precision: bool = True) -> list[str]:
    """What is unusual about an evaluation, in a few words each; `precision`: whether to include that of scoring."""
    found = {
        "stage one only": content["stage"] == 1 and content["system"] in TWO_STAGES,
        "latest checkpoint": content["which"] == "latest",
        "training not finished": not finished,
        "not the shards of its training": not content["made_from"]["shards"]["as_trained"],
        f"scored in {content['precision']}": precision and content["precision"] != USUAL["precision"],
    }
    return [remark for remark, holds in found.items() if holds]
