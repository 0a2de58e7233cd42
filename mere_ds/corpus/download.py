"""Download of SMiLER's original archives over HTTPS, with resume, digest check and unpacking."""

import hashlib
import http.client
import json
import lzma
import shutil
import ssl
import urllib.error
from datetime import datetime, timezone
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit

import py7zr
from py7zr.exceptions import ArchiveError
from tqdm import tqdm

from mere_ds import network
from mere_ds.errors import UserError
from mere_ds.files import digest_file, write_json
from mere_ds.network import BadAddress, open_address

BASE_URL = "https://github.com/samsungnlp/smiler/raw/583ce512662e5673b7bada9c9b2ca60333ec51b8/"
"""SMiLER v1.0 (Seganti et al., EACL 2021; CC-BY-SA-3.0), pinned to the commit that published it."""

ARCHIVES = {
    "smiler_corpora_v1.0_part1.7z": "43110107d2466dbb8a938b5e3d1f130fc2e31522",
    "smiler_corpora_v1.0_part2.7z": "7d2496f4a5a11fadd9598009a4662fcdbf4f6f03",
}
"""The archives and their git blob ids in that commit, which verify the downloaded bytes."""

RECORD = "download.json"
_CHUNK = 1 << 20


def download(
    out: str | Path, base_url: str = BASE_URL, keep_archives: bool = True, archives: dict[str, str] = ARCHIVES
) -> dict:
    """Downloads and unpacks the archives into `out`; a broken download resumes where it stopped.

    Returns the content of `out/download.json`: `tsv_dir`, `archives` (file, url, bytes, sha256, date) and `files`
    (file, bytes, sha256). If all of them exist already, only verifies the digests.
    The TSV files are put directly into `out`, whatever their folder in the archive; other members stay packed and are
    listed under `not_unpacked`. `archives` maps file names under `base_url` to git blob ids.

    Raises UserError if the server cannot be reached, a file is not the published one or has changed since, the disk is
    too full, or an archive has a member that points outside its folder (then nothing is unpacked).
    """
    out, base_url = Path(out), base_url.rstrip("/") + "/"
    _check_url(base_url)
    record = _intact_record(out)
    if record:
        return record
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot create this folder ({error.strerror}); pass another") from error
    for name in archives:
        if not (out / name).exists():
            _fetch(base_url + name, out / name)
    entries = [_describe(out / name) | {"url": base_url + name, "date": _date(out / name)} for name in archives]
    for name, blob_id in archives.items():
        _check_published(out / name, blob_id)
    unpacked, others = _unpack([out / name for name in archives], out)
    record = {
        "tsv_dir": str(out),
        "archives": entries,
        "files": [_describe(path) for path in unpacked],
        "not_unpacked": others,
    }
    write_json(out / RECORD, record)
    if not keep_archives:
        for name in archives:
            (out / name).unlink()
    return record


# Existing files


def _intact_record(out: Path) -> dict | None:
    """The record of a finished download if all its files exist and are unchanged."""
    path = out / RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        archives, files = record["archives"], record["files"]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: was not written by this command; delete it and run again") from None
    for entry in archives + files:
        path = out / entry["file"]
        if path.exists() and _describe(path)["sha256"] != entry["sha256"]:
            raise UserError(f"{path}: has changed since it was downloaded; move it away and run again")
    complete = all((out / entry["file"]).exists() for entry in files)
    return record | {"tsv_dir": str(out)} if complete else None


def _describe(path: Path) -> dict:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest_file(path)}


def _check_published(path: Path, blob_id: str) -> None:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)  # git's format; sha1 alone gives no security
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != blob_id:
        raise UserError(f"{path}: is not the published archive (damaged or changed); delete it and run again")


def _date(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds")


# Fetching


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1"))


def _check_url(url: str) -> None:
    try:
        safe = _is_safe(url)
    except ValueError:
        safe = False
    if not safe:
        raise UserError(f"{url}: only https is allowed (http only on localhost); pass another --base_url")


def _fetch(url: str, path: Path) -> None:
    """Fetches one file via `path.part`, reconnecting as long as every connection makes progress."""
    part = path.with_name(path.name + ".part")
    reached = -1
    while (have := part.stat().st_size if part.exists() else 0) > reached:
        reached = have
        if _fetch_rest(url, part, have):
            part.replace(path)
            _etag_file(part).unlink(missing_ok=True)
            return
    raise UserError(
        f"{url}: the connection broke after {have:,} bytes; run the same command again to resume from there"
    )


def _fetch_rest(url: str, part: Path, have: int) -> bool:
    """One connection: appends what it can to `part` and tells whether the file is complete."""
    with _open_at(url, part, have) as response:
        start = have if response.status == http.client.PARTIAL_CONTENT else 0
        if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise UserError(f"{url}: the server sent another range than requested; delete {part} and run again")
        if not start:
            _remember_etag(response, part)
        left = response.length
        _check_space(part.parent, left or 0, f"download {url}")
        total = None if left is None else start + left
        bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None)
        with part.open("ab" if start else "wb") as stream, bar:
            try:
                while chunk := response.read1(_CHUNK):
                    stream.write(chunk)
                    bar.update(len(chunk))
            except TimeoutError as error:
                if stream.tell() - start < network.LEAST_BYTES:  # otherwise it might reconnect forever
                    raise UserError(f"{url}: {error}; run the same command again to resume from there") from error
                return False
            except (ConnectionError, ssl.SSLError, http.client.HTTPException):
                return False
            return total in (None, stream.tell())


