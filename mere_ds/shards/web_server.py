"""Shards on a plain web server; see `mere_ds.shards.fetching.Way`."""

import urllib.error
from collections.abc import Generator
from http.client import HTTPException
from urllib.parse import urlsplit

from mere_ds.errors import UserError
from mere_ds.network import BadAddress, open_address
from mere_ds.shards.fetching import Broken, cut_off, may_be_over_soon, too_long

SCHEMES = ("http", "https")
_CHUNK = 1 << 20


def chunks_of(url: str, most: int) -> Generator[bytes, None, None]:
    """The response to one request for `url`, see `Way`."""
    try:
        with open_address(url, may_follow) as response:
            promised, got = response.length, 0
            if (promised or 0) > most:
                raise too_long(url, most)
            while chunk := response.read(_CHUNK):
                got += len(chunk)
                if got > most:
                    raise too_long(url, most)
                yield chunk
            if promised is not None and got < promised:
                raise cut_off(got, promised)
    except BadAddress as error:
        raise UserError(f"{url}: {error}: use an http(s) address without redirects from https to http") from None
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(url, error.code) from None  # its own text may contain the target of a redirect
    except (OSError, HTTPException) as error:
        raise Broken(str(getattr(error, "reason", "") or error).strip() or type(error).__name__) from error


def _refusal(url: str, code: int) -> UserError | Broken:
    if may_be_over_soon(code):
        return Broken(f"the server answered {code}")
    if code in (404, 410):
        return UserError(
            f"{url}: the server has no such file ({code}): pass the address of a complete folder made by mere-ds shard"
        )
    if 300 <= code < 400:
        return UserError(f"{url}: the server's redirects ({code}) form a loop or have no target: check the address")
    return UserError(f"{url}: the server answered {code}: check that it can be read without a login")


def may_follow(url: str, target: str) -> bool:
    """Whether a redirect from `url` to `target` is followed: never from https to anything else."""
    return urlsplit(target).scheme in (("https",) if urlsplit(url).scheme == "https" else SCHEMES)
