"""The output folder of a pretraining.

`pretraining.json`, `starts.jsonl` and `tensorboard/` exist from the start, `checkpoints/` while it trains. At the end
comes an encoder in transformers' format: `config.json`, tokenizer, `SHA256SUMS` of all files and, written last,
`model.safetensors`.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mere_ds.encoders.sources import encoder_damage
from mere_ds.encoders.tokenizer_files import TOKENIZER_FILES
from mere_ds.encoders.tokens import save_tokenizer
from mere_ds.encoders.weights import save_model
from mere_ds.errors import MachineError, UserError
from mere_ds.files import naming, parents_of, read_json, write_json
from mere_ds.knobs import defaults_of
from mere_ds.lease import WriterLease
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.runs.checkpoint import Checkpoints
from mere_ds.runs.starts import STARTS, record_start
from mere_ds.sums import SUMS, write_sums

MODEL = "model.safetensors"
_ADVICE = "restore it, choose another --out, or start again with --overwrite"

log = logging.getLogger("mere_ds")


class PretrainFolder:
    """The contents and the progress of the folder; the only place that knows its layout."""

    def __init__(self, root: str | Path) -> None:
        """Raises UserError if the folder contains something else."""
        self.root = Path(root)
        self._record = self.root / "pretraining.json"
        self._writer = self.root / "writer.json"
        self._older = self.root / "checkpoint.safetensors"
        self.checkpoints = Checkpoints(self.root / "checkpoints", keep=1)
        self.tensorboard = self.root / "tensorboard"
        if self.root.exists() and not (self.root.is_dir() and (self._record.is_file() or not self._others())):
            raise UserError(f"--out={self.root}: contains other files: choose another folder")

    @contextlib.contextmanager
    def taken(self) -> Iterator[WriterLease]:
        """Create the folder and hold its lease; if the block fails before `start`, the folder is removed again.

        Raises MachineError while another process writes to it.
        """
        with parents_of(self._record):
            lease = WriterLease.take(self._writer, flag="--out")
            try:
                yield lease
            finally:
                lease.release()

    def start(self, ingredients: dict, overwrite: bool) -> None:
        """Record what determines this training's result; raises UserError if a different one was started here."""
        for path in self.root.iterdir():
            if not path.name.startswith(self._writer.name) and (overwrite or not self._record.is_file()):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not self._record.is_file():
            with _written(self._record):
                write_json(self._record, {"told": ingredients})
            return
        before = defaults_of(PretrainSettings) | self._recorded()["told"]  # an older run may lack some knobs
        other = [
            f"{name} {before.get(name)} -> {ingredients[name]}"
            for name in ingredients
            if before.get(name) != ingredients[name]
        ]
        if other:
            raise UserError(
                f"{self.root} was started with other settings ({'; '.join(other)}): choose another --out, or start "
                "again with --overwrite"
            )
        if os.path.lexists(self._older) and self.result is None:
            raise UserError(f"{self._older} was written by an older version: start again with --overwrite")

    def record_start(self, step: int) -> dict:
        """Record this start, at `step`, in `starts.jsonl` (see `runs.starts`). Raises MachineError."""
        with _written(self.root / STARTS):
            return record_start(self.root, ranks=1, step=step)

    @property
    def result(self) -> dict | None:
        """The result recorded by `finish`; None before that."""
        return self._recorded().get("result")

    def _others(self) -> bool:
        """Whether the folder contains files other than those left by a start that was killed before recording."""
        ours = (self._writer.name, f".{self._record.name}.")
        return not all(path.name.startswith(ours) for path in self.root.iterdir())

    def _recorded(self) -> dict:
        recorded = read_json(self._record, _ADVICE)
        if not isinstance(recorded.get("told"), dict) or not isinstance(recorded.get("result", {}), dict):
            raise UserError(f"{self._record}: not a record of a pretraining: {_ADVICE}")
        return recorded

    def finish(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, result: dict) -> None:
        """Write the encoder, with the weights last: without them no command treats the folder as an encoder."""
        part = self.root / "part"
        encoder.config.architectures = [type(encoder).__name__]
        weights = {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
        with _written(self.root, part):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            save_tokenizer(tokenizer, part)
            save_model(part, encoder.config, weights)
            write_sums(part)
            for path in sorted(part.iterdir(), key=lambda path: path.name == MODEL):
                os.replace(path, self.root / path.name)
            part.rmdir()
            write_json(self._record, self._recorded() | {"result": result})
            shutil.rmtree(self.checkpoints.folder, ignore_errors=True)

    def check_finished(self) -> None:
        """Raises UserError if the encoder is damaged; without `SHA256SUMS`, if one of its files is missing."""
        if os.path.lexists(self.root / SUMS):
            what = encoder_damage(self.root)
        else:
            missing = [n for n in ("config.json", MODEL, *TOKENIZER_FILES) if not (self.root / n).is_file()]
            what = f"{missing[0]} is missing" if missing else None
            if not missing:
                log.warning("%s has no %s (older version), so damage can't be detected", self.root, SUMS)
        if what:
            raise UserError(
                f"{self.root} is finished but damaged ({what}): restore the file, or start again with --overwrite"
            )


@contextlib.contextmanager
def _written(path: Path, part: Path | None = None) -> Iterator[None]:
    """Raises MachineError if `path` can't be written, and then removes the incomplete `part`."""
    try:
        with naming(path):
            yield
    except (OSError, SafetensorError) as error:
        if part:
            with contextlib.suppress(OSError):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        raise MachineError(f"{path} can't be written ({error}): free disk space or choose another --out") from error
