"""Checkpoints on disk: each is whole or not there, and proves it by digests.

A stage's folder holds `step-00000123/` and, for an epoch's end with its dev scores, `step-00000400-epoch-2/`. Each is a
transformers folder with `optimizer.safetensors` and `training.json`, and `SHA256SUMS` over them (`sha256sum -c` reads
it). The links `latest` and `best` name two of them.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from mere_ds.errors import MachineError, UserError
from mere_ds.files import PART, sync
from mere_ds.sums import STATE, damage, write_sums

log = logging.getLogger("mere_ds")


class Checkpoints:
    """One stage's checkpoints; only rank 0 uses it."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def newest_whole(self) -> Path | None:
        """The newest checkpoint that is as it was written; None if none was ever written.

        Newer ones that are damaged are set aside as `damaged-...`, with a warning. Raises UserError if there are
        checkpoints and every one is damaged.
        """
        for part in self.folder.glob(f"*{PART}"):  # a save or a removal that was cut off
            shutil.rmtree(part, ignore_errors=True)
        damaged = {}
        for path in checkpoints_in(self.folder):
            what = damage(path)
            if what is None:
                break
            damaged[path] = what
        else:
            if damaged:
                raise UserError(f"every checkpoint in {self.folder} is damaged; --overwrite trains this stage anew")
            return None
        for bad, what in damaged.items():
            aside = self.folder / f"damaged-{bad.name}"
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(bad, aside)
            log.warning("checkpoint %s is damaged (%s) and set aside as %s", bad.name, what, aside)
        self._link("latest", path.name)
        return path

    def write(self, name: str, fill: Callable[[Path], None], best: str | None) -> None:
        """Let `fill` make the files, then show the checkpoint under its name; `best` names the best one from now on.

        Raises MachineError if that fails; what was there before stays whole.
        """
        part, target = self.folder / (name + PART), self.folder / name
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            fill(part)
            write_sums(part)
            for path in part.iterdir():
                sync(path)
            sync(part)
            os.replace(part, target)
            self._link("latest", name)
            self.settle(best)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            kept = checkpoints_in(self.folder)
            last = f"{kept[0].name} is whole" if kept else "there is none yet"
            reason = error.strerror if isinstance(error, OSError) else error
            raise MachineError(
                f"checkpoint {target} could not be written: {reason}. The last checkpoint: {last}; make room, then the "
                "same command goes on from there"
            ) from error

    def settle(self, best: str | None) -> None:
        """Name the best one and remove what is neither among the newest `keep` nor best to one of these."""
        if best:
            self._link("best", best)
        newest = checkpoints_in(self.folder)[: self.keep]
        wanted = {path.name for path in newest} | {_best_to(path) for path in newest}
        for path in checkpoints_in(self.folder):
            if path.name not in wanted:
                part = path.with_name(path.name + PART)  # half removed, it must not look like a checkpoint
                os.replace(path, part)
                shutil.rmtree(part)

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


def state_of(checkpoint: Path) -> dict:
    """What `training.json` in a checkpoint says."""
    return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))


def _best_to(checkpoint: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError):  # an older one may be damaged; nobody has looked
        return state_of(checkpoint)["best"]
