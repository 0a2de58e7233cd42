"""Checkpoints on disk: each is whole or not there, and proves it by digests.

A stage's folder holds `step-00000123/` and, for an epoch's end with its dev scores, `step-00000400-epoch-2/`. Each is a
transformers folder with `optimizer.safetensors` and `training.json`, and `SHA256SUMS` over them (`sha256sum -c` reads
it). The links `latest` and `best` name two of them.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from mere_ds.errors import MachineError, UserError
from mere_ds.files import PART, naming, read_json, sync
from mere_ds.sums import OPTIMIZER, STATE, damage, write_sums

log = logging.getLogger("mere_ds")

LINKS = ("latest", "best")
_ADVICE = "copy the checkpoint again, or train this stage again (--overwrite)"
_NAME = re.compile(r"step-\d{8,}(-epoch-\d+)?")
TALLY_TERMS = 6
"""Terms of the loss in a kept tally."""
_TALLY_SUMS = TALLY_TERMS + 5  # the loss itself, its terms, sentences, tokens, places, waited
_ENTRIES = {
    **dict.fromkeys(("step", "epoch", "skipped", "epochs_since_best"), (int,)),
    **dict.fromkeys(("best_dev", "ingredients", "counters"), (dict,)),
    **dict.fromkeys(("finished", "cached_features"), (bool,)),
    "best": (str, type(None)),
    "best_score": (float,),
}
"""What continuing reads of `training.json`, with its types."""


class Checkpoints:
    """One stage's checkpoints; only rank 0 uses it."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def newest_whole(self) -> Path | None:
        """The newest checkpoint that is as it was written; None if none was ever written.

        Newer ones that are damaged are set aside as `damaged-...`, with a warning. Raises UserError, and sets nothing
        aside, if there are checkpoints and every one is damaged, or the one that the newest whole one names as best.
        """
        damaged = {}
        for path in [self.folder / link for link in LINKS]:
            if what := self._adopt(path):
                damaged[path] = what
        for path in checkpoints_in(self.folder):
            what = damage(path) or _oddity(path)
            if what is None:
                break
            damaged[path] = what
        else:
            if damaged:
                raise UserError(f"every checkpoint in {self.folder} is damaged; --overwrite trains this stage again")
            return None
        self._check_best(state_of(path)["best"], path)
        for part in self.folder.glob(f"*{PART}"):  # a save or a removal that was cut off
            shutil.rmtree(part, ignore_errors=True)
        for bad, what in damaged.items():
            self._set_aside(bad, what)
        self._link("latest", path.name)
        return path

    def _adopt(self, path: Path) -> str | None:
        """Where a copy followed the link `path`, a checkpoint lies in the link's place: give it its own name back.

        Returns what is wrong with it, if anything; then it stays where it is.
        """
        if path.is_symlink() or not path.exists():
            return None
        if what := damage(path) or _oddity(path):
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
        """Raises UserError where the checkpoint that `newest` names as best is lost: no later one replaces it."""
        if best in (None, newest.name):
            return
        path = self.folder / best
        if what := damage(path, unused=(OPTIMIZER,)) or _oddity(path):
            what = f"damaged ({what})" if path.exists() else "missing"
            raise UserError(
                f"{path}, the best checkpoint so far, is {what}: put a copy of it back, or train this stage again "
                "(--overwrite)"
            )

    def _set_aside(self, bad: Path, what: str | None) -> None:
        aside = self.folder / f"damaged-{bad.name}"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(bad, aside)
        log.warning("checkpoint %s is damaged (%s) and set aside as %s", bad.name, what, aside)

    def write(self, name: str, fill: Callable[[Path], None], best: str | None) -> None:
        """Let `fill` make the files, then show the checkpoint under its name; `best` names the best one from now on.

        Raises MachineError if that fails; what was there before stays whole.
        """
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
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            kept = checkpoints_in(self.folder)
            last = f"{kept[0].name} is whole" if kept else "there is none yet"
            reason = error.strerror if isinstance(error, OSError) else error
            raise MachineError(
                f"checkpoint {target} could not be written: {reason}. The last checkpoint: {last}; make room, then the "
                "same command resumes from there"
            ) from error

    def prune(self, best: str | None) -> None:
        """Link the best one and remove what is neither among the newest `keep` nor best to one of these."""
        if best:
            self._link("best", best)
        newest = checkpoints_in(self.folder)[: self.keep]
        wanted = {path.name for path in newest} | {_best_to(path) for path in newest}
        for path in checkpoints_in(self.folder):
            if path.name not in wanted:
                _remove(path)

    def _link(self, link: str, name: str) -> None:
        """Point the link `link` to the checkpoint `name` in one step."""
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


def state_of(checkpoint: Path) -> dict:
    """What `training.json` in a checkpoint says. Raises UserError where that is nothing to resume from."""
    path = checkpoint / STATE
    state = read_json(path, _ADVICE)
    for name, types in _ENTRIES.items():
        value = state.get(name)
        if name not in state or type(value) not in types or type(value) is int and value < 0:
            raise UserError(f"{path}: {name!r} is missing or of another type: {_ADVICE}")
    if state["best"] is not None and not _NAME.fullmatch(state["best"]):
        raise UserError(f"{path}: 'best' is not a checkpoint's name: {_ADVICE}")
    if (state["best"] is None) == bool(state["best_dev"]):
        raise UserError(f"{path}: one of 'best' and 'best_dev' is missing: {_ADVICE}")
    if state["epoch"] > state["step"]:
        raise UserError(f"{path}: {state['step']} steps can't be {state['epoch']} epochs: {_ADVICE}")
    counters = state["counters"]
    if type(counters.get("updates")) is not int or not isinstance(counters.get("loss_scaler"), dict):
        raise UserError(f"{path}: 'counters' lacks updates or loss_scaler: {_ADVICE}")
    if not _is_tally(state.get("tally")):
        raise UserError(f"{path}: 'tally' is of another form: {_ADVICE}")
    return state


def _is_tally(kept: object) -> bool:
    """Whether a checkpoint's entry is one that `tally.stored` may have made."""
    if kept is None:
        return True
    if not isinstance(kept, dict) or kept.keys() != {"steps", "seconds", "ranks"}:
        return False
    rows = kept["ranks"]
    if type(kept["steps"]) is not int or not isinstance(rows, list) or not rows:
        return False
    sizes = {len(row) if isinstance(row, list) else 0 for row in rows}
    return sizes == {_TALLY_SUMS} and all(type(x) in (int, float) for x in [kept["seconds"], *sum(rows, [])])


def _oddity(checkpoint: Path) -> str | None:
    """Why a checkpoint whose files are as they were written is nothing to resume from."""
    try:
        name = _own_name(state_of(checkpoint))
    except UserError as error:
        return str(error)
    return None if checkpoint.name in (name, *LINKS) else f"{STATE} is that of {name}"


def _own_name(state: dict) -> str:
    return name_of(state["step"], state["epoch"] if state.get("dev") else None)


def _best_to(checkpoint: Path) -> str | None:
    with contextlib.suppress(UserError):  # an older one may be damaged; nobody has looked
        return state_of(checkpoint)["best"]
    return None


def _remove(checkpoint: Path) -> None:
    part = checkpoint.with_name(checkpoint.name + PART)  # half removed, it must not look like a checkpoint
    os.replace(checkpoint, part)
    shutil.rmtree(part)
