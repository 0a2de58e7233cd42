"""The file `manifest.json`: its version, and a digest of its own content that reveals any change.

From version 3 on it ends with `"digest"`, the sha256 of all other entries in canonical form. Version 2 had none. From
version 4 on a sentence has any number of triples; before, it had one. From version 5 on each shard has an index of its
own; before, `index.npz` had all sentences.
"""

import json
import logging

from mere_ds.errors import UserError
from mere_ds.files import digest_of_json, parse_json
from mere_ds.shards.packing import ADVICE

VERSION = 5
_SEALED = (3, 4, VERSION)
_UNSEALED = 2
_DIGEST = "digest"

log = logging.getLogger("mere_ds")


def seal(entries: dict) -> bytes:
    """The content of `manifest.json`; equal entries give equal bytes. Replaces an existing digest."""
    plain = {**entries, "version": VERSION}
    plain.pop(_DIGEST, None)
    plain[_DIGEST] = digest_of_json(plain)
    return (json.dumps(plain, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def unseal(content: bytes, path: str) -> dict:
    """The entries of a `manifest.json` without version and digest. Raises UserError that names `path`.

    Version 2 has no digest to check; that is logged as a warning.
    """
    plain = parse_json(content, path, ADVICE)
    version, digest = plain.pop("version", None), plain.get(_DIGEST)
    if type(version) is not int or version not in (_UNSEALED, *_SEALED):
        raise UserError(f"{path}: not version {VERSION}, the one this mere-ds reads: run mere-ds shard again")
    if (version in _SEALED) != (digest is not None):
        raise UserError(f"{path}: damaged, its entries do not match its version: {ADVICE}")
    if version in _SEALED:
        del plain[_DIGEST]
        if digest != digest_of_json({**plain, "version": version}):
            raise UserError(f"{path}: damaged, its content does not match its digest: {ADVICE}")
    else:
        log.warning("%s: version 2 has no digest of itself, so damage to it may not be detected", path)
    return plain
