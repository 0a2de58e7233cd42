"""Parts of a shards folder: what one of several calls has tokenised, and all parts -> what one call would have.

`OUT/parts/2-of-4` holds the second of four parts: `tokens`, `texts`, `sentences.npz` and `rejects.jsonl` of its units,
`record.json` (what it was made from, and what its reading of the whole corpus gave) and `SHA256SUMS`. The first part
has `encoder/` too.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

import numpy as np

from mere_ds.corpus.folder import Corpus
from mere_ds.corpus.rows import FileCounts
from mere_ds.encoders.sources import EncoderInfo
from mere_ds.errors import UserError
from mere_ds.files import digest_of, digest_of_json, read_json, write_json
from mere_ds.parts import Part, check_finished, check_same
from mere_ds.shards.array_files import read_npz
from mere_ds.shards.collecting import OF_TRIPLES, TEXTS, TOKENS, Gathered
from mere_ds.shards.manifest import ENCODER, REJECTS
from mere_ds.shards.packing import LocalSource, StoredFile, describe, save_arrays
from mere_ds.shards.settings import ShardSettings
from mere_ds.shards.tokenising import Tokenised
from mere_ds.sums import damage, write_sums
from mere_ds.versions import commit, version_of, versions

PARTS, RECORD = "parts", "record.json"

_ARRAYS = "sentences.npz"
_LIBRARIES = ("tokenizers", "regex")  # they decide how a sentence is tokenised, as this program and Unicode do
_AGAIN = "pass what it was begun with, or --overwrite to make this part again"
_DAMAGED = "copy this part again, or make it again with --overwrite"


def made_from(corpus: Corpus, settings: ShardSettings) -> dict[str, Any]:
    """What decides the bytes of a part: the source's digest, flags and versions, as plain JSON. Reads all files."""
    return json.loads(
        json.dumps(
            {
                **asdict(settings),
                "label_map": corpus.label_map and corpus.label_map.sha256,
                "source": digest_of_json({"files": list(corpus.digests().values())}),
                "mere_ds": versions()["mere_ds"],
                "unicode": unidata_version,
                **{name: version_of(name) for name in _LIBRARIES},
            }
        )
    )


def save_part(folder: Path, part: Part, origin: dict[str, Any], tokenised: Tokenised) -> None:
    """Writes what the folder lacks, which has tokens, texts, rejects and the encoder already; of the encoder only the
    first part keeps more than its description. `origin` as `made_from` gives it."""
    its = tokenised.gathered
    held_out = {name: np.packbits(getattr(tokenised, name)) for name in ("leaks", "dev")}
    save_arrays(folder / _ARRAYS, {**its.columns, "sizes": its.sizes, **held_out})
    files = [asdict(describe(path)) for path in sorted((folder / ENCODER).iterdir())] if part.number == 1 else []
    if part.number > 1:
        shutil.rmtree(folder / ENCODER)
    record = {
        "part": str(part),
        "made_from": origin,
        "read": {
            "languages": tokenised.languages,
            "rows": its.rows_read,
            "units": its.units,
            "files": [counts.as_dict() for counts in its.counts],
            "repeats": tokenised.repeats,
            "held_out": digest_of(b"".join(array.tobytes() for array in held_out.values())),
            "encoder": tokenised.encoder.as_dict(),
            "pad_id": tokenised.pad_id,
        },
        "sentences": len(its.columns["rows"]),
        "labels": its.labels,
        "changes": [counts.as_dict() for counts in its.changes],
        "windows": its.windows,
        "encoder_files": files,
        "versions": versions(),
        "commit": commit(),
    }
    write_json(folder / RECORD, record)
    write_sums(folder)


def is_whole(folder: Path, part: Part, origin: dict[str, Any]) -> bool:
    """Whether the part is there. Raises UserError if it is damaged or was made from something else."""
    if not folder.exists():
        return False
    _record_of(folder, part, origin)
    return True


@dataclass(frozen=True)
class StoredPart:
    """A part on disk."""

    folder: Path
    record: dict[str, Any]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        return read_npz((self.folder / _ARRAYS).read_bytes())

    @cached_property
    def units(self) -> np.ndarray:
        """int64 [units + 1]; where each unit of this part begins, and the last one ends, in columns of sentences."""
        return np.cumsum([0, *self.arrays["sizes"][:, 1]])

    def ends(self, sizes: str, width: int = 1) -> np.ndarray:
        """The same in what has as many numbers or bytes for a sentence as the column `sizes` says, times `width`."""
        return np.concatenate([[0], np.cumsum(self.arrays[sizes], dtype=np.int64)])[self.units] * width

    def pieces(self, column: str) -> list[np.ndarray]:
        """A column unit by unit."""
        ends = self.ends("counts", OF_TRIPLES[column]) if column in OF_TRIPLES else self.units
        return np.split(self.arrays[column], ends[1:-1])


