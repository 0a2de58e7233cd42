"""What a run tells while it runs: a progress bar, `metrics.jsonl` and TensorBoard, all on rank 0.

Shape suffixes: N languages, T sub-modules, D hidden size.
"""

import json
import math
import sys
import time

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm

from mere_ds.runs.run_folder import RunFolder

BEST = "best/dev"
"""TensorBoard's name of the score that named a stage's best epoch."""


class Monitor:
    """Writes one stage's records after `step`; does nothing where `writes` is false (ranks other than 0)."""

    def __init__(self, folder: RunFolder, stage: int, step: int, total_steps: int, writes: bool) -> None:
        self.stage, self.writes = stage, writes
        if writes:
            self._metrics = folder.metrics.open("a", encoding="utf-8", buffering=1)
            self._board = SummaryWriter(str(folder.tensorboard(stage)), purge_step=step + 1)
            seconds = 1 if sys.stderr.isatty() else 30  # in a log file each refresh stays
            self._bar = tqdm(initial=step, total=total_steps, desc=f"stage {stage}", unit="step", mininterval=seconds)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_) -> None:
        if self.writes:
            self._bar.close()
            self._board.close()
            self._metrics.close()

    def flush(self) -> None:
        """Let TensorBoard have all records: what a checkpoint covers must not be lost."""
        if self.writes:
            self._board.flush()

    def step_done(self) -> None:
        if self.writes:
            self._bar.update()

    def record(self, kind: str, step: int, epoch: int, values: dict) -> None:
        """One record: nested names become TensorBoard tags `kind/name` or `kind/language/name`.

        What isn't finite is null in `metrics.jsonl`, for JSON has no other word for it, and no point in TensorBoard.
        """
        if not self.writes:
            return
        values = _finite(values)
        row = {"stage": self.stage, "kind": kind, "step": step, "epoch": epoch, "time": round(time.time(), 3), **values}
        self._metrics.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        for tag, value in _flat(kind, values):
            self._board.add_scalar(tag, value, step)
        if kind == "train" and values["loss"] is not None:
            self._bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)

    def stage_done(self, step: int, knobs: dict, best: float, languages: list[str], weights: dict) -> None:
        """A stage's end: its knobs and best dev score as TensorBoard's hparams, and Figure 8 where a router learns.

        `weights` are the whole model's tensors by name; the model's own may be scattered over the ranks.
        """
        if not self.writes:
            return
        known = {name: value if isinstance(value, bool | int | float) else str(value) for name, value in knobs.items()}
        for summary in hparams(known, {BEST: None}):
            self._board.file_writer.add_summary(summary)
        self._board.add_scalar(BEST, best, step)
        if "switcher.router.weight" in weights:
            from mere_ds.evaluation.report.plots import router_heat_map  # matplotlib takes a second to import

            E_ND, W_TD = weights["switcher.languages.weight"], weights["switcher.router.weight"]
            f_TN = (W_TD @ E_ND.T).softmax(dim=0)  # eq. 5
            self._board.add_figure("router", router_heat_map(f_TN.numpy(), languages), step, close=False)


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(prefix: str, values: dict):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}/{name}", value)
        elif isinstance(value, int | float):
            yield f"{prefix}/{name}", value
