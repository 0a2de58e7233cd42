"""Another commit of this repository, to measure it beside this one."""

import subprocess
from pathlib import Path

from mere_ds.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def checked_out(ref: str, folder: Path, *parts: str) -> Path:
    """Another commit's mere_ds and `parts`, in a folder below `folder`. Raises UserError if there is no such commit."""
    place = folder / "before"
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", ref, "mere_ds", *parts]
    archive = subprocess.run(command, capture_output=True)
    if archive.returncode:
        raise UserError(f"--against={ref}: {archive.stderr.decode().strip()}: pass a commit of this repository")
    place.mkdir()
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive.stdout, check=True)
    return place
