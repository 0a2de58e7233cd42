"""A run's folder: `config.json, log.txt, metrics.jsonl, starts.jsonl, writer.json, tensorboard/, checkpoints/,
evaluation/`, `profile/` with --profile, `tracking.json` with --report_to, and `features/` while stage two trains."""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mere_ds.errors import UserError
from mere_ds.files import parents_of, parse_json, read_json, write_json, write_whole
from mere_ds.runs.checkpoint import checkpoints_in, state_of

log = logging.getLogger("mere_ds")

STAGES = (1, 2)
_NAMES = ("stage1", "stage2")
_COUNTS = {"ranks", "global_batch", "batch_size"}
_ADVICE = "restore it, or choose another --run"


@dataclass(frozen=True)
class RunFolder:
    """Paths and records of a run; the only place that knows the layout of the folder."""

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
        """The lease of the process that is training here."""
        return self.root / "writer.json"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def features(self) -> Path:
        """The features that stage two computes once; kept while it trains."""
        return self.root / "features"

    @property
    def profile(self) -> Path:
        """Traces and tables of `--profile`."""
        return self.root / "profile"

    def tensorboard(self, stage: int) -> Path:
        return self.root / "tensorboard" / f"stage{stage}"

    @property
    def report_board(self) -> Path:
        """TensorBoard images of the last report that included this run."""
        return self.root / "tensorboard" / "report"

    def stage(self, stage: int) -> Path:
        return self.root / "checkpoints" / f"stage{stage}"

    def model(self, stage: int, which: str) -> Path:
        """Folder of a saved model; `which` is "best" or "latest"."""
        return self.stage(stage) / which

    @contextlib.contextmanager
    def created(self) -> Iterator[None]:
        """Create the folder; if the block fails before a stage has started, a newly created folder is removed again.

        Raises UserError if the folder can't be created or holds something else.
        """
        new = not self.root.exists()
        with parents_of(self.root):
            self._make()
            try:
                yield
            except BaseException:
                if new and not self.config.exists():
                    shutil.rmtree(self.root, ignore_errors=True)
                raise

    def _make(self) -> None:
        try:
            self.root.mkdir(exist_ok=True)
            if not os.access(self.root, os.W_OK):
                raise PermissionError(errno.EACCES, "not writable")
        except OSError as error:
            raise UserError(f"--run={self.root}: {error.strerror}") from None
        if not any(checkpoints_in(self.stage(stage)) for stage in STAGES):
            self._recorded()  # another program's config.json must not be replaced

    def check_exists(self) -> None:
        """Raises UserError if the folder does not exist."""
        if not self.root.is_dir():
            what = "a file, not a folder" if self.root.exists() else "no such folder"
            raise UserError(f"{self.root}: {what}: pass the folder of a run")

    def has_begun(self, stage: int) -> bool:
        """Whether a stage was ever started here, even if its checkpoints are gone."""
        return self.stage(stage).is_dir() or f"stage{stage}" in self._recorded()

    def started(self, stage: int) -> dict:
        """The stage's settings at its first start, if there is a checkpoint to resume from; else {}.

        Raises UserError if the settings are lost.
        """
        settings = self._recorded().get(f"stage{stage}", {}) if checkpoints_in(self.stage(stage)) else {}
        if settings and not settings.keys() >= _COUNTS:
            raise UserError(f"{self.config}: stage {stage} has no {' or '.join(_COUNTS - settings.keys())}: {_ADVICE}")
        return settings

    def settings(self, stage: int) -> dict:
        """The knobs of a stage's last start from scratch; {} if none are recorded."""
        return self._recorded().get(f"stage{stage}", {})

    def start_stage(self, stage: int, config: dict) -> None:
        """Remove what an earlier training of this stage left, and record the settings of the new one."""
        others: dict = {}
        with contextlib.suppress(UserError):  # if the record is already damaged, nothing more is lost
            others = self._recorded()
        shutil.rmtree(self.stage(stage), ignore_errors=True)
        shutil.rmtree(self.tensorboard(stage), ignore_errors=True)
        self.cut_metrics(stage, 0)
        write_json(self.config, others | {f"stage{stage}": config})

    def restore_config(self) -> None:
        """Restore a lost or damaged config.json from the checkpoints. Raises UserError and OSError."""
        try:
            self._read_config()
        except UserError as damaged:
            log.warning("%s; restoring it from the checkpoints", damaged)
            if self.config.is_dir():
                os.replace(self.config, self.config.with_name("damaged-config.json"))
            write_json(self.config, self._recorded())

    def cut_metrics(self, stage: int, step: int) -> None:
        """Drop a stage's records after `step`: these steps run again. Unreadable lines are moved to a separate file."""
        if not self.metrics.exists():
            return
        kept, strange = [], []
        *lines, rest = self.metrics.read_bytes().split(b"\n")  # a kill may have cut the last line
        for line in lines:
            match _place_of(line):
                case None:
                    strange.append(line + b"\n")
                case its_stage, its_step if its_stage != stage or its_step <= step:
                    kept.append(line + b"\n")
        if strange:
            aside = self.root / "damaged-metrics.jsonl"
            with aside.open("ab") as file:
                file.writelines(strange)
            log.warning("%s: moved %d damaged lines to %s", self.metrics, len(strange), aside.name)
        write_whole(self.metrics, b"".join(kept))

    def _recorded(self) -> dict[str, dict]:
        """{"stage1", "stage2"}: the settings of each, from config.json or, if that is lost, from the checkpoints."""
        try:
            return self._read_config()
        except UserError as damaged:
            kept = {f"stage{stage}": settings for stage in STAGES if (settings := self._settings_in_checkpoints(stage))}
            if not kept:
                raise damaged from None
            return kept

    def _read_config(self) -> dict[str, dict]:
        """Raises UserError if it is damaged, or missing although there are checkpoints."""
        if not self.config.exists() and not any(checkpoints_in(self.stage(stage)) for stage in STAGES):
            return {}
        recorded = read_json(self.config, _ADVICE)
        if not recorded or not all(name in _NAMES and _are_settings(settings) for name, settings in recorded.items()):
            raise UserError(f"{self.config}: not a run's config.json: {_ADVICE}")
        return recorded

    def _settings_in_checkpoints(self, stage: int) -> dict | None:
        for checkpoint in checkpoints_in(self.stage(stage)):
            with contextlib.suppress(UserError):
                if _are_settings(settings := state_of(checkpoint).get("told")):
                    return settings
        return None


def _are_settings(settings: object) -> bool:
    """Whether this looks like a stage's settings: entries that others read unchecked have the right type."""
    if not isinstance(settings, dict):
        return False
    counts = [settings[name] for name in _COUNTS & settings.keys()]
    words = [settings[name] for name in ("shards", "system") if name in settings]
    return all(type(n) is int and n > 0 for n in counts) and all(isinstance(word, str) for word in words)


def _place_of(line: bytes) -> tuple[int, int] | None:
    """Stage and step of a record in metrics.jsonl; None if the line is not a record."""
    try:
        record = parse_json(line, "", "")
    except UserError:
        return None
    stage, step = record.get("stage"), record.get("step")
    return (stage, step) if type(stage) is int and type(step) is int else None
