"""How a result was produced: versions, commit, hardware, date and command line."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import mere_ds

LIBRARIES = ("torch", "deepspeed", "transformers")
"""The libraries that results depend on."""
_SECONDS = 30  # timeout of git


def versions() -> dict[str, str]:
    """Versions of this program, Python and `LIBRARIES` ("not installed" if missing) by name, without importing them."""
    found = {"mere_ds": mere_ds.__version__, "python": platform.python_version()}
    return found | {name: version_of(name) for name in LIBRARIES}


def version_of(library: str) -> str:
    """That of an installed library, without importing it; "not installed" if it is missing."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def commit(package: Path | None = None) -> str | None:
    """The commit of the checkout that this program runs from, followed by "-dirty" if tracked files have changed.

    `package` is this program's folder. None outside a checkout, inside another project's checkout that doesn't track
    the folder, and if git is missing or fails.
    """
    package = package or Path(mere_ds.__file__).parent
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # may name others
    ours["GIT_OPTIONAL_LOCKS"] = "0"

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *words],
            check=True,
            capture_output=True,
            text=True,
            env=ours,
            timeout=_SECONDS,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    except (OSError, subprocess.SubprocessError):
        return None


def cpu_model() -> str:
    """The processor's name, as far as the system reports it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def made_by(ranks: int) -> dict:
    """How a training on `ranks` ranks is run, in JSON types; the hardware is that of this process's node.

    `{"date", "command", "versions", "commit", "hardware": {"device", "count", "ranks"}}`. `device` is the GPU's name,
    `count` the number of GPUs; without a GPU they are the processor's name and the number of cores that this process
    may use.
    """
    import torch

    gpus = torch.cuda.device_count()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "versions": versions(),
        "commit": commit(),
        "hardware": {
            "device": torch.cuda.get_device_name() if gpus else cpu_model(),
            "count": gpus or len(os.sched_getaffinity(0)),
            "ranks": ranks,
        },
    }
