"""Shards behind an http(s) address: each file is fetched when it is read, through a bounded cache on the local disk.

What the manifest lists lies in the cache under its sha256, and is used only while its content has that digest: equal
shards are kept once, and processes on one machine share what any of them has fetched.
"""

import contextlib
import fcntl
import io
import logging
import os
import re
import shutil
import time
import urllib.error
from collections.abc import Generator, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from mere_ds.errors import MachineError, UserError
from mere_ds.files import digest_of
from mere_ds.network import BadAddress, open_address
from mere_ds.shards.packing import LocalSource, ShardSource, StoredFile, describe
from mere_ds.sums import is_intact

log = logging.getLogger("mere_ds")

CACHE_GIB = 32.0
"""How much the cache holds at most, by default."""

PAUSES = (1, 2, 4, 8)
"""Seconds between two attempts to fetch a file."""

_SCHEMES = ("http", "https")
_CHUNK = 1 << 20
_MOST_MANIFEST = 256 << 20  # bytes; nothing tells its size
_CACHED = re.compile(r"[0-9a-f]{64}(\.part)?")  # whatever else lies in the cache's folder is never removed
_ADVICE = "copy the folder to the server again"


def open_source(place: str | Path, cache: str | Path | None = None, cache_gib: float = CACHE_GIB) -> ShardSource:
    """The shards at `place`: a folder, or its http(s) address, read through the folder `cache` (None: the user's).

    `cache_gib`: most GiB of shards that are kept there; one shard is kept whatever its size. Raises UserError for an
    address that isn't used.
    """
    place = absolute(place)
    return RemoteSource(place, ShardCache(cache, cache_gib)) if is_address(place) else LocalSource(place)


def is_address(place: str | Path) -> bool:
    """Whether `place` is an address rather than a folder."""
    return "://" in str(place)


def absolute(place: str | Path) -> str:
    """`place` as it may be written down: it means the same wherever a process starts. UserError for a bad address."""
    if not is_address(place):
        return str(Path(place).resolve())
    place = str(place)
    try:
        parts = urlsplit(place)
        known = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known or not re.fullmatch(r"[!-~]+", place):
        raise UserError("the shards' address is none that is used: give a folder, or http(s)://host/path, %-encoded")
    if "@" in parts.netloc or parts.query or parts.fragment:  # they would end up in logs and in the run's config.json
        raise UserError(
            f"the shards' address on {parts.hostname} must contain no user, password, ? or #: leave them out"
        )
    return place.rstrip("/") + "/"


class RemoteSource:
    """A shards folder behind an address; see `ShardSource`.

    Reading raises UserError for a file that the server hasn't or that isn't the manifest's, and MachineError where the
    server can't be reached or the disk takes no more.
    """

    def __init__(self, address: str, cache: "ShardCache"):
        self._address, self._cache = address, cache

    def __str__(self) -> str:
        return self._address

    def path(self, name: str) -> str:
        return self._address + name

    def read_manifest(self, name: str) -> bytes:
        content = io.BytesIO()  # not cached: it alone shows whether the shards have changed
        _fetch(self.path(name), _MOST_MANIFEST, content)
        return content.getvalue()

    def read(self, file: StoredFile) -> bytes:
        return self._cache.read(self.path(file.file), file)

    def check(self, file: StoredFile) -> None:
        """Nothing: a server isn't asked for thousands of files before training starts."""

    def folder_of(self, name: str, files: Sequence[StoredFile]) -> Path:
        return self._cache.folder_of({self.path(f"{name}/{file.file}"): file for file in files}, name)