def _open_at(url: str, part: Path, have: int) -> http.client.HTTPResponse:
    """Asks for the file from byte `have` on; a server may answer with the whole file instead."""
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _etag_file(part).exists():
            headers["If-Range"] = _etag_file(part).read_text(encoding="ascii")
    try:
        return open_address(url, lambda _, target: _is_safe(target), headers)
    except BadAddress as error:
        raise UserError(f"{url}: {error}; only https is allowed (http only on localhost); check --base_url") from None
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the file ends before `have`, so the part is not its beginning
            return _open_at(url, part, 0)
        raise UserError(f"{url}: the server answered {error.code} {error.reason}; check --base_url") from error
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"{url}: cannot be reached ({getattr(error, 'reason', None) or error}); "
            "without internet access, run this command on another machine and copy the folder"
        ) from error


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _remember_etag(response: http.client.HTTPResponse, part: Path) -> None:
    """Stores a strong ETag with the part, so that a file that changes on the server is not appended to the old one."""
    etag = response.headers.get("ETag", "")
    if etag.startswith('"') and etag.isascii():
        _etag_file(part).write_text(etag, encoding="ascii")
    else:
        _etag_file(part).unlink(missing_ok=True)


def _check_space(folder: Path, needed: int, purpose: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}: {needed:,} bytes needed to {purpose}, but only {free:,} free; make room")


# Unpacking


def _unpack(archives: list[Path], out: Path) -> tuple[list[Path], list[str]]:
    """Unpacks the TSV files of all archives; returns their paths and the names of the members that stay packed.

    They are unpacked into a temporary folder and then moved, so that an interrupted run leaves no partial file.
    """
    staging = out / ".unpacking"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        members = {path: _members(path) for path in archives}
        infos = [info for found in members.values() for info in found]
        targets = _targets([info.filename for info in infos], out)
        _check_space(out, sum(info.uncompressed for info in infos), "unpack the archives")
        for path in tqdm(archives, desc="unpack", unit="archive", disable=None):
            with py7zr.SevenZipFile(path) as archive:
                archive.extract(staging, targets=[info.filename for info in members[path] if info.filename in targets])
        _move({staging / name: target for name, target in targets.items()})
    except (ArchiveError, lzma.LZMAError, EOFError) as error:
        raise UserError(f"{out}: an archive is damaged ({error}); delete the .7z files there and run again") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(targets.values()), sorted({info.filename for info in infos} - set(targets))


def _targets(names: list[str], out: Path) -> dict[str, Path]:
    """Where each TSV member goes."""
    tsvs = [name for name in names if name.endswith(".tsv")]
    targets = {name: out / PureWindowsPath(name).name for name in tsvs}
    if len(set(targets.values())) < len(tsvs):
        raise UserError(f"{out}: the archives contain several TSV files with the same name; unpack them by hand")
    return targets


def _move(moves: dict[Path, Path]) -> None:
    """Moves all files or none: an existing file must have the same content."""
    for source, target in moves.items():
        if target.exists() and _describe(target)["sha256"] != _describe(source)["sha256"]:
            raise UserError(f"{target}: a different file of this name exists already; move it away and run again")
    for source, target in moves.items():
        source.replace(target)


def _members(path: Path) -> list[py7zr.FileInfo]:
    """The archive's files; refuses links and members that would land outside the folder."""
    with py7zr.SevenZipFile(path) as archive:
        infos = archive.list()
    for info in infos:
        inside = PureWindowsPath(info.filename)  # knows both kinds of slash, and drive letters
        if inside.drive or inside.root or ".." in inside.parts:
            raise UserError(f"{path}: the member {info.filename!r} points outside the folder; nothing was unpacked")
        if not (info.is_file or info.is_directory):
            raise UserError(f"{path}: the member {info.filename!r} is a link or a device; nothing was unpacked")
    return [info for info in infos if info.is_file]
