"""One writer per folder: a lease in a small file that its holder keeps updating.

Who holds it depends neither on locks (NFS may have none) nor on clocks (machines differ), only on whether the file
still changes. A process that was presumed dead but continues later finds that its lease was taken over.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from pathlib import Path

from mere_ds.errors import MachineError

BEAT = 2.0
"""Seconds between updates."""
_LENGTH = 512  # bytes of the file, always the same, so that no reader sees a partial record


class WriterLease:
    """The right to write into a folder: `take` it, `check` it before every write, `release` it."""

    def __init__(self, path: Path, folder: Path, flag: str) -> None:
        self._path, self._folder, self._flag = path, folder, flag
        self._record = {"token": secrets.token_hex(8), **_this_process(), "beats": 0}
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @classmethod
    def take(
        cls, path: Path, patience: float = 15.0, *, folder: Path | None = None, flag: str = "--run"
    ) -> "WriterLease":
        """Acquire the lease in the file `path`: at once if nobody holds it or its holder is certainly dead, otherwise
        after `patience` seconds without an update.

        `folder` (None: the parent of `path`) is the folder that it protects and `flag` the flag that chooses it; both
        are only used in messages. Raises MachineError if another process holds it or the file can't be written.
        """
        path = Path(path)
        lease = cls(path, folder or path.parent, flag)
        try:
            lease._acquire(patience)
        except OSError as error:
            raise MachineError(f"{path}: {error.strerror}") from None
        lease._thread.start()
        return lease

    def check(self) -> None:
        """Raises MachineError if another process has taken over the lease."""
        try:
            found = _read(self._path)
        except OSError as error:
            raise MachineError(f"{self._path}: {error.strerror}") from None
        if not self._is_mine(found):
            raise MachineError(
                f"{self._folder}: {_name(found)} took over this folder while this process was not running: "
                "this process writes nothing more and ends"
            )

    def release(self) -> None:
        """Give the lease up, so that the next writer need not wait."""
        self._released.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self._is_mine(_read(self._path)):
                self._path.unlink()
        os.close(self._file)

    def _acquire(self, patience: float) -> None:
        first, deadline = None, time.monotonic() + patience
        while True:
            with contextlib.suppress(FileExistsError):
                return self._write_new(self._path)
            found = _read(self._path)
            if first is None:
                first = found
            elif found not in (first, None):
                raise self._refusal(found)
            if found and _is_dead(found):
                return self._take_over(0.2)
            if time.monotonic() > deadline:
                return self._take_over(BEAT)
            time.sleep(BEAT / 4)

    def _take_over(self, wait: float) -> None:
        """If several processes do this at once, the last one keeps the lease; the others see that after `wait` s."""
        part = self._path.with_name(f"{self._path.name}.{self._record['token']}")
        self._write_new(part)
        os.replace(part, self._path)
        time.sleep(wait)
        found = _read(self._path)
        if not self._is_mine(found):
            raise self._refusal(found)

    def _write_new(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self._beat()
        except OSError:  # no space: leave no file that looks like a held lease
            path.unlink()
            raise

    def _keep(self) -> None:
        while not self._released.wait(BEAT):
            with contextlib.suppress(OSError):  # the file system is temporarily unavailable
                if not self._is_mine(_read(self._path)):
                    return
                self._beat()

    def _beat(self) -> None:
        """Update the file that we opened in place; a file that has replaced it is not touched, however late we are."""
        self._record["beats"] += 1
        content, written = json.dumps(self._record).encode().ljust(_LENGTH - 1) + b"\n", 0
        while written < len(content):  # a disk that fills up takes a part first and says why only then
            written += os.pwrite(self._file, content[written:], written)
        os.fsync(self._file)

    def _is_mine(self, found: bytes | None) -> bool:
        return _parse(found).get("token") == self._record["token"]

    def _refusal(self, found: bytes | None) -> MachineError:
        holder = _parse(found)
        job = _is_process(holder) and holder.get("job")
        how = f" (scancel {job})" if job else ""
        return MachineError(
            f"{self._folder}: {_name(found)} is writing here: wait for it, stop it{how} or choose another {self._flag}"
        )


def _read(path: Path) -> bytes | None:
    """The content of the file, at most the length of a lease; None if there is no file."""
    try:
        with path.open("rb") as file:
            return file.read(_LENGTH)
    except FileNotFoundError:
        return None


def _parse(found: bytes | None) -> dict:
    try:
        record = json.loads(found or b"{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _name(found: bytes | None) -> str:
    holder = _parse(found)
    if not _is_process(holder):
        return "another process"
    job = f" (job {holder['job']})" if holder.get("job") else ""
    return f"process {holder['pid']} on {holder['host']}{job}"


def _is_process(holder: dict) -> bool:
    """Whether this describes a process; the file may have been written by something else."""
    words = [holder.get("host", ""), holder.get("job") or ""]
    return type(holder.get("pid")) is int and 0 < holder["pid"] < 2**31 and all(map(_is_word, words))


def _is_word(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[\w.,:+-]*", text) is not None


def _this_process() -> dict:
    """Identity of this process. Containers may share a host name, so boot id and pid namespace are part of it."""
    boot = numbering = None
    with contextlib.suppress(OSError):  # not Linux
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbering = os.stat("/proc/self/ns/pid").st_ino
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "job": os.environ.get("SLURM_JOB_ID"),
        "boot": boot,
        "pid_namespace": numbering,
        "started": _start_of(pid),
    }


def _is_dead(found: bytes) -> bool:
    """Whether the holder is certainly dead; false if we can't know."""
    holder, here = _parse(found), _this_process()
    if not _is_process(holder):
        return False
    if any(here[key] is None or holder.get(key) != here[key] for key in ("host", "boot", "pid_namespace")):
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _start_of(holder["pid"]) not in (holder.get("started"), None)


def _start_of(pid: int) -> int | None:
    """When a process started, in ticks since boot, because its pid may have been reused; -1 for a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return -1 if fields[0] in "ZX" else int(fields[19])