class ShardCache:
    """Files by their sha256 in `folder` (None: the user's cache folder), at most `gib` GiB, the last used ones.

    Folders of small files that libraries open by themselves (`folder_of`) lie there too, outside that bound, and so do
    files while they are fetched. Of several processes that need the same file one fetches it, and the others wait for
    it; different files are fetched at once. Whoever removes or adds a file holds the folder's lock.
    """

    def __init__(self, folder: str | Path | None = None, gib: float = CACHE_GIB):
        self.folder = Path(folder) if folder else _user_cache() / "mere_ds" / "shards"
        self._most = gib * 2**30

    def read(self, url: str, file: StoredFile) -> bytes:
        """The file's content, from the cache or from `url`."""
        path = self.folder / file.sha256
        content = _content(path, file)
        if content is None:
            with self._part_of(path) as part:
                content = _content(path, file)  # another process may have fetched it meanwhile
                if content is None:
                    with self._alone():
                        self._make_room(file.bytes)
                    self._download(url, file, part)
                    content = Path(part.name).read_bytes()
                    with self._alone():
                        self._make_room(0)  # others may have been fetched meanwhile
                        os.replace(part.name, path)
        with contextlib.suppress(OSError):  # evicted by another process, or the folder is read-only
            os.utime(path, ns=(time.time_ns(),) * 2)  # the kernel's own time here is milliseconds coarse
        return content

    def folder_of(self, files: dict[str, StoredFile], name: str) -> Path:
        """A folder of its own with these files by address."""
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
        """What is to become `path`: an empty file that no other process fetches into at the same time.

        What the disk refuses is reported in one line.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _claimed(path.with_name(path.name + ".part")) as part:
                assert part is not None, "waited for"
                part.truncate(0)  # the rest of a process that died
                yield part
        except OSError as error:
            raise MachineError(
                f"the shards' cache {self.folder}: {error.strerror}: make room, or pass another --shard_cache"
            ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process adds or removes a file."""
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_room(self, needed: int) -> None:
        """Removes what was not used for longest until `needed` bytes fit, into the bound and onto the disk.

        A `.part` that no process holds is the rest of one that died.
        """
        cached: dict[Path, os.stat_result] = {}
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # a `.part` whose process has just finished
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
                f"the shards' cache {self.folder}: {free >> 20} MiB are free, {-(-file.bytes >> 20)} MiB are needed "
                f"for {file.file}: make room, or pass another --shard_cache"
            )
        _fetch(url, file.bytes, part)
        part.flush()
        got = describe(Path(part.name))
        if got.bytes != file.bytes:
            raise UserError(f"{url}: has {got.bytes} bytes instead of {file.bytes}: {_ADVICE}")
        if got.sha256 != file.sha256:
            raise UserError(f"{url}: damaged, its sha256 is not the manifest's: {_ADVICE}")


@contextlib.contextmanager
def _claimed(path: Path, wait: bool = True) -> Iterator[BinaryIO | None]:
    """The file at `path`, made if missing, locked against other processes; it goes at the end unless it was renamed.

    None where another process holds it, without `wait`.
    """
    while True:
        with open(path, "r+b", opener=_open_or_make) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            if not _lies_at(path, stream):  # whoever held it has renamed or removed it meanwhile
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


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _content(path: Path, file: StoredFile) -> bytes | None:
    """What is at `path`, if it is there and is the file."""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if digest_of(content) == file.sha256:
            return content
    return None


def _is_intact(path: Path, file: StoredFile) -> bool:
    with contextlib.suppress(OSError):
        return is_intact(path, file.sha256)
    return False


# Fetching


class _Broken(Exception):
    """A try that failed, where another one may do."""


def _fetch(url: str, most: int, stream: BinaryIO) -> None:
    """Writes what `url` holds, at most `most` bytes, into the empty `stream`; tries again where that may help."""
    for pause in (*PAUSES, None):
        try:
            with contextlib.closing(_body(url, most)) as chunks:
                for chunk in chunks:
                    stream.write(chunk)
            return
        except _Broken as error:
            if pause is None:
                raise MachineError(
                    f"{url}: failed after {len(PAUSES) + 1} attempts ({error}): check server and network, then run "
                    "the same command again"
                ) from error
            log.warning("%s: %s; trying again in %g s", url, error, pause)
        stream.seek(0)
        stream.truncate()
        time.sleep(pause)


def _body(url: str, most: int) -> Generator[bytes, None, None]:
    """What one request to `url` brings. Raises _Broken for what may pass, UserError for what won't."""
    too_long = UserError(f"{url}: is longer than the {most} bytes that it may have: {_ADVICE}")
    try:
        with open_address(url, may_follow) as response:
            promised, got = response.length, 0
            if (promised or 0) > most:
                raise too_long
            while chunk := response.read(_CHUNK):
                got += len(chunk)
                if got > most:
                    raise too_long
                yield chunk
            if promised is not None and got < promised:
                raise _Broken(f"the connection broke after {got} of {promised} bytes")
    except BadAddress as error:
        raise UserError(f"{url}: {error}: only http and https are followed, and not from https to http") from None
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(url, error.code) from None  # its own text may show an address that a redirect made
    except (OSError, HTTPException) as error:
        raise _Broken(str(getattr(error, "reason", "") or error).strip() or type(error).__name__) from error


def _refusal(url: str, code: int) -> UserError | _Broken:
    if code >= 500 or code in (408, 429):
        return _Broken(f"the server answers {code}")
    if code in (404, 410):
        return UserError(
            f"{url}: the server has no such file ({code}): give the address of a folder made by mere-ds shard, copied "
            "there whole"
        )
    if 300 <= code < 400:
        return UserError(f"{url}: the server's redirects ({code}) lead nowhere or in a circle")
    return UserError(f"{url}: the server answers {code}: look whether everyone may read it")


def may_follow(url: str, target: str) -> bool:
    """Whether a redirect from `url` to `target` is followed: never from https to anything else."""
    return urlsplit(target).scheme in (("https",) if urlsplit(url).scheme == "https" else _SCHEMES)
