"""Answers as the CSV files that `neo4j-admin database import full` reads: entities, the texts, relations, mentions.

An entity is a node of its language and name, so that equal names of a language are one node. Which nodes there are
already is kept in a file, not in memory.
"""

import csv
import sqlite3
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from mere_ds.bulk.answering import Answered
from mere_ds.bulk.writing import id_of

HEADERS = {
    "entities.csv": ("id:ID(Entity)", "text", "lang", ":LABEL"),
    "texts.csv": ("line:ID(Text)", "id", "text", "lang", "note", ":LABEL"),
    "relations.csv": (
        *(":START_ID(Entity)", ":END_ID(Entity)", ":TYPE", "score:double", "line:long"),
        *("head_start:long", "head_end:long", "tail_start:long", "tail_end:long"),
    ),
    "mentions.csv": (":START_ID(Entity)", ":END_ID(Text)", ":TYPE", "start:long", "end:long"),
}


def write_graph(folder: Path, units: Iterable[list[Answered]], beside: dict[str, Any]) -> None:
    """Fill a new folder with the files of `HEADERS`."""
    folder.mkdir()
    seen_file = folder / "seen"
    with ExitStack() as stack, closing(sqlite3.connect(seen_file, isolation_level=None)) as seen:
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("PRAGMA synchronous = OFF")
        seen.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")
        writers = {}
        for name, header in HEADERS.items():
            file = stack.enter_context((folder / name).open("w", encoding="utf-8", newline=""))
            writers[name.removesuffix(".csv")] = csv.writer(file)
            more = [f"{key}:long" for key in beside] if name == "relations.csv" else []
            writers[name.removesuffix(".csv")].writerow([*header, *more])
        for answers in units:
            seen.execute("BEGIN")
            for answer in answers:
                _write(answer, writers, seen, beside)
            seen.execute("COMMIT")
    seen_file.unlink()


def _write(answer: Answered, writers: dict[str, Any], seen: sqlite3.Connection, beside: dict[str, Any]) -> None:
    if not answer.triples and answer.note is None:
        return
    writers["texts"].writerow([answer.number, id_of(answer), answer.text, answer.language, answer.note, "Text"])
    mentions: dict[tuple[str, int, int], None] = {}  # in order, each once
    for triple in answer.triples:
        ends = []
        for side in ("head", "tail"):
            text, start, end = triple[side].values()
            ends.append(entity := f"{answer.language}:{text}")
            if seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", [entity]).rowcount:
                writers["entities"].writerow([entity, text, answer.language, "Entity"])
            mentions[entity, start, end] = None
        offsets = [triple[side][end] for side in ("head", "tail") for end in ("start", "end")]
        what = [triple["relation"], triple["score"], answer.number]
        writers["relations"].writerow([*ends, *what, *offsets, *beside.values()])
    for entity, start, end in mentions:
        writers["mentions"].writerow([entity, answer.number, "MENTIONED_IN", start, end])
