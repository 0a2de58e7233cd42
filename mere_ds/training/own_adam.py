"""DeepSpeed's own Adam, which it compiles at its first use: not on a CPU, and not behind a lock that nobody opens."""

import os
import time
from pathlib import Path

import torch
from torch.utils import cpp_extension

from mere_ds.errors import UserError


def check_own_adam(ds: dict, device: torch.device, patience: float) -> None:
    """Return when DeepSpeed can have the optimizer of its config; at once for torch's.

    A process that compiles holds a lock file, for which all others wait without end, and leaves it behind when it is
    killed: here they wait until the file is `patience` seconds old. Raises UserError for such a file, and on a CPU for
    an Adam that isn't compiled yet.
    """
    if ds["optimizer"].get("params", {}).get("torch_adam"):
        return
    offload = ds.get("zero_optimization", {}).get("offload_optimizer") or {}
    name = "cpu_adam" if offload.get("device") == "cpu" else "fused_adam"
    folder = Path(cpp_extension._get_build_directory("", verbose=False)) / name
    if device.type == "cpu" and not (folder / f"{name}.so").exists():
        raise UserError(
            'the optimizer of DeepSpeed\'s config would be compiled for minutes: add "torch_adam": true and "fused": '
            "true to its params, as --deepspeed_config=cpu has them"
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
                f"{lock} is {age:.0f} seconds old: whoever compiled DeepSpeed's Adam was killed. Remove this file if "
                "no other training is compiling now, then run the same command again"
            )
        time.sleep(0.2)
