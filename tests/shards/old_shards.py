"""Shards as older versions wrote them."""

import json
from pathlib import Path

import numpy as np

from mere_ds.files import digest_of_json
from mere_ds.shards.manifest import SPLITS, Manifest
from mere_ds.shards.packing import save_arrays


def as_version_4(folder: Path) -> Path:
    """Makes a folder one of before shards had indices of their own; returns it."""
    manifest, arrays = Manifest.load(folder), dict[str, np.ndarray]()
    for split in SPLITS:
        arrays |= {f"{split}_lengths": manifest.lengths(split), f"{split}_languages": manifest.language_ids(split)}
    index = save_arrays(folder / "index.npz", arrays)
    plain = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del plain["digest"]
    plain |= {"version": 4, "index_sha256": index.sha256, "index_bytes": index.bytes}
    for shard in (shard for split in plain["splits"].values() for shard in split["shards"]):
        (folder / shard.pop("index")["file"]).unlink()
    text = json.dumps(plain | {"digest": digest_of_json(plain)}, ensure_ascii=False, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return folder
