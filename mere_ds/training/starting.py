"""`--start`: stage one takes over what fits of a run's trained model, and the log says what that is."""

import logging
from pathlib import Path

from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.model.loading import load_model
from mere_ds.model.transfer import Matched, Transfer, take_over
from mere_ds.model.triple import TripleModel
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import TrainedModel, check_run, check_weights, used_model
from mere_ds.shards.manifest import Manifest, shortened
from mere_ds.sums import STATE

log = logging.getLogger("mere_ds")


def find_start(place: str | None) -> TrainedModel | None:
    """The model of `place`, a run or a checkpoint: of a run the best of stage one, whose heads know no Switcher, or of
    stage two if stage one is elsewhere. None for None. Raises UserError."""
    if place is None:
        return None
    is_checkpoint = (Path(place) / STATE).is_file()
    try:
        if not is_checkpoint and Path(place).exists():  # else it may be on the hub
            check_run(RunFolder(place))
        start = used_model(place, "best" if is_checkpoint or not RunFolder(place).has_begun(1) else "stage1")
        check_weights(start)
    except UserError as error:
        raise UserError(f"--start: {error}") from None
    return start


def described(start: TrainedModel) -> dict:
    """What a run's records say of the model that it started from."""
    return {"path": str(start.folder), "sha256": start.sha256, "stage": start.stage, "step": start.step}


def start_from(start: TrainedModel, model: TripleModel, manifest: Manifest) -> Transfer:
    """Put all of `start` that fits into a new `model` for these shards, and log what does and what doesn't.

    Raises UserError if `start` is damaged or has another encoder.
    """
    old = load_model(start.folder)
    vocabularies = [load_tokenizer(folder).get_vocab() for folder in (manifest.encoder_folder, Path(start.folder))]
    try:
        transfer = take_over(model, old, *vocabularies)
    except UserError as error:
        raise UserError(f"--start={start.folder}: {error}") from None
    _log(start, transfer)
    return transfer


def _log(start: TrainedModel, transfer: Transfer) -> None:
    log.info(
        "started from %s: stage %d, step %d, sha256 %s...", start.folder, start.stage, start.step, start.sha256[:12]
    )
    for what in ("tokens", "languages", "labels", "weights"):
        matched: Matched = getattr(transfer, what)
        shown = _by_parts(matched) if what == "weights" else matched
        log.info(
            "%s: %s; %s; %s",
            what,
            _counted(matched.taken, "taken over", shown.taken if what != "tokens" else []),
            _counted(matched.new, "new here", shown.new),
            _counted(matched.left, "not used", shown.left),
        )


def _by_parts(weights: Matched) -> Matched:
    """The model's parts of which something was taken over; others by part, or by weight where the part was taken."""
    parts = list(dict.fromkeys(name.split(".")[0] for name in weights.taken))

    def named(names: list[str]) -> list[str]:
        heads = {name: name.split(".")[0] for name in names}
        return list(dict.fromkeys(name if part in parts else part for name, part in heads.items()))

    return Matched(parts, named(weights.new), named(weights.left))


def _counted(all_names: list[str], verb: str, shown: list[str]) -> str:
    return f"{len(all_names)} {verb}" + (f" ({shortened(shown)})" if shown else "")
