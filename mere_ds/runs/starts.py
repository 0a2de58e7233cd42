"""`starts.jsonl`: what each start of a training was made by, one JSON object per line."""

from pathlib import Path
from typing import Any

from mere_ds.files import json_line, write_whole
from mere_ds.versions import made_by

STARTS = "starts.jsonl"


def record_start(folder: Path, ranks: int, **where: Any) -> dict:
    """Add a line to a training's folder and return it: `where` the training starts, in JSON types, and
    `versions.made_by`.

    Raises OSError that names the file; what it held before stays.
    """
    start = where | made_by(ranks)
    path = folder / STARTS
    before = path.read_bytes() if path.exists() else b""
    write_whole(path, before + json_line(start))
    return start
