"""The installed programs and DeepSpeed's launcher, started as a user would."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def environment() -> dict[str, str]:
    """A user's, on a machine without GPUs and outside any launcher."""
    env = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    env["PATH"] = f"{BIN}{os.pathsep}{env['PATH']}"
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        env.pop(name, None)
    return env


def start_program(program: str, *argv) -> subprocess.Popen:
    """The same as `run_program`, but let it run."""
    return subprocess.Popen(
        [str(BIN / program), *map(str, argv)], env=environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def run_program(program: str, *argv, stdin: str | None = None, timeout: int = 300) -> subprocess.CompletedProcess:
    """Run an installed console program as a user would, from another folder than the repository's."""
    return subprocess.run(
        [str(BIN / program), *map(str, argv)], env=environment(), input=stdin, capture_output=True, text=True,
        timeout=timeout,
    )  # fmt: skip


def mere_ds(*argv, **kwargs) -> subprocess.CompletedProcess:
    return run_program("mere-ds", *argv, **kwargs)


# Each process that runs tests has its own. Higher ones the kernel gives away by itself, maybe before they are used.
_ports = itertools.cycle(range(first := 10_000 + os.getpid() % 220 * 100, first + 100))


def free_port() -> int:
    """A port where nobody listens, and that no other test will use."""
    for port in _ports:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as torch's store does
            s.bind(("", port))
            return port


def deepspeed_train(*flags, ranks: int = 2, timeout: int = 600) -> subprocess.CompletedProcess:
    """`deepspeed mere_ds/train.py` through DeepSpeed's own launcher."""
    return run_program(
        "deepspeed", "--num_gpus", ranks, "--master_port", free_port(), REPOSITORY / "mere_ds" / "train.py", *flags,
        timeout=timeout,
    )  # fmt: skip


def deepspeed_config(folder: Path, zero: int | str = 1, precision: str = "fp32") -> Path:
    """`zero` is ZeRO's stage, or the included config with its settings."""
    path = folder / f"ds_zero{zero}_{precision.replace(' ', '_')}.json"
    config = {
        "optimizer": {"type": "AdamW", "params": {"torch_adam": True, "fused": True}},
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": zero} if isinstance(zero, int) else _included(zero)["zero_optimization"],
    }
    if precision == "bf16 autocast":
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    elif precision != "fp32":
        config[precision] = {"enabled": True}
    path.write_text(json.dumps(config))
    return path


def _included(name: str) -> dict:
    return json.loads((REPOSITORY / "ds_configs" / f"{name}.json").read_text())


def records(run: Path, kind: str = "train", stage: int = 1) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [r for r in rows if r["kind"] == kind and r["stage"] == stage]


def weights(run: Path, stage: int) -> dict:
    """All tensors of the stage's best model."""
    return load_file(run / f"checkpoints/stage{stage}/best/model.safetensors")


def succeeded(result: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    assert result.returncode == 0, f"exit code {result.returncode}\n{result.stdout[-3000:]}\n{result.stderr[-6000:]}"
    return result
