"""`manifest.json` as a file: its versions, and a digest of itself, so that no change to it goes unseen.

Version 3 ends with `"digest"`, the sha256 of all other entries in one canonical spelling. Version 2 had none.
"""

import json
import logging

from mere_ds.errors import UserError
from mere_ds.files import digest_of_json, parse_json
from mere_ds.shards.packing import ADVICE

VERSION = 3
_UNSEALED = 2
_DIGEST = "digest"

log = logging.getLogger("mere_ds")


def seal(entries: dict) -> bytes:
    """The content of `manifest.json`; equal entries give equal bytes. Replaces a digest that is there."""
    plain = {**entries, "version": VERSION}
    plain.pop(_DIGEST, None)
    plain[_DIGEST] = digest_of_json(plain)
    return (json.dumps(plain, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def unseal(content: bytes, path: str) -> dict:
    """The entries of a `manifest.json` without version and digest. Raises UserError that names `path`.

    One of version 2 proves nothing of itself, which is logged.
    """
    plain = parse_json(content, path, ADVICE)
    version, digest = plain.pop("version", None), plain.get(_DIGEST)
    if type(version) is not int or version not in (_UNSEALED, VERSION):
        raise UserError(f"{path}: not of version {VERSION}, which this mere-ds reads: run mere-ds shard again")
    if (version == VERSION) != (digest is not None):
        raise UserError(f"{path}: damaged, it has the entries of another version: {ADVICE}")
    if version == VERSION:
        del plain[_DIGEST]
        if digest != digest_of_json({**plain, "version": version}):
            raise UserError(f"{path}: damaged, its content does not have the digest that it names: {ADVICE}")
    else:
        log.warning("%s: of version 2, without a digest of itself: damage to it may go unseen", path)
    return plain
