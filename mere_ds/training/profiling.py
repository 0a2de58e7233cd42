"""`train --profile=STEPS`: which operations a step's time goes into, as a trace for a browser and as a table."""

import gzip
import logging
import tempfile
import time
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from mere_ds.columns import align
from mere_ds.files import write_whole
from mere_ds.training.observers import Beginning, Observer

log = logging.getLogger("mere_ds")

WARM_UP = 3
"""Updates before the profile: the first ones compile, allocate and read ahead."""
_ROWS = 20
_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::_grouped_mm", "mkldnn::_linear_pointwise")
_ATTENTION = ("aten::_scaled_dot_product", "aten::_flash_attention", "aten::_efficient_attention")


class Profile(Observer):
    """Profiles `steps` updates after the first `WARM_UP` ones of this start, on the rank that calls it.

    Writes FOLDER/stage1.json.gz, a trace for chrome://tracing or ui.perfetto.dev, and stage1.txt, a table by
    operation. If training ends before, they have the steps that there were. Changes no number of the training.
    """

    def __init__(self, folder: Path, name: str, steps: int) -> None:
        self._trace, self._table = folder / f"{name}.json.gz", folder / f"{name}.txt"
        self._wanted, self._seen = steps, 0
        self._profile: profile | None = None

    def on_begin(self, beginning: Beginning) -> None:
        self._trace.parent.mkdir(exist_ok=True)
        for old in (self._trace, self._table):
            old.unlink(missing_ok=True)

    def on_step(self, step: int) -> None:
        self._seen += 1
        if self._seen == WARM_UP:
            self._begin()
        elif self._seen == WARM_UP + self._wanted:
            self._finish()

    def on_close(self) -> None:
        if self._seen <= WARM_UP:
            told = "no profile: training made %d updates this time, and the first %d are not profiled"
            log.warning(told, self._seen, WARM_UP)
        self._finish()

    def _begin(self) -> None:
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what came before must not count
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(activities=activities)
        self._profile.start()
        self._started = time.perf_counter()

    def _finish(self) -> None:
        if self._profile is None:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found, steps, seconds = self._profile, self._seen - WARM_UP, time.perf_counter() - self._started
        self._profile = None
        found.stop()
        if not steps:
            return
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace.json"
            found.export_chrome_trace(str(trace))
            write_whole(self._trace, gzip.compress(trace.read_bytes()))
        table = as_text(found, steps, seconds)
        write_whole(self._table, table.encode())
        log.info("profile of %d updates: %s and %s\n%s", steps, self._trace, self._table.name, table)


def as_text(found: profile, steps: int, seconds: float) -> str:
    """The table of a profile of `steps` updates that took `seconds` together."""
    on_gpu = ProfilerActivity.CUDA in found.activities
    times = {
        event.key: ((event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e3, event.count)
        for event in found.key_averages()
        if event.device_type == DeviceType.CPU  # a GPU's kernels count for the operations that started them
    }
    total = sum(milliseconds for milliseconds, _ in times.values()) or 1.0
    products, attention = (
        sum(ms for key, (ms, _) in times.items() if key.startswith(kinds)) / total for kinds in (_PRODUCTS, _ATTENTION)
    )
    longest = sorted(times.items(), key=lambda item: -item[1][0])[:_ROWS]
    rows = [("operation", "calls a step", "self ms a step", "share, %")]
    rows += [(k, f"{n / steps:.1f}", f"{ms / steps:.3f}", f"{100 * ms / total:.1f}") for k, (ms, n) in longest]
    rest = total - sum(ms for _, (ms, _) in longest)
    rows.append((f"{max(0, len(times) - _ROWS)} others", "", f"{rest / steps:.3f}", f"{100 * rest / total:.1f}"))
    where = "on the GPU" if on_gpu else "on the CPU"
    return (
        f"{steps} steps of {1e3 * seconds / steps:.1f} ms with the profiler's own cost, "
        f"{total / steps:.1f} ms of it in operations {where}\n"
        f"matrix products {100 * products:.1f} % of the operations, fused attention {100 * attention:.1f} %\n\n"
        f"{align(rows)}\n"
    )
