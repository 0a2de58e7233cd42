"""Shards elsewhere: each file is fetched when it is read, through a bounded cache on the local disk.

How depends on the scheme of the address: `WAYS`. A cached file is named by its sha256 and only used if its content has
that digest: equal shards are stored once, and all processes on a machine share the cache.
"""

import contextlib
import fcntl
import io
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from mere_ds.errors import MachineError, UserError
from mere_ds.files import digest_of, user_cache
from mere_ds.shards import object_store, web_server
from mere_ds.shards.fetching import ADVICE, Way, fetch
from mere_ds.shards.packing import LocalSource, ShardSource, StoredFile, describe
from mere_ds.sums import is_intact

log = logging.getLogger("mere_ds")

CACHE_GIB = 32.0
"""Default maximum size of the cache."""

WAYS: dict[str, Way] = {
    **dict.fromkeys(web_server.SCHEMES, web_server.chunks_of),
    **dict.fromkeys(object_store.STORES, object_store.chunks_of),
}
"""Scheme of an address -> how its files are read."""

_MOST_MANIFEST = 256 << 20  # bytes; its size is not known in advance
_CACHED = re.compile(r"[0-9a-f]{64}(\.part)?")  # other files in the cache folder are never removed


def open_source(place: str | Path, cache: str | Path | None = None, cache_gib: float = CACHE_GIB) -> ShardSource:
    """The shards at `place`: a folder, or the address of one, read through the folder `cache` (None: the user's).

    `cache_gib`: maximum size of the cache in GiB; one shard is kept whatever its size. Raises UserError for an invalid
    address.
    """
    place = absolute(place)
    return RemoteSource(place, ShardCache(cache, cache_gib)) if is_address(place) else LocalSource(place)


def is_address(place: str | Path) -> bool:
    """Whether `place` is an address rather than a folder."""
    return "://" in str(place)


def absolute(place: str | Path) -> str:
    """`place` in a form that doesn't depend on the working directory. Raises UserError for an invalid address."""
    if not is_address(place):
        return str(Path(place).resolve())
    place = str(place)
    try:
        parts = urlsplit(place)
        port = (parts.port or 1) > 0 if parts.scheme in web_server.SCHEMES else parts.port is None
        known = parts.scheme in WAYS and bool(parts.hostname) and port
    except ValueError:
        known = False
    if not known or not re.fullmatch(r"[!-~]+", place):
        raise UserError(
            "the shards' address is not valid: pass a folder, http(s)://host/path, %-encoded, or "
            + ", ".join(f"{scheme}://{store.form}" for scheme, store in object_store.STORES.items())
        )
    if "@" in parts.netloc or parts.query or parts.fragment:  # they would end up in logs and in the run's config.json
        raise UserError(f"the shards' address on {parts.hostname} must not contain user, password, ? or #: remove them")
    return place.rstrip("/") + "/"


class RemoteSource:
    """A shards folder at an address; see `ShardSource`.

    Reading raises UserError for a file that the server doesn't have or that doesn't match the manifest, MachineError if
    the server can't be reached or the disk is full.
    """

    def __init__(self, address: str, cache: "ShardCache"):
        self._address, self._cache = address, cache

    def __str__(self) -> str:
        return self._address

    def path(self, name: str) -> str:
        return self._address + name

    def read_manifest(self, name: str) -> bytes:
        content = io.BytesIO()  # not cached: only the manifest shows whether the shards have changed
        _fetch(self.path(name), _MOST_MANIFEST, content)
        return content.getvalue()

    def read(self, file: StoredFile) -> bytes:
        return self._cache.read(self.path(file.file), file)

    def check(self, file: StoredFile) -> None:
        """Does nothing: checking thousands of files on a server would delay the start of training."""

    def folder_of(self, name: str, files: Sequence[StoredFile]) -> Path:
        return self._cache.folder_of({self.path(f"{name}/{file.file}"): file for file in files}, name)


