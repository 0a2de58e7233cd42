"""A run -> a folder with what is needed to use its model, and no more."""

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mere_ds
from mere_ds.backends.with_torch import TorchBackend
from mere_ds.config import Which
from mere_ds.encoders.tokenizer_files import TOKENIZER_FILES
from mere_ds.errors import MachineError, UserError
from mere_ds.exporting.card import CARD, card
from mere_ds.exporting.facts import Weights, gather, manifest_of
from mere_ds.exporting.formats import FORMATS
from mere_ds.exporting.rounding import WARNED, f1_lost
from mere_ds.files import check_apart, read_json, write_json, write_whole
from mere_ds.model.calibration import CALIBRATION
from mere_ds.runs.trained import EXPORTED, TrainedModel, check_weights, used_model
from mere_ds.sums import OPTIMIZER, STATE, write_sums
from mere_ds.target import making

COPIED = ("config.json", *TOKENIZER_FILES, CALIBRATION)
"""Files that a model is used with as they are in its checkpoint; not every model has a calibration."""

_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True)
class Exported:
    """What an export made."""

    folder: Path
    files: dict[str, int]
    """Bytes by name."""
    notes: list[str]
    """What the card doesn't say, and what is unusual about the model, a line each."""


def export_model(
    run: str | Path,
    out: str | Path,
    which: Which = "best",
    to: str = "safetensors",
    precision: str = "fp32",
    license: str | None = None,
    datasets: tuple[str, ...] = (),
    overwrite: bool = False,
) -> Exported:
    """Write the folder `out`: the model of a run, of a checkpoint or of an export with weights in one of `FORMATS`, its
    tokenizer, calibration, model card and digests. Equal runs give equal bytes.

    Raises UserError for a model that can't be used yet, a stale evaluation, malformed ids, and if `out` exists (with
    `overwrite`: and is no exported model); MachineError for a full disk. Then `out` stays as it was.
    """
    out = Path(out)
    license = _checked_license(license)
    for name in datasets:
        if not _ID.fullmatch(name):
            raise UserError(
                f"--datasets={name}: not the id of a data set on the Hugging Face hub, such as name or org/name"
            )
    model, stored = _source(run, which)
    if to == "safetensors" and stored not in ("fp32", precision):
        raise UserError(
            f"{run}: its weights are rounded to {stored} already: pass --precision={stored}, or the run itself"
        )
    check_apart("OUT", out, RUN=run)
    _check_replaced(out)
    needed = sum(path.stat().st_size for path in model.folder.iterdir() if path.name != OPTIMIZER)
    with making(out, overwrite, needed, STATE, "mere-ds model") as work:
        part = work / "part"
        part.mkdir()
        loaded = TorchBackend.load(model.folder, precision="fp32").model  # says whatever keeps it from being used
        facts, notes = gather(model, loaded.config)
        for name in COPIED:
            if (model.folder / name).exists():
                shutil.copyfile(model.folder / name, part / name)
        weights = FORMATS[to](loaded, model.folder, part, precision)
        if stored not in ("fp32", precision):
            weights = replace(weights, remarks=(*weights.remarks, f"They were made from weights rounded to {stored}."))
        write_json(part / STATE, _state(model, to, precision))
        if precision == "int8":
            weights, told = _with_loss(weights, model, loaded, part)
            notes += told
        write_sums(part)  # the card has no digest, for it is meant to be edited
        write_whole(part / CARD, card(out.resolve().name, facts, weights, license, datasets).encode())
        files = {path.name: path.stat().st_size for path in sorted(part.iterdir())}
    unfinished = [f"stage {model.stage} is not finished: this is its model at step {model.step}"]
    return Exported(out, files, unfinished * (not model.finished) + notes)


def _source(place: str | Path, which: Which) -> tuple[TrainedModel, str]:
    """The model to export, and the precision of its weights; one that is exported already counts as the checkpoint that
    it was made from. Raises UserError."""
    model = used_model(place, which)
    check_weights(model)
    made = model.exported
    if made is None:
        return model, "fp32"
    return replace(model, sha256=made["from"], finished=model.state["finished"]), made["precision"]


def _with_loss(weights: Weights, model: TrainedModel, loaded: Any, folder: Path) -> tuple[Weights, list[str]]:
    """What the card tells of rounded weights, with the F1 that they lose; and a note if it isn't known, or is much."""
    try:
        lost, measured_on = f1_lost(loaded, folder, manifest_of(model, loaded.config.languages))
    except (UserError, MachineError) as error:
        return weights, [f"what int8 loses in F1 was not measured: {error}"]
    warning = f"int8 loses {lost['average']:.2f} points of triple F1 on average, on {measured_on}"
    remarks = (*weights.remarks, f"What they lose in F1 was measured on {measured_on}.")
    return replace(weights, remarks=remarks, f1_lost=lost), [warning] * (lost["average"] > WARNED)


def _state(model: TrainedModel, to: str, precision: str) -> dict:
    """What using a model asks of training.json, and where it came from."""
    made = {"from": model.sha256, "to": to, "precision": precision, "mere_ds": mere_ds.__version__}
    return {
        "stage": model.stage,
        "step": model.step,
        "finished": model.finished,
        "ingredients": model.ingredients,
        EXPORTED: made,
    }


def _check_replaced(out: Path) -> None:
    """Raises UserError for a checkpoint, which has a training.json too, but can't be made again by exporting."""
    if (out / STATE).is_file() and EXPORTED not in read_json(out / STATE, "choose another folder"):
        raise UserError(f"{out}: is a checkpoint, not an exported model: choose another folder for OUT")


def _checked_license(license: str | None) -> str | None:
    """Raises UserError for what can't be an id of a licence on the hub."""
    if license is not None and not _LICENSE.fullmatch(license := license.lower()):
        raise UserError(f"--license={license}: pass the hub's id of a licence, such as apache-2.0, cc-by-4.0 or other")
    return license
