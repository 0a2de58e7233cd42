"""The output folder: `pretraining.json` and `tensorboard/` from the start, `checkpoint.safetensors` while it trains,
and at the end an encoder as transformers saves it, `config.json`, tokenizer and `model.safetensors`, which comes last,
with `SHA256SUMS` of these.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mere_ds.encoders.sources import encoder_damage
from mere_ds.encoders.tokens import TOKENIZER_FILES, save_tokenizer
from mere_ds.encoders.weights import save_model
from mere_ds.errors import MachineError, UserError
from mere_ds.files import naming, parents_of, read_json, write_json
from mere_ds.knobs import defaults_of
from mere_ds.lease import WriterLease
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.sums import SUMS, write_sums

MODEL = "model.safetensors"
_ADVICE = "restore it, choose another --out, or --overwrite"

_PROOF = "sha256"
_DAMAGED = "remove it to pretrain from the beginning, with the same command"

log = logging.getLogger("mere_ds")


class PretrainFolder:
    """The one place that knows what the folder holds and how far it has come."""

    def __init__(self, root: str | Path) -> None:
        """UserError for a folder with something else in it."""
        self.root = Path(root)
        self._told = self.root / "pretraining.json"
        self._writer = self.root / "writer.json"
        self._checkpoint = self.root / "checkpoint.safetensors"
        self.tensorboard = self.root / "tensorboard"
        if self.root.exists() and not (self.root.is_dir() and (self._told.is_file() or not self._others())):
            raise UserError(f"--out={self.root}: holds something else: choose another folder")

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Make the folder and be its one writer; where the block fails before `start`, the folder goes again.

        Raises MachineError while another process pretrains into it.
        """
        with parents_of(self._told):
            lease = WriterLease.take(self._writer, flag="--out")
            try:
                yield
            finally:
                lease.release()

    def start(self, told: dict, overwrite: bool) -> None:
        """Records what this training was told; UserError if one with other values began here and isn't to go."""
        for path in self.root.iterdir():
            if not path.name.startswith(self._writer.name) and (overwrite or not self._told.is_file()):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not self._told.is_file():
            with _written(self._told):
                write_json(self._told, {"told": told})
            return
        before = defaults_of(PretrainSettings) | self._recorded()["told"]  # an older run may not know all knobs
        other = [f"{name} {before.get(name)} -> {told[name]}" for name in told if before.get(name) != told[name]]
        if other:
            raise UserError(
                f"{self.root} was begun otherwise ({'; '.join(other)}): choose another --out or --overwrite"
            )

    @property
    def result(self) -> dict | None:
        """What `finish` recorded; None before."""
        return self._recorded().get("result")

    def _others(self) -> bool:
        """Whether more lies here than a start leaves that was killed before it could write down what it was told."""
        ours = (self._writer.name, f".{self._told.name}.")
        return not all(path.name.startswith(ours) for path in self.root.iterdir())

    def _recorded(self) -> dict:
        recorded = read_json(self._told, _ADVICE)
        if not isinstance(recorded.get("told"), dict) or not isinstance(recorded.get("result", {}), dict):
            raise UserError(f"{self._told}: not what a pretraining records: {_ADVICE}")
        return recorded

    def save_checkpoint(
        self, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, scaler: dict
    ) -> None:
        """All that going on after `step` steps needs; the file holds either the old state or the new, whole."""
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
        part = self._checkpoint.with_name(self._checkpoint.name + ".part")
        with _written(self._checkpoint, part):
            told = {"step": str(step), "scaler": json.dumps(scaler)}
            save_file(tensors, part, metadata={**told, _PROOF: _proof(tensors, told)})
            os.replace(part, self._checkpoint)

    def load_checkpoint(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> int:
        """Puts the checkpoint's state into the three and returns its step; 0 where there is none.

        Raises UserError for one that is not as it was written.
        """
        if not os.path.lexists(self._checkpoint):
            return 0
        tensors, metadata = self._read_checkpoint()
        states: dict[int, dict[str, torch.Tensor]] = {}
        weights = {}
        for key, tensor in tensors.items():
            kind, name = key.split(".", 1)
            if kind == "model":
                weights[name] = tensor
            else:
                number, name = name.split(".")
                states.setdefault(int(number), {})[name] = tensor
        model.load_state_dict(weights)
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        if scale := json.loads(metadata["scaler"]):  # empty where the steps so far were not in fp16
            scaler.load_state_dict(scale)
        return int(metadata["step"])

    def _read_checkpoint(self) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """Tensors and metadata, proven by the digest among these; one of before there were digests is logged."""
        try:
            with safe_open(self._checkpoint, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self._checkpoint} can't be read ({error}): {_DAMAGED}") from None
        proof = metadata.pop(_PROOF, None)
        if set(metadata) != {"step", "scaler"} or proof not in (None, _proof(tensors, metadata)):
            raise UserError(f"{self._checkpoint} is damaged, it has another digest than it names: {_DAMAGED}")
        if proof is None:
            log.warning("%s is of an older version, without a digest: damage to it may go unseen", self._checkpoint)
        return tensors, metadata

    def finish(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, result: dict) -> None:
        """Writes the encoder, the weights last: without them no command takes the folder for an encoder."""
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
            write_json(self._told, self._recorded() | {"result": result})
            self._checkpoint.unlink(missing_ok=True)

    def check_finished(self) -> None:
        """Raises UserError unless the encoder is as `finish` wrote it; one without `SHA256SUMS` need only be there."""
        if os.path.lexists(self.root / SUMS):
            what = encoder_damage(self.root)
        else:
            missing = [n for n in ("config.json", MODEL, *TOKENIZER_FILES) if not (self.root / n).is_file()]
            what = f"{missing[0]} is missing" if missing else None
            if not missing:
                log.warning("%s has no %s, as of an older version: damage to it may go unseen", self.root, SUMS)
        if what:
            raise UserError(f"{self.root} is finished but damaged ({what}): put the file back, or --overwrite")


def _proof(tensors: dict[str, torch.Tensor], told: dict[str, str]) -> str:
    """sha256 (hex) of everything in a checkpoint."""
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextlib.contextmanager
def _written(path: Path, part: Path | None = None) -> Iterator[None]:
    """MachineError where `path` can't be written; what was to become it goes."""
    try:
        with naming(path):
            yield
    except (OSError, SafetensorError) as error:
        if part:
            with contextlib.suppress(OSError):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        raise MachineError(f"{path} can't be written ({error}): make room or choose another --out") from error
