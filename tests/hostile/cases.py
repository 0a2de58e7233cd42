"""A hostile case: material, a change to it, a command, and what the command may do then.

It may give the answer that it gives for intact material, or refuse in one line with code 1 or 2. It may never give
another answer in silence, show a traceback, hang, leave numbers that are not finite, or touch what is not its own.
"""

import contextlib
import fnmatch
import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from mere_ds.files import digest_file
from tests.hostile.children import Outcome, command

REFUSED, SAME, ANSWERED = "refused", "same", "answered"
STDOUT = "stdout"

_LOG_LINE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARNING) ")
_BAR = re.compile(rb"\d+%\||\d+(\.\d+)?(it|s|unit|texts?|sentences?|steps?|blocks?|batch)/s|\?\w+/s")


@dataclass(frozen=True)
class Use:
    """A command over material: what it reads, where its answer stands, what it may write."""

    name: str
    argv: tuple[str, ...]
    needs: tuple[str, ...]
    """Folders and files of the material that are put in place."""
    answers: tuple[str, ...] = (STDOUT,)
    """Patterns of files that hold the answer, or STDOUT."""
    writes: tuple[str, ...] = ()
    """Patterns of what it may change."""
    creates: bool = False
    """Whether it may make files and folders beside its material, unless it refuses."""


@dataclass(frozen=True)
class Case:
    """`change` is given the place where a copy of what `use` needs lies, and may return the standard input."""

    kind: str
    name: str
    use: Use
    change: Callable[[Path], bytes | None] = lambda place: None
    same: bool = True
    """Whether an answer must be that of intact material."""
    check: Callable[[Path, Outcome], str | None] = field(default=lambda place, outcome: None)
    """What else is wrong with an answer, if anything."""

    def __str__(self) -> str:
        return f"{self.name} | {self.use.name}".encode("unicode_escape").decode()


def judge(case: Case, material: Path, place: Path, run: Callable = command) -> tuple[str, str]:
    """(REFUSED, SAME or ANSWERED, "") or ("failed", what is wrong); `run` is `command` or `program`."""
    good = intact(case.use, material, place) if case.same else None
    _lay_out(case.use, material, place)
    stdin = case.change(place) or b""
    before = _snapshot(place)
    outcome = run(place, case.use.argv, stdin)
    after = _snapshot(place)
    wrong = _wrong_end(outcome) or _wrong_touch(case.use, before, after, outcome.code == 0)
    if not wrong and outcome.code == 0:
        wrong = _not_sound(place, before, after, outcome) or case.check(place, outcome)
        if not wrong and case.same and _answer(case.use, place, outcome) != good:
            wrong = "another answer than for intact material, without a word"
    if wrong:
        return "failed", f"{wrong}\ncode {outcome.code}, {outcome.seconds:.1f} s\n{_shown(outcome)}"
    return (REFUSED if outcome.code else SAME if case.same else ANSWERED), ""


@cache
def intact(use: Use, material: Path, place: Path) -> dict[str, bytes | str]:
    """The answer for intact material, computed once in a process."""
    _lay_out(use, material, place)
    outcome = command(place, use.argv)
    assert outcome.code == 0, f"{use.name} fails on intact material: {_shown(outcome)}"
    answer = _answer(use, place, outcome)
    assert answer, f"{use.name} gives no answer: {_shown(outcome)}"
    return answer


def _lay_out(use: Use, material: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in use.needs:
        if (material / name).is_dir():
            shutil.copytree(material / name, place / name, symlinks=True)
        else:
            shutil.copy(material / name, place / name)


def _answer(use: Use, place: Path, outcome: Outcome) -> dict[str, bytes | str]:
    found = {STDOUT: outcome.out} if STDOUT in use.answers else {}
    for pattern in use.answers:
        found |= {str(path.relative_to(place)): _digest(path) for path in place.glob(pattern) if path.is_file()}
    return found


def _digest(path: Path) -> str:
    """Of a checkpoint's state without what it was made from (a manifest may lose its last line end), when and where."""
    if path.name != "training.json":
        return digest_file(path)
    with contextlib.suppress(ValueError):
        state = json.loads(path.read_bytes())
        return json.dumps({k: v for k, v in state.items() if k not in ("ingredients", "start")})
    return "no JSON"


def _snapshot(place: Path) -> dict[str, str]:
    """What lies below a folder: of files the digests, of links where they lead."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        else:
            found[name] = digest_file(path) if path.is_file() else "folder"
    return found


def _wrong_end(outcome: Outcome) -> str | None:
    """Not code 0, nor 1 or 2 with one line."""
    if outcome.code is None:
        return "hangs"
    if b"Traceback" in outcome.err + outcome.out:
        return "a traceback"
    if outcome.code not in (0, 1, 2):
        return f"ends with code {outcome.code}"
    lines = [line for line in re.split(rb"[\r\n]+", outcome.err) if line.strip()]
    told = [line for line in lines if not _LOG_LINE.match(line) and not _BAR.search(line)]
    if outcome.code and (len(told) != 1 or not re.match(rb"mere-ds[ a-z-]*: ", told[0])):
        return f"{len(told)} lines for one"
    return None


def _wrong_touch(use: Use, before: dict[str, str], after: dict[str, str], answered: bool) -> str | None:
    known = before if use.creates and answered else before | after
    changed = [name for name in known if before.get(name) != after.get(name)]
    left = [name for name in after if ".part" in name and name not in before]
    others = [name for name in changed if not any(fnmatch.fnmatch(name, pattern) for pattern in use.writes)]
    if others or left:
        return f"touched {', '.join(others)}" if others else f"left {', '.join(left)}"
    return None


def _not_sound(place: Path, before: dict[str, str], after: dict[str, str], outcome: Outcome) -> str | None:
    """Numbers that are not finite, or no JSON, in the files that it wrote or in what it said."""
    written = [name for name in after if after[name] != before.get(name) and "damaged-" not in name]
    for path in [place / name for name in written if (place / name).is_file()]:
        lines = [path.read_bytes()] if path.suffix == ".json" else path.read_bytes().split(b"\n")
        if path.suffix in (".json", ".jsonl") and not all(map(_is_json, filter(None, lines))):
            return f"{path.name} is not JSON"
        if path.suffix == ".safetensors" and not _finite(path):
            return f"{path.name} holds numbers that are not finite"
    if not all(_is_json(line) for line in outcome.out.split(b"\n") if line.startswith(b'{"')):
        return "prints what is not JSON"
    return None


def _is_json(content: bytes) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(name)

    with contextlib.suppress(ValueError, RecursionError):
        json.loads(content, parse_constant=refuse)
        return True
    return False


def _finite(path: Path) -> bool:
    try:
        return all(math.isfinite(float(np.abs(tensor).max(initial=0))) for tensor in load_file(path).values())
    except SafetensorError:
        return False


def _shown(outcome: Outcome) -> str:
    said = "\n".join(f"--- {name}\n{text.decode(errors='replace')[-1500:]}" for name, text in
                     (("stdout", outcome.out), ("stderr", outcome.err)) if text)  # fmt: skip
    return said or "(nothing said)"
