"""The units of all parts, when none is missing -> the output, whole or not at all, and a record of what made it.

`OUT.record.json` has what the output was made from, and how many rows, triples and notes there are. By it the same
command knows that nothing is left to do.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mere_ds.bulk.answering import Answered
from mere_ds.bulk.graph_files import HEADERS, write_graph
from mere_ds.bulk.parquet_tables import write_table
from mere_ds.bulk.progress import AGAIN, State, Totals, read_state, units_of, work_folder
from mere_ds.bulk.writing import MADE_AT_THE_END, Writer, kept_answers
from mere_ds.errors import UserError
from mere_ds.files import naming, read_json, sync, write_json, writing
from mere_ds.parts import Part, check_finished, check_same
from mere_ds.versions import commit, versions


def record_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.record.json")


def is_finished(out: Path, made_from: dict[str, Any], overwrite: bool, is_stream: bool) -> bool:
    """Whether `out` was made from the same already, and nothing is left to do. Raises UserError if it is there and was
    not, unless it may be replaced. Of a stream it isn't known whether it is the same."""
    if not out.exists():
        return False
    if not (out.is_file() or out.is_dir()):
        raise UserError(f"{out}: is a device or a pipe: choose a file, or leave --out out to print the answers")
    record = record_of(out)
    same = record.is_file() and read_json(record, "remove it").get("made_from") == made_from
    same = same and not (is_stream and not list(work_folder(out).glob("*.data")))
    if not same and not overwrite:
        raise UserError(f"{out}: exists already: choose another file or pass --overwrite")
    if not same and out.is_dir() and not (out / next(iter(HEADERS))).is_file():
        raise UserError(f"{out}: is not a folder of this command, so it is not overwritten: choose another folder")
    return same and not list(work_folder(out).glob("*.data"))


def begun_with(out: Path, name: str, besides: Part | None, overwrite: bool) -> Any:
    """What `out`, or what is begun of it, was made from under this name, if anything. The part `besides` is
    not asked, nor an output that is to be overwritten."""
    if out.exists() and record_of(out).is_file() and not overwrite:
        return read_json(record_of(out), "remove it").get("made_from", {}).get(name)
    folder = work_folder(out)
    begun = (Part.of_name(path.stem) for path in sorted(folder.glob("*.journal")))
    states = (read_state(folder, part) for part in begun if part != besides)
    return next((state.made_from.get(name) for state in states if state), None)


def states_of(out: Path, made_from: dict[str, Any], of: int) -> dict[Part, State]:
    """All parts. Raises UserError if one is missing, unfinished, or made from something else."""
    states: dict[Part, State] = {}

    def unfinished() -> Iterator[Part]:
        for part in Part.all(of):
            state = read_state(work_folder(out), part)
            if state and state.whole:
                states[part] = state
            else:
                yield part

    check_finished(out, unfinished())
    for state in states.values():
        check_same(out, state.made_from, made_from, AGAIN)
    units = sorted(done.unit for state in states.values() for done in state.done)
    if units != list(range(len(units))):
        raise UserError(f"{out}: its parts don't fit together: pass --noresume with each --part to make them again")
    return states


def finish_output(out: Path, states: dict[Part, State], writer: Writer, table: Path | None) -> None:
    """Make `out` and its record of all parts, and remove what was on disk of them. `table` is a Parquet input."""
    folder = work_folder(out)
    with naming(out, folder):
        made = _made(folder, states, writer, table)
        write_json(folder / "record.json", _record(states))
        os.replace(folder / "record.json", record_of(out))
        if out.is_dir():
            shutil.rmtree(folder / "replaced", ignore_errors=True)
            os.replace(out, folder / "replaced")
        os.replace(made, out)
        sync(out.parent)
    remove_work(out)


def _made(folder: Path, states: dict[Part, State], writer: Writer, table: Path | None) -> Path:
    """The output, still in the folder of what is on disk meanwhile, where a killed command leaves nothing behind."""
    if len(states) == 1 and writer.format not in MADE_AT_THE_END:
        return folder / f"{next(iter(states))}.data"

    def units() -> Iterator[list[Answered]]:
        return map(kept_answers, units_of(folder, states.items()))

    made = folder / "made"
    if writer.format == "neo4j":
        shutil.rmtree(made, ignore_errors=True)
        write_graph(made, units(), writer.beside)
        return made
    with writing(made) as file:
        if writer.format == "parquet":
            write_table(file, units, writer.beside, table)
        else:
            file.write(writer.header())
            file.writelines(units_of(folder, states.items()))
    return made


def remove_work(out: Path) -> None:
    """The data first: without it nothing is done again."""
    folder = work_folder(out)
    with naming(out, folder):
        for path in folder.glob("*.data"):
            path.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def _record(states: dict[Part, State]) -> dict[str, Any]:
    totals = Totals.of(states.values())
    return {
        "made_from": next(iter(states.values())).made_from,
        "rows": totals.rows,
        "triples": totals.triples,
        "notes": dict(sorted(totals.notes.items())),
        "versions": versions(),
        "commit": commit(),
    }
