"""Guards DeepSpeed's own Adam, which is compiled at first use: not on a CPU, and no endless wait for a stale lock."""

import os
import time
from pathlib import Path

import torch

from mere_ds.errors import UserError


def check_own_adam(ds: dict, device: torch.device, patience: float) -> None:
    """Wait until the optimizer of DeepSpeed's config can be used; torch's is available immediately.

    A compiling process holds a lock file, for which all others wait forever, and leaves it behind if it is killed.
    Here the wait ends with a UserError once the file is `patience` seconds old. Also raises UserError on a CPU for an
    Adam that isn't compiled yet.
    """
    if ds["optimizer"].get("params", {}).get("torch_adam"):
        return
    from torch.utils import cpp_extension  # imports setuptools, which most trainings don't need

    offload = ds.get("zero_optimization", {}).get("offload_optimizer") or {}
    name = "cpu_adam" if offload.get("device") == "cpu" else "fused_adam"
    folder = Path(cpp_extension._get_build_directory("", verbose=False)) / name
    if device.type == "cpu" and not (folder / f"{name}.so").exists():
        raise UserError(
            'DeepSpeed would need minutes to compile the optimizer of its config: add "torch_adam": true and '
            '"fused": true to the optimizer\'s params, as in --deepspeed_config=cpu'
        )
    _wait_for(folder / "lock", patience)


def _wait_for(lock: Path, patience: float) -> None:
    while True:
        try:
            age = time.time() - os.stat(lock).st_mtime
        except FileNotFoundError:
            return
        if age > patience:
            raise UserError(
                f"{lock} is {age:.0f} seconds old, so the process that compiled DeepSpeed's Adam was probably killed: "
                "if no other training is compiling now, remove this file and run the same command again"
            )
        time.sleep(0.2)
