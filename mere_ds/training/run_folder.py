"""A run's folder: `config.json, log.txt, metrics.jsonl, tensorboard/, checkpoints/, evaluation/`."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mere_ds.errors import UserError


@dataclass(frozen=True)
class RunFolder:
    """The one place that knows where a run keeps what."""

    root: Path

    def __init__(self, root: str | Path) -> None:
        object.__setattr__(self, "root", Path(root))

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    def tensorboard(self, stage: int) -> Path:
        return self.root / "tensorboard" / f"stage{stage}"

    def stage(self, stage: int) -> Path:
        return self.root / "checkpoints" / f"stage{stage}"

    def model(self, stage: int, which: str) -> Path:
        """Folder of a saved model; `which` is best or last."""
        return self.stage(stage) / which

    def create(self) -> None:
        """Make the folder; raises UserError where that can't be done."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK):
                raise PermissionError(13, "not writable")
        except OSError as error:
            raise UserError(f"--run={self.root}: {error.strerror}") from None

    def trained_model(self, which: str = "best") -> Path:
        """The furthest trained model in this run; raises UserError if there is none."""
        for stage in (2, 1):
            if (self.model(stage, which) / "training.json").is_file():
                return self.model(stage, which)
        raise UserError(f"{self.root}: no trained model here (checkpoints/stage1/{which} is missing); train it first")

    def start_stage(self, stage: int, config: dict, overwrite: bool) -> None:
        """Make room for a stage and record what it was told; refuses to train over an earlier result."""
        if self.stage(stage).exists():
            if not overwrite:
                raise UserError(f"{self.root} holds a trained stage {stage}; take another --run, or --overwrite it")
            shutil.rmtree(self.stage(stage))
            shutil.rmtree(self.tensorboard(stage), ignore_errors=True)
        recorded = json.loads(self.config.read_text(encoding="utf-8")) if self.config.exists() else {}
        write_json(self.config, recorded | {f"stage{stage}": config})


def write_json(path: Path, content: dict) -> None:
    """Write JSON so that `path` holds either the old content or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
