"""Checkpoints on disk: each is either complete or absent, and its digests show that it is intact.

A stage's folder holds `step-00000123/` and, saved at the end of an epoch with its dev scores,
`step-00000400-epoch-2/`. Each is a transformers folder with `optimizer.safetensors`, `training.json` and `SHA256SUMS`
of all files (readable by `sha256sum -c`). The links `latest` and `best` point to two of them.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from mere_ds.errors import MachineError, UserError
from mere_ds.files import PART, naming, read_json, sync
from mere_ds.sums import OPTIMIZER, STATE, damage, write_sums

log = logging.getLogger("mere_ds")

LINKS = ("latest", "best")
ADVICE = "copy the checkpoint again, or train this stage again (--overwrite)"
_NAME = re.compile(r"step-\d{8,}(-epoch-\d+)?")
_FEWEST_SUMS = 6  # of a tally: the loss, its terms (1 or more), sentences, tokens, places, waited
_ENTRIES = {
    **dict.fromkeys(("step", "epoch", "skipped", "epochs_since_best"), (int,)),
    **dict.fromkeys(("best_dev", "ingredients", "counters"), (dict,)),
    **dict.fromkeys(("finished", "cached_features"), (bool,)),
    "best": (str, type(None)),
    "best_score": (float,),
}
"""The entries of `training.json` that a resume reads, with their types."""


class Checkpoints:
    """One stage's checkpoints; only rank 0 uses it."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def newest_whole(self) -> Path | None:
        """The newest intact checkpoint; None if none was ever written.

        Newer ones that are damaged are renamed to `damaged-...`, with a warning. Raises UserError, and renames nothing,
        if all checkpoints are damaged, or if the best checkpoint that the newest intact one names is damaged.
        """
        damaged = {}
        for path in [self.folder / link for link in LINKS]:
            if what := self._adopt(path):
                damaged[path] = what
        for path in checkpoints_in(self.folder):
            what = damage(path) or _why_unusable(path)
            if what is None:
                break
            damaged[path] = what
        else:
            if damaged:
                raise UserError(f"every checkpoint in {self.folder} is damaged: train this stage again (--overwrite)")
            return None
        self._check_best(state_of(path)["best"], path)
        for part in self.folder.glob(f"*{PART}"):  # a save or a removal that was cut off
            shutil.rmtree(part, ignore_errors=True)
        for bad, what in damaged.items():
            self._set_aside(bad, what)
        self._link("latest", path.name)
        return path

    def _adopt(self, path: Path) -> str | None:
        """Restore the name of a checkpoint that a copy left in place of the link `path` (by following the link).

        Returns what is wrong with it, if anything; then it stays where it is.
        """
        if path.is_symlink() or not path.exists():
            return None
        if what := damage(path) or _why_unusable(path):
            return what
        target = self.folder / _own_name(state_of(path))
        if target.exists() and not damage(target):
            _remove(path)
            return None
        if target.exists():
            self._set_aside(target, damage(target))
        os.replace(path, target)
        return None

    def _check_best(self, best: str | None, newest: Path) -> None:
        """Raises UserError if the checkpoint that `newest` names as best is lost: no later one can replace it."""
        if best in (None, newest.name):
            return
        path = self.folder / best
        if what := damage(path, unused=(OPTIMIZER,)) or _why_unusable(path):
            what = f"damaged ({what})" if path.exists() else "missing"
            raise UserError(
                f"{path}, the best checkpoint so far, is {what}: restore it from a copy, or train this stage again "
                "(--overwrite)"
            )

    def _set_aside(self, bad: Path, what: str | None) -> None:
        aside = self.folder / f"damaged-{bad.name}"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(bad, aside)
        log.warning("checkpoint %s is damaged (%s): renamed to %s", bad.name, what, aside)

    def write(self, name: str, fill: Callable[[Path], None], best: str | None) -> None:
        """Write the files with `fill`, then publish the checkpoint as `name`; `best` is the best one from now on.

        Raises MachineError if the files can't be written, and what else `fill` raises; earlier checkpoints stay intact.
        """
        from safetensors import SafetensorError  # only training needs the library

        part, target = self.folder / (name + PART), self.folder / name
        shutil.rmtree(part, ignore_errors=True)
        try:
            with naming(target):
                part.mkdir(parents=True)
                fill(part)
                write_sums(part)
                for path in part.iterdir():
                    sync(path)
                sync(part)
                os.replace(part, target)
                self._link("latest", name)
                self.prune(best)
        except UserError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            kept = checkpoints_in(self.folder)
            last = f"the last checkpoint, {kept[0].name}, is intact" if kept else "there is no earlier checkpoint"
            reason = error.strerror if isinstance(error, OSError) else error
            raise MachineError(
                f"checkpoint {target} could not be written: {reason} ({last}): free some disk space, then run the same "
                "command again to resume"
            ) from error

    def prune(self, best: str | None) -> None:
        """Link the best checkpoint; keep the newest `keep` and those they name as best, and remove the others."""
        if best:
            self._link("best", best)
        newest = checkpoints_in(self.folder)[: self.keep]
        wanted = {path.name for path in newest} | {_best_to(path) for path in newest}
        for path in checkpoints_in(self.folder):
            if path.name not in wanted:
                _remove(path)

    def _link(self, link: str, name: str) -> None:
        """Point the link `link` to the checkpoint `name`, atomically."""
        part = self.folder / (link + PART)
        part.unlink(missing_ok=True)
        part.symlink_to(name)
        os.replace(part, self.folder / link)
        sync(self.folder)


