"""One writer per folder: a lease in a small file that its holder keeps changing.

Neither locks (NFS may have none) nor clocks (machines differ) decide who holds it, only whether the file still
changes. A process that was given up may come back to life: it finds that its lease was taken over.
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
"""Seconds between two changes."""
_LENGTH = 512  # bytes of the file, always: no reader finds it cut off


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
        """The lease in the file `path`: at once where nobody holds it or its holder is surely dead, else after
        `patience` s of silence.

        `folder` (None: the one `path` lies in) is what it guards, and `flag` what names another one; both are only for
        messages. Raises MachineError if another process keeps it, or where the file can't be written.
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
        """Raises MachineError if somebody else has taken the lease over."""
        try:
            found = _read(self._path)
        except OSError as error:
            raise MachineError(f"{self._path}: {error.strerror}") from None
        if not self._is_mine(found):
            raise MachineError(
                f"{self._folder}: {_name(found)} took over the writing while this process stood still; "
                "this one writes nothing more"
            )

    def release(self) -> None:
        """Let the next writer in without a wait."""
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
        """Where several do so at once, the last one keeps it; the others see that after `settle` seconds."""
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
        except OSError:  # no space: leave nothing that looks like a holder
            path.unlink()
            raise

    def _keep(self) -> None:
        while not self._released.wait(BEAT):
            with contextlib.suppress(OSError):  # the file system is away for a moment
                if not self._is_mine(_read(self._path)):
                    return
                self._beat()

    def _beat(self) -> None:
        """In place, in the file that we opened: one that has replaced it stays as it is, however late we are."""
        self._record["beats"] += 1
        os.pwrite(self._file, json.dumps(self._record).encode().ljust(_LENGTH - 1) + b"\n", 0)
        os.fsync(self._file)

    def _is_mine(self, found: bytes | None) -> bool:
        return _parse(found).get("token") == self._record["token"]

    def _refusal(self, found: bytes | None) -> MachineError:
        holder = _parse(found)
        job = _is_process(holder) and holder.get("job")
        end = f"scancel {job}" if job else "kill it there"
        return MachineError(
            f"{self._folder}: {_name(found)} is writing here; wait for it, end it ({end}) or take another {self._flag}"
        )


def _read(path: Path) -> bytes | None:
    """What the file holds, None if there is none; of one that is none of ours only the beginning."""
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
    """Whether this names one: somebody else may have written the file."""
    words = [holder.get("host", ""), holder.get("job") or ""]
    return type(holder.get("pid")) is int and 0 < holder["pid"] < 2**31 and all(map(_is_word, words))


def _is_word(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[\w.,:+-]*", text) is not None


def _this_process() -> dict:
    """Who we are. Containers may share a host's name, so its kernel and our numbering of processes belong to it."""
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
    """Whether its holder surely is: false where we can't know."""
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
    """When a process started, in ticks since boot: its number may have been given again. -1 if it awaits burial."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return -1 if fields[0] in "ZX" else int(fields[19])