def read_parts(out: Path, of: int, origin: dict[str, Any]) -> list[StoredPart]:
    """All parts of a folder. Raises UserError if one is missing, damaged or made from something else than `origin`, if
    there are others, or if they don't fit together."""
    folder = out / PARTS
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if others := sorted(name for name in there if not (name.startswith(".") or _is_of(name, of))):
        raise UserError(
            f"{folder}: {', '.join(others)} is none of {of} parts: pass --join with the number of parts that were "
            "made, or remove it"
        )
    check_finished(out, (part for part in Part.all(of) if str(part) not in there))
    parts = [StoredPart(path := folder / str(part), _record_of(path, part, origin)) for part in Part.all(of)]
    _check_read_alike(parts)
    read = parts[0].record["read"]
    numbers = np.concatenate([part.arrays["sizes"][:, 0] for part in parts])
    if not np.array_equal(np.sort(numbers), np.arange(read["units"])):
        raise UserError(f"{folder}: the parts don't fit together: make them again with --overwrite")
    return parts


def _is_of(name: str, of: int) -> bool:
    """Whether this is the name of one of so many parts."""
    number = name.partition("-of-")[0]
    return number.isdecimal() and 1 <= int(number) <= of and name == str(Part(int(number), of))


def _check_read_alike(parts: Sequence[StoredPart]) -> None:
    read = parts[0].record["read"]
    for part in parts:
        differing = sorted(name for name, value in read.items() if part.record["read"][name] != value)
        if differing:
            raise UserError(
                f"{part.folder}: read the source otherwise than {parts[0].folder.name} ({', '.join(differing)}): make "
                "both again with the same libraries"
            )


def _record_of(folder: Path, part: Part, origin: dict[str, Any]) -> dict[str, Any]:
    if what := damage(folder, last=RECORD):
        raise UserError(f"{folder}: damaged ({what}): {_DAMAGED}")
    record = read_json(folder / RECORD, _DAMAGED)
    if record.get("part") != str(part):
        raise UserError(f"{folder}: holds the part {record.get('part')}: {_DAMAGED}")
    check_same(folder, record["made_from"], origin, _AGAIN)
    return record


def join(parts: Sequence[StoredPart], folder: Path, work: Path) -> Tokenised:
    """What one call would have tokenised: unit by unit, in the order of the files. Encoder and rejects go to `folder`,
    which is made, tokens and texts to `work`. Raises UserError if the encoder is damaged."""
    first = parts[0].record
    read, encoder_files = first["read"], [StoredFile(**file) for file in first["encoder_files"]]
    folder.mkdir()
    shutil.copytree(LocalSource(parts[0].folder).folder_of(ENCODER, encoder_files), folder / ENCODER)
    sizes = np.concatenate([part.arrays["sizes"] for part in parts])
    order = np.argsort(sizes[:, 0])
    there = [(number, place) for number, part in enumerate(parts) for place in range(len(part.units) - 1)]
    places = [there[unit] for unit in order]
    _copy_units(parts, places, folder, work)
    labels = list(dict.fromkeys(label for part in parts for label in part.record["labels"]))
    columns = {}
    for name in parts[0].arrays.keys() - {"sizes", "leaks", "dev"}:
        pieces = [part.pieces(name) for part in parts]
        if name == "labels":
            pieces = [_renumbered(part, its, labels) for part, its in zip(parts, pieces, strict=True)]
        columns[name] = np.concatenate([pieces[number][place] for number, place in places])
    windows: dict[str, Counter] = {}
    for part in parts:
        for name, counts in part.record["windows"].items():
            windows.setdefault(name, Counter()).update(counts)
    changes = [list(map(FileCounts.from_dict, part.record["changes"])) for part in parts]
    gathered = Gathered(
        columns,
        labels,
        [FileCounts.from_dict(counts) for counts in read["files"]],
        [FileCounts.sum(*of_file) for of_file in zip(*changes, strict=True)],
        read["rows"],
        windows,
        read["units"],
        sizes[order],
    )
    leaks, dev = (np.unpackbits(parts[0].arrays[name], count=read["rows"]).astype(bool) for name in ("leaks", "dev"))
    encoder = EncoderInfo.from_dict(read["encoder"])
    return Tokenised(read["languages"], gathered, encoder, read["pad_id"], read["repeats"], leaks, dev)


def _copy_units(parts: Sequence[StoredPart], places: Sequence[tuple[int, int]], folder: Path, work: Path) -> None:
    """Tokens, texts and rejects unit by unit; `places` are the part of each and its place in that."""
    sizes = {
        work / TOKENS: [np.diff(part.ends("lengths", np.dtype(np.int32).itemsize)).tolist() for part in parts],
        work / TEXTS: [np.diff(part.ends("text_bytes")).tolist() for part in parts],
        folder / REJECTS: [part.arrays["sizes"][:, 2].tolist() for part in parts],
    }
    for path, of_parts in sizes.items():
        with ExitStack() as files, path.open("wb") as out:
            opened = [files.enter_context((part.folder / path.name).open("rb")) for part in parts]
            for number, place in places:
                file, size = opened[number], of_parts[number][place]
                out.writelines(islice(file, size) if path.name == REJECTS else [file.read(size)])


def _renumbered(part: StoredPart, pieces: list[np.ndarray], labels: list[str]) -> list[np.ndarray]:
    """The numbers of labels of one part as indices into all `labels`."""
    place = {label: number for number, label in enumerate(labels)}
    numbers = np.array([place[label] for label in part.record["labels"]], np.int32)
    return [numbers[piece] for piece in pieces]