def checkpoints_in(folder: Path) -> list[Path]:
    """A stage's checkpoints, the newest first."""
    found = [path for path in folder.glob("step-*") if path.suffix != PART]
    return sorted(found, key=lambda path: path.name, reverse=True)


def name_of(step: int, epoch: int | None = None) -> str:
    """The name of the checkpoint after `step`; `epoch` where it was saved at that epoch's end."""
    return f"step-{step:08d}" + (f"-epoch-{epoch}" if epoch is not None else "")


def step_of(name: str) -> int:
    """The step of a checkpoint's name."""
    return int(name.split("-")[1])


def state_of(checkpoint: Path) -> dict:
    """The content of a checkpoint's `training.json`. Raises UserError if training can't resume from it."""
    path = checkpoint / STATE
    state = read_json(path, ADVICE)
    for name, types in _ENTRIES.items():
        value = state.get(name)
        if name not in state or type(value) not in types or type(value) is int and value < 0:
            raise UserError(f"{path}: {name!r} is missing or has the wrong type: {ADVICE}")
    if state["best"] is not None and not _NAME.fullmatch(state["best"]):
        raise UserError(f"{path}: 'best' is not the name of a checkpoint: {ADVICE}")
    if (state["best"] is None) == bool(state["best_dev"]):
        raise UserError(f"{path}: one of 'best' and 'best_dev' is missing: {ADVICE}")
    if state["epoch"] > state["step"]:
        raise UserError(f"{path}: {state['epoch']} epochs can't have only {state['step']} steps: {ADVICE}")
    counters = state["counters"]
    if type(counters.get("updates")) is not int or not isinstance(counters.get("loss_scaler"), dict):
        raise UserError(f"{path}: 'counters' lacks updates or loss_scaler: {ADVICE}")
    if not _is_tally(state.get("tally")):
        raise UserError(f"{path}: 'tally' has the wrong format: {ADVICE}")
    return state


def _is_tally(kept: object) -> bool:
    """Whether this value has the format that `tally.stored` writes."""
    if kept is None:
        return True
    if not isinstance(kept, dict) or kept.keys() - {"work"} != {"steps", "seconds", "ranks"}:
        return False
    work = kept.get("work")  # earlier versions have none
    if work is not None and not (isinstance(work, list) and len(work) == 4 and all(map(_is_number, work))):
        return False
    rows = kept["ranks"]
    if type(kept["steps"]) is not int or not isinstance(rows, list) or not rows:
        return False
    sizes = {len(row) if isinstance(row, list) else 0 for row in rows}
    return len(sizes) == 1 and min(sizes) >= _FEWEST_SUMS and all(map(_is_number, [kept["seconds"], *sum(rows, [])]))


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _why_unusable(checkpoint: Path) -> str | None:
    """Why training can't resume from a checkpoint whose files are intact; None if it can."""
    try:
        name = _own_name(state_of(checkpoint))
    except UserError as error:
        return str(error)
    return None if checkpoint.name in (name, *LINKS) else f"its {STATE} belongs to {name}"


def _own_name(state: dict) -> str:
    return name_of(state["step"], state["epoch"] if state.get("dev") else None)


def _best_to(checkpoint: Path) -> str | None:
    with contextlib.suppress(UserError):  # an older one may be damaged: it was not checked
        return state_of(checkpoint)["best"]
    return None


def _remove(checkpoint: Path) -> None:
    part = checkpoint.with_name(checkpoint.name + PART)  # half removed, it must not look like a checkpoint
    os.replace(checkpoint, part)
    shutil.rmtree(part)