class ShardCache:
    """Files by their sha256 in `folder` (None: the user's cache folder), at most `gib` GiB of most recently used ones.

    Folders of small files that libraries open by themselves (`folder_of`) and files that are being fetched are there
    too and don't count. If several processes need the same file, one fetches it and the others wait; different files
    are fetched concurrently. A process that adds or removes a file holds the folder's lock.
    """

    def __init__(self, folder: str | Path | None = None, gib: float = CACHE_GIB):
        self.folder = Path(folder) if folder else user_cache() / "shards"
        self._most = gib * 2**30

    def read(self, url: str, file: StoredFile) -> bytes:
        """The file's content, from the cache or from `url`."""
        path = self.folder / file.sha256
        content = _content(path, file)
        if content is None:
            with self._part_of(path) as part:
                content = _content(path, file)  # another process may have fetched it in the meantime
                if content is None:
                    with self._alone():
                        self._make_room(file.bytes)
                    self._download(url, file, part)
                    content = Path(part.name).read_bytes()
                    with self._alone():
                        self._make_room(0)  # others may have been fetched in the meantime
                        os.replace(part.name, path)
        with contextlib.suppress(OSError):  # evicted by another process, or the folder is read-only
            os.utime(path, ns=(time.time_ns(),) * 2)  # the kernel's own timestamp only has a resolution of milliseconds
        return content

    def folder_of(self, files: dict[str, StoredFile], name: str) -> Path:
        """A separate folder with these files, given by address."""
        listed = "".join(f"{file.sha256}  {file.file}\n" for file in files.values())
        folder = self.folder / f"{name}-{digest_of(listed.encode())[:16]}"
        for url, file in files.items():
            path = folder / file.file
            if not _is_intact(path, file):
                with self._part_of(path) as part:
                    if not _is_intact(path, file):
                        log.info("fetching %s (%.1f MiB)", url, file.bytes / 2**20)
                        self._download(url, file, part)
                        os.replace(part.name, path)
        return folder

    @contextlib.contextmanager
    def _part_of(self, path: Path) -> Iterator[BinaryIO]:
        """An empty file that is to become `path` and that no other process can fetch into at the same time.

        OSErrors become a one-line MachineError.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _claimed(path.with_name(path.name + ".part")) as part:
                assert part is not None, "waited for"
                part.truncate(0)  # left by a process that died
                yield part
        except OSError as error:
            raise MachineError(
                f"the shards' cache {self.folder}: {error.strerror}: make room, or pass another --shard_cache"
            ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other processes from adding or removing files."""
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_room(self, needed: int) -> None:
        """Removes the least recently used files until `needed` bytes fit into the cache and onto the disk.

        A `.part` that no process holds was left by one that died.
        """
        cached: dict[Path, os.stat_result] = {}
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # a `.part` that has just been renamed
                if _CACHED.fullmatch(path.name):
                    cached[path] = path.stat()
        held = sum(stat.st_size for stat in cached.values())
        for path, stat in sorted(cached.items(), key=lambda item: item[1].st_mtime_ns):
            if held + needed <= self._most and shutil.disk_usage(self.folder).free >= needed:
                return
            if path.suffix != ".part":
                path.unlink()
                held -= stat.st_size
                continue
            with _claimed(path, wait=False) as part:  # which removes it
                held -= stat.st_size if part else 0

    def _download(self, url: str, file: StoredFile, part: BinaryIO) -> None:
        """Fetches the file into the empty `part` and verifies it."""
        free = shutil.disk_usage(self.folder).free
        if free < file.bytes:
            raise MachineError(
                f"the shards' cache {self.folder}: {free >> 20} MiB free, but {-(-file.bytes >> 20)} MiB needed for "
                f"{file.file}: make room, or pass another --shard_cache"
            )
        _fetch(url, file.bytes, part)
        part.flush()
        got = describe(Path(part.name))
        if got.bytes != file.bytes:
            raise UserError(f"{url}: has {got.bytes} bytes instead of {file.bytes}: {ADVICE}")
        if got.sha256 != file.sha256:
            raise UserError(f"{url}: damaged, its sha256 does not match the manifest: {ADVICE}")


@contextlib.contextmanager
def _claimed(path: Path, wait: bool = True) -> Iterator[BinaryIO | None]:
    """The file at `path`, created if missing and locked against other processes; removed at the end unless renamed.

    Without `wait`: None if another process holds it.
    """
    while True:
        with open(path, "r+b", opener=_open_or_make) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            if not _lies_at(path, stream):  # the previous holder has renamed or removed it
                continue
            try:
                yield stream
            finally:
                if _lies_at(path, stream):
                    path.unlink()
            return


def _open_or_make(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o666)


def _lies_at(path: Path, stream: BinaryIO) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    return False


def _content(path: Path, file: StoredFile) -> bytes | None:
    """The content of `path` if it exists and matches the file's digest."""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if digest_of(content) == file.sha256:
            return content
    return None


def _is_intact(path: Path, file: StoredFile) -> bool:
    with contextlib.suppress(OSError):
        return is_intact(path, file.sha256)
    return False


def _fetch(url: str, most: int, stream: BinaryIO) -> None:
    fetch(WAYS[urlsplit(url).scheme], url, most, stream)
