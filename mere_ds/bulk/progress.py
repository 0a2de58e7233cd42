"""What an unfinished output has on disk, so that the same command goes on after whatever has ended it.

Beside OUT there is a folder `.OUT.work` with two files for each part of the input: `1-of-1.data`, to which each unit's
bytes are appended, and `1-of-1.journal`, JSON lines: what the output is made from, then a line for each unit of which
all bytes are on disk, then one that says that the part is whole. Bytes without their line are cut off and made again.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from mere_ds.errors import UserError
from mere_ds.files import json_line, naming, sync
from mere_ds.lease import WriterLease
from mere_ds.parts import Part, check_same

AGAIN = "pass what it was begun with, or --noresume to begin again"


class Done(NamedTuple):
    """A unit of which all bytes are on disk."""

    unit: int
    end: int
    """Size of the data with it, in bytes."""
    rows: int
    triples: int
    notes: dict[str, int]
    """Number of notes by kind."""
    digest: str | None
    """Of what was read, where that can't be read again: see `Unit.digest`."""


@dataclass
class State:
    """The content of a journal."""

    made_from: dict[str, Any]
    start: int
    """Size of the header before all units, in bytes."""
    done: list[Done] = field(default_factory=list)
    whole: bool = False

    @property
    def end(self) -> int:
        return self.done[-1].end if self.done else self.start


@dataclass
class Totals:
    """What was done in several units."""

    rows: int = 0
    triples: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    """By kind."""

    @classmethod
    def of(cls, states: Iterable[State]) -> "Totals":
        totals = cls()
        for done in chain.from_iterable(state.done for state in states):
            totals.add(done)
        return totals

    def add(self, done: Done) -> None:
        self.rows += done.rows
        self.triples += done.triples
        self.notes.update(done.notes)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind}: {number:,}" for kind, number in self.notes.most_common())
        told = f"rows: {self.rows:,}, triples: {self.triples:,}"
        return told + f", notes: {self.notes.total():,} ({kinds})" * bool(kinds)


def work_folder(out: Path) -> Path:
    return out.with_name(f".{out.name}.work")


def read_state(folder: Path, part: Part) -> State | None:
    """None if nothing was begun, or no more than a first line that is not whole."""
    try:
        content = (folder / f"{part}.journal").read_bytes()
    except FileNotFoundError:
        return None
    try:
        lines = [json.loads(line) for line in content.split(b"\n")[:-1]]
        if not lines:
            return None
        state = State(lines[0]["made_from"], lines[0]["start"])
        for line in lines[1:]:
            if "whole" in line:
                state.whole = True
            else:
                state.done.append(Done(**line))
        return state
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / f'{part}.journal'}: damaged: pass --noresume to begin again") from None


class Progress:
    """The data and journal of one part, which one process at a time may write. Use it in a with block.

    Raises OSError that names `out`, MachineError while another process writes this part.
    """

    def __init__(self, out: Path, part: Part, made_from: dict[str, Any], header: bytes, resume: bool):
        self.out, self.part, self._header = out, part, header
        self.folder = work_folder(out)
        self._made_from, self._resume = made_from, resume

    def __enter__(self) -> "Progress":
        with naming(self.out, self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lease = WriterLease.take(self.folder / f"{self.part}.writer.json", folder=self.out, flag="--out")
        try:
            with naming(self.out, self.folder):
                self._open()
        except BaseException:
            self._lease.release()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with naming(self.out, self.folder), ExitStack() as ends:  # of a full disk closing tells once more
            ends.callback(self._lease.release)
            ends.callback(self._journal.close)
            ends.callback(self._data.close)

    def _open(self) -> None:
        state = read_state(self.folder, self.part) if self._resume else None
        data, journal = (self.folder / f"{self.part}.{name}" for name in ("data", "journal"))
        if state and not data.exists():
            state = None  # it has become the output
        if state:
            check_same(self.out, state.made_from, self._made_from, AGAIN)
            if data.stat().st_size < state.end:
                raise UserError(f"{data}: damaged, it is shorter than it was: pass --noresume to begin again")
        mode = "r+b" if state else "wb"
        self._data, self._journal = data.open(mode), journal.open(mode)
        if state is None:
            state = State(self._made_from, len(self._header))
            self._data.write(self._header)
            self._note({"made_from": self._made_from, "start": len(self._header)})
        else:
            self._data.truncate(state.end)
            self._data.seek(state.end)
            kept = journal.read_bytes().rfind(b"\n") + 1
            self._journal.truncate(kept)
            self._journal.seek(kept)
        sync(self.folder)
        self.state = state

    def append(self, content: bytes, done: Done) -> None:
        """Add a unit's bytes; `done.end` is filled in here."""
        with naming(self.out, self.folder):
            self._lease.check()
            self._data.write(content)
            done = done._replace(end=self.state.end + len(content))
            self._note(done._asdict())
        self.state.done.append(done)

    def finish(self) -> None:
        """Say that no unit is missing."""
        if not self.state.whole:
            with naming(self.out, self.folder):
                self._note({"whole": True})
            self.state.whole = True

    def _note(self, line: dict[str, Any]) -> None:
        """The data first: a line says that its bytes are on disk."""
        for file in (self._data, self._journal):
            if file is self._journal:
                file.write(json_line(line))
            file.flush()
            os.fsync(file.fileno())


def units_of(folder: Path, parts: Iterable[tuple[Part, State]]) -> Iterator[bytes]:
    """The bytes of all units of all parts, in the order of the input."""
    places = sorted(
        (done.unit, part, start, done.end)
        for part, state in parts
        for done, start in zip(state.done, [state.start, *(its.end for its in state.done)], strict=False)
    )
    files = {part: (folder / f"{part}.data").open("rb") for part in {place[1] for place in places}}
    try:
        for _, part, start, end in places:
            files[part].seek(start)
            yield files[part].read(end - start)
    finally:
        for file in files.values():
            file.close()
