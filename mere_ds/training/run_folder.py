"""A run's folder: `config.json, log.txt, metrics.jsonl, writer.json, tensorboard/, checkpoints/, evaluation/`, and
`features/` while stage two trains."""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mere_ds.errors import UserError
from mere_ds.files import read_json, write_json, write_whole
from mere_ds.sums import STATE
from mere_ds.training.checkpoint import checkpoints_in


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
    def writer(self) -> Path:
        """The lease of the process that trains here now."""
        return self.root / "writer.json"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def features(self) -> Path:
        """What stage two computes once, while it trains."""
        return self.root / "features"

    def tensorboard(self, stage: int) -> Path:
        return self.root / "tensorboard" / f"stage{stage}"

    @property
    def report_board(self) -> Path:
        """TensorBoard's images of the last report that this run was in."""
        return self.root / "tensorboard" / "report"

    def stage(self, stage: int) -> Path:
        return self.root / "checkpoints" / f"stage{stage}"

    def model(self, stage: int, which: str) -> Path:
        """Folder of a saved model; `which` is best or latest."""
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
            if (self.model(stage, which) / STATE).is_file():
                return self.model(stage, which)
        raise UserError(f"{self.root}: no trained model here (checkpoints/stage1/{which} is missing); train it first")

    def started(self, stage: int) -> dict:
        """What the stage was told at its first start, if there is something to go on from; else {}."""
        return self._recorded().get(f"stage{stage}", {}) if checkpoints_in(self.stage(stage)) else {}

    @property
    def told(self) -> dict:
        """The knobs of the furthest stage that has begun here; {} where none is recorded."""
        recorded = self._recorded()
        return recorded.get("stage2") or recorded.get("stage1", {})

    def start_stage(self, stage: int, config: dict) -> None:
        """Make room for a stage that starts from scratch, and record what it was told."""
        shutil.rmtree(self.stage(stage), ignore_errors=True)
        shutil.rmtree(self.tensorboard(stage), ignore_errors=True)
        self.cut_metrics(stage, 0)
        write_json(self.config, self._recorded() | {f"stage{stage}": config})

    def cut_metrics(self, stage: int, step: int) -> None:
        """Drop a stage's records after `step`: these steps are made again."""
        if not self.metrics.exists():
            return
        kept = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # a kill may have cut the last line
                record = json.loads(line)
                if record["stage"] != stage or record["step"] <= step:
                    kept.append(line + "\n")
        write_whole(self.metrics, "".join(kept).encode())

    def _recorded(self) -> dict:
        return read_json(self.config, "restore it, or start another --run") if self.config.exists() else {}
