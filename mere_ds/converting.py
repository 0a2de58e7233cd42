"""A corpus of any format -> a folder of JSON lines (or another format that tools read), with an account of every row.

`conversion.json` records what the folder was made from; `rejects.jsonl` has what was rejected, left out or repaired.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mere_ds.corpus.folder import Corpus, open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.stated import REPORTS
from mere_ds.corpus.formats.writer_registry import WRITERS
from mere_ds.corpus.inspection import inspect_corpus
from mere_ds.errors import UserError
from mere_ds.files import check_apart, read_json, write_json
from mere_ds.target import making
from mere_ds.versions import commit, versions

RECORD, REJECTS = REPORTS

_DISK_FACTOR = 2  # what is written, in sizes of the source


def convert_corpus(
    source: str | Path,
    out: str | Path,
    options: SourceOptions = SourceOptions(),  # noqa: B008 (frozen)
    languages: str | Sequence[str] = "all",
    to: str = "jsonl",
    triples: str = "many",
    negative_labels: Sequence[str] = (),
    add: bool = False,
    overwrite: bool = False,
    label_map: str | Path | None = None,
) -> dict:
    """Writes the folder `out` atomically and returns the report of `inspection.inspect_corpus`.

    `to` is a key of `WRITERS`; source, languages, triples and labels as in `open_corpus`. With `add` the files of `out`
    stay, and those of this source come beside them. Raises UserError for bad input, an `out` that exists (or, with
    `add`, has one of the new files already), MachineError while another process writes it, OSError that names it.
    """
    corpus = open_corpus(
        source, languages, triples=triples, negative_labels=negative_labels, options=options, label_map=label_map
    )
    if to not in WRITERS:
        raise UserError(f"--to={to}: must be one of {', '.join(WRITERS)}")
    out = Path(out)
    check_apart("OUT", out, SOURCE=source)
    if add and not (out / RECORD).is_file():
        raise UserError(f"--add: {out} was not made by mere-ds convert: omit --add, or choose another folder")
    with making(out, overwrite or add, _DISK_FACTOR * corpus.bytes, RECORD, "converted corpus") as work:
        part = work / "part"
        before = _copied(out, part, to) if add else []
        part.mkdir(exist_ok=True)
        with WRITERS[to](part, out) as writer:
            report = inspect_corpus(corpus, part / "new.jsonl", writer.write, "convert")
        _append(part / "new.jsonl", part / REJECTS)
        write_json(part / RECORD, {"conversions": [*before, _record(corpus, options, to, report)]})
    return report


def _copied(out: Path, part: Path, to: str) -> list[dict]:
    """Links the files of an earlier conversion and returns what was recorded of it. Raises UserError for one to another
    format: who reads the folder would get one of the two alone."""
    recorded = read_json(out / RECORD, "restore it, or convert again without --add").get("conversions")
    conversions = [found for found in recorded if isinstance(found, dict)] if isinstance(recorded, list) else []
    given = [options.get("to") for found in conversions if isinstance(options := found.get("options"), dict)]
    if other := next((name for name in given if name not in (None, to)), None):
        raise UserError(f"--add: {out} was made with --to={other}: pass the same, or choose another folder")
    shutil.copytree(out, part, copy_function=os.link)
    (part / RECORD).unlink()  # a link: what is written under the name must be another file
    rejects = part / REJECTS
    content = rejects.read_bytes() if rejects.is_file() else b""
    rejects.unlink(missing_ok=True)
    rejects.write_bytes(content)
    return conversions


def _append(new: Path, rejects: Path) -> None:
    with new.open("rb") as read, rejects.open("ab") as write:
        shutil.copyfileobj(read, write)
    new.unlink()


def _record(corpus: Corpus, options: SourceOptions, to: str, report: dict) -> dict:
    return {
        "options": asdict(options) | {"negative_label": corpus.negative_labels, "triples": corpus.triples, "to": to},
        "versions": versions(),
        "commit": commit(),
        "source_sha256": corpus.digests(),
        **report,
    }
