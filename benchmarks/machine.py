"""What the machine can do at most, measured beside what we do: matrix products, memory copies; and where time goes."""

import os
import time
from dataclasses import dataclass, field

import torch
from torch.profiler import ProfilerActivity, profile

from mere_ds.versions import cpu_model


def point_links(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Ceiling:
    """Best rates of one device in one precision; every figure measured is kept."""

    device: torch.device
    dtype: torch.dtype
    size: int = 2048
    gemm: list[float] = field(default_factory=list)
    """FLOP a second of a product of two `size` x `size` matrices."""
    copy: list[float] = field(default_factory=list)
    """Bytes a second, read and written."""

    def measure_gemm(self) -> float:
        a, b = (torch.randn(self.size, self.size, device=self.device, dtype=self.dtype) for _ in range(2))
        self.gemm.append(2 * self.size**3 / self._best(lambda: a @ b))
        return self.gemm[-1]

    def measure_copy(self) -> float:
        source = torch.randn(64 << 20, device=self.device)
        target = torch.empty_like(source)
        self.copy.append(2 * source.nbytes / self._best(lambda: target.copy_(source)))
        return self.copy[-1]

    def profile(self, work) -> str:
        """The operations that took most time, a row each: share of all, milliseconds, calls."""
        gpu = self.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as recorded:
            work()
        time_of = (lambda e: e.self_device_time_total) if gpu else (lambda e: e.self_cpu_time_total)
        events = sorted(recorded.key_averages(), key=time_of, reverse=True)
        total = sum(map(time_of, events))
        rows = [f"| `{e.key}` | {100 * time_of(e) / total:.1f} % | {e.count} |" for e in events[:12]]
        return "\n".join(["| operation | of the time | calls |", "|---|---|---|", *rows])

    def _best(self, work, repeats: int = 5) -> float:
        """Seconds of the fastest of some runs."""
        work()
        seconds = []
        for _ in range(repeats):
            point_links(self.device)
            started = time.perf_counter()
            work()
            point_links(self.device)
            seconds.append(time.perf_counter() - started)
        return min(seconds)

    def __str__(self) -> str:
        if self.device.type == "cuda":
            return f"one {torch.cuda.get_device_name(self.device)}"
        return (
            f"{len(os.sched_getaffinity(0))} cores of {cpu_model()} ({torch.backends.cpu.get_cpu_capability()}), no GPU"
        )
