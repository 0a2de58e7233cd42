"""A file at an address -> a local one; tried again where that may help."""

import logging
import time
from collections.abc import Generator
from contextlib import closing
from typing import BinaryIO, Protocol

from mere_ds.errors import MachineError, UserError

log = logging.getLogger("mere_ds")

PAUSES = (1, 2, 4, 8)
"""Seconds between two attempts to fetch a file."""
ADVICE = "copy the folder there again"


class Broken(Exception):
    """A failed attempt that is worth repeating."""


class Way(Protocol):
    """How files of a scheme are read."""

    def __call__(self, url: str, most: int) -> Generator[bytes, None, None]:
        """The content of `url`, at most `most` bytes, in chunks of bounded size; one attempt.

        Raises Broken for what may be over soon, also if the content comes too slowly, and UserError for the rest.
        """


def fetch(way: Way, url: str, most: int, stream: BinaryIO) -> None:
    """Writes what `url` holds, at most `most` bytes, into the empty `stream`. Raises UserError, MachineError."""
    for pause in (*PAUSES, None):
        try:
            with closing(way(url, most)) as chunks:
                for chunk in chunks:
                    stream.write(chunk)
            return
        except Broken as error:
            if pause is None:
                raise MachineError(
                    f"{url}: failed after {len(PAUSES) + 1} attempts ({error}): check server and network, then run "
                    "the same command again"
                ) from error
            log.warning("%s: %s; retrying in %g s", url, error, pause)
        stream.seek(0)
        stream.truncate()
        time.sleep(pause)


def too_long(url: str, most: int) -> UserError:
    """The error for a file of more than `most` bytes."""
    return UserError(f"{url}: is longer than {most} bytes: {ADVICE}")


def cut_off(got: int, promised: int) -> Broken:
    """The error for a file of which `got` bytes came."""
    return Broken(f"the connection broke after {got} of {promised} bytes")


def may_be_over_soon(code: int) -> bool:
    """Whether the same HTTP request may succeed later, though the answer was `code`."""
    return code >= 500 or code in (408, 429)
