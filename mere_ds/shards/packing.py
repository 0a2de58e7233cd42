"""The format of a shard: a tar of members, each an `.npz` with plain arrays of some thousand sentences and, for dev and
test, a `.json` with their texts. Any webdataset pipeline with `.decode()` reads them."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import webdataset as wds
from webdataset.tariterators import group_by_keys, tar_file_expander

from mere_ds.errors import UserError, first_line
from mere_ds.files import digest_file, digest_of
from mere_ds.shards.array_files import npy, npz, read_npz
from mere_ds.sums import is_intact

ADVICE = "copy the folder again or run mere-ds shard again"
_FILE_ADVICE = "copy it again or run mere-ds shard again"

_DTYPES = {
    "tokens": np.int32,
    "lengths": np.int16,
    "languages": np.int16,
    "counts": np.int16,
    "labels": np.int16,
    "positions": np.int16,
    "cuts": np.int16,
}
_OF_TRIPLES = {"labels": (), "positions": (4,), "cuts": (4,)}
_ONE_TRIPLE = [name for name in _DTYPES if name != "counts"]  # if each sentence has one, and before version 4
_VERSION_2 = {*_ONE_TRIPLE, "exact"} - {"cuts"}  # "exact" is not used


@dataclass(slots=True)
class Sentences:
    """n tokenised sentences with t triples as arrays: of a member, a window of shards or a whole split."""

    tokens: np.ndarray
    """int32 [tokens of all sentences]; the concatenated sentences `[CLS] [xx] w ... w [SEP]`."""
    lengths: np.ndarray
    """int16 [n]; tokens of each sentence."""
    languages: np.ndarray
    """int16 [n]; index into the manifest's languages."""
    labels: np.ndarray
    """int16 [t]; index into the manifest's labels; the triples of all sentences, one after another."""
    positions: np.ndarray
    """int16 [t, 4]; tokens of head start, head end, tail start, tail end (ends inclusive); -1: no such token."""
    cuts: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.int16))
    """int16 [t, 4]; characters to trim from head and tail, at the start of the first token and the end of the last one
    (see `EncodedTriple.cuts`); -1: no such token, and everywhere in shards of older versions, which lack this array.
    """
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int16))
    """int16 [n]; triples of each sentence; all 1 if not given, as in shards of older versions."""
    starts: np.ndarray = field(init=False)
    """int64 [n]; start of each sentence in `tokens`; derived, not stored."""
    triple_starts: np.ndarray = field(init=False)
    """int64 [n]; the same in `labels`, `positions` and `cuts`."""

    def __post_init__(self) -> None:
        if not len(self.cuts):  # not given
            self.cuts = np.full_like(self.positions, -1)
        if not len(self.counts):
            self.counts = np.ones_like(self.lengths)
        for name, dtype in _DTYPES.items():
            setattr(self, name, np.asarray(getattr(self, name), dtype))
        self.starts = np.cumsum(self.lengths, dtype=np.int64) - self.lengths
        self.triple_starts = np.cumsum(self.counts, dtype=np.int64) - self.counts

    def __len__(self) -> int:
        return len(self.lengths)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, without those that are derived from them."""
        return {name: getattr(self, name) for name in _DTYPES}

    def stored(self) -> dict[str, np.ndarray]:
        """The arrays that are stored in a member, by name; `counts` only if one of them isn't 1."""
        names = _DTYPES if (self.counts != 1).any() else _ONE_TRIPLE
        return {name: getattr(self, name) for name in names}

    def take(self, rows: np.ndarray) -> "Sentences":
        """The sentences `rows`, in this order."""
        triples = self.triples_of(rows)
        arrays = {
            name: array[triples if name in _OF_TRIPLES else rows]
            for name, array in self.arrays().items()
            if name != "tokens"
        }
        return Sentences(self.tokens[_places(self.starts[rows], self.lengths[rows])], **arrays)

    def triples_of(self, rows: np.ndarray) -> np.ndarray:
        """Where the triples of the sentences `rows` are in `labels`, `positions` and `cuts`: int64, in this order."""
        starts, counts = self.triple_starts[rows], self.counts[rows]
        return starts if (counts == 1).all() else _places(starts, counts)  # the same, and much faster

    def have(self, triples: np.ndarray) -> np.ndarray:
        """bool [n]: whether a sentence has one of these triples, bool [t]."""
        owners = np.repeat(np.arange(len(self)), self.counts)
        return np.bincount(owners[triples], minlength=len(self)) > 0

    @staticmethod
    def join(parts: Sequence["Sentences"]) -> "Sentences":
        """The sentences of all parts, concatenated."""
        arrays = [part.arrays() for part in parts]
        return Sentences(**{name: np.concatenate([a[name] for a in arrays]) for name in arrays[0]})


def _places(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The places of pieces that begin at `starts`, of these lengths, one piece after another; int64."""
    lengths = lengths.astype(np.int64)
    begins = np.cumsum(lengths) - lengths
    return np.repeat(starts - begins, lengths) + np.arange(lengths.sum())


@dataclass(frozen=True)
class StoredFile:
    """A file of a shards folder, as listed in the manifest."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Shard(StoredFile):
    """One shard file."""

    sentences: int
    index: StoredFile | None = None
    """A file beside it with the lengths and languages of its sentences; None before version 5."""


class ShardSource(Protocol):
    """Where the files of a shards folder come from: `LocalSource` or `mere_ds.shards.remote.RemoteSource`.

    Its `str` is the folder or the address. File names must be safe: `Manifest.load` accepts only plain names.
    """

    def path(self, name: str) -> str:
        """The file's path or address, for messages."""

    def read_manifest(self, name: str) -> bytes:
        """The content of the manifest, the only file without a known digest. Raises UserError if it is missing."""

    def read(self, file: StoredFile) -> bytes:
        """A file's content. Raises UserError if it is missing or does not match its digest."""

    def check(self, file: StoredFile) -> None:
        """Raises UserError for a file that is missing or has another size, if that is known without reading it."""

    def folder_of(self, name: str, files: Sequence[StoredFile]) -> Path:
        """The local folder `name` with these files; their digests are checked once per process.

        Raises UserError for a missing or damaged file.
        """


def write_shard(
    path: Path, sentences: Sentences, sentences_per_member: int, records: Sequence[bytes] | None = None
) -> Shard:
    """Writes a shard and its index; equal sentences give equal bytes.

    `records`: each sentence as a JSON object in UTF-8.
    """
    buffer = io.BytesIO()
    with wds.TarWriter(buffer, user="", group="", mtime=0, encoder=False) as tar:
        for member, start in enumerate(range(0, len(sentences), sentences_per_member)):
            end = min(start + sentences_per_member, len(sentences))
            arrays = npz(sentences.take(np.arange(start, end)).stored())
            sample = {"__key__": f"{path.stem}-{member:04d}", "npz": arrays}
            if records is not None:
                sample["json"] = b"[" + b",".join(records[start:end]) + b"]"
            tar.write(sample)
    packed = buffer.getvalue()
    path.write_bytes(packed)
    columns = path.with_suffix(".index.npy")
    columns.write_bytes(npy(np.stack([sentences.lengths, sentences.languages])))
    return Shard(path.name, len(packed), digest_of(packed), len(sentences), describe(columns))


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> StoredFile:
    """Writes an `.npz` whose bytes depend only on the arrays."""
    path.write_bytes(npz(arrays))
    return describe(path)


def describe(path: Path) -> StoredFile:
    """A file's manifest entry. Raises OSError."""
    return StoredFile(path.name, path.stat().st_size, digest_file(path))


class LocalSource:
    """A shards folder on this machine; see `ShardSource`."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).resolve()

    def __str__(self) -> str:
        return str(self.folder)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def read_manifest(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError:
            raise UserError(f"{self.folder}: contains no {name}: pass a folder made by mere-ds shard") from None

    def read(self, file: StoredFile) -> bytes:
        path = self.folder / file.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}): {_FILE_ADVICE}") from None
        if digest_of(content) != file.sha256:
            raise UserError(f"{path}: damaged, its sha256 does not match the manifest: {_FILE_ADVICE}")
        return content

    def check(self, file: StoredFile) -> None:
        path = self.folder / file.file
        if not path.is_file():
            raise UserError(f"{path}: missing: {ADVICE}")
        size = path.stat().st_size
        if size != file.bytes:
            raise UserError(f"{path}: has {size} bytes instead of {file.bytes}: {ADVICE}")

    def folder_of(self, name: str, files: Sequence[StoredFile]) -> Path:
        for file in files:
            path = self.folder / name / file.file
            try:
                intact = is_intact(path, file.sha256)
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror}): {_FILE_ADVICE}") from None
            if not intact:
                raise UserError(f"{path}: damaged, its sha256 does not match the manifest: {_FILE_ADVICE}")
        return self.folder / name


def read_shard(source: ShardSource, shard: Shard, *extensions: str) -> Iterator[dict]:
    """A shard's members with these extensions, decoded by webdataset after the file's digest has been checked.

    webdataset gets the verified bytes and opens nothing itself: no URL, no `pipe:`. Raises UserError for a missing or
    damaged file, and during iteration if a member can't be decoded or lacks an extension.
    """
    return _decoded(io.BytesIO(source.read(shard)), shard.file, extensions, source.path(shard.file))


def _decoded(stream: BinaryIO, name: str, extensions: Sequence[str], path: str) -> Iterator[dict]:
    endings = tuple(f".{extension}" for extension in extensions)
    untar, group = wds.pipelinefilter(tar_file_expander), wds.pipelinefilter(group_by_keys)
    try:
        for member in wds.DataPipeline(
            lambda: iter([{"url": name, "stream": stream}]),
            untar(select_files=lambda name: name.endswith(endings)),
            group(),
            wds.decode(_arrays),
        ):
            for extension in extensions:
                member[extension]  # KeyError if it is missing, or if a name has more dots
            yield member
    except Exception as error:  # tarfile, zipfile, numpy, json and webdataset raise many kinds for invalid members
        why = first_line(error.__cause__ or error)  # webdataset's own DecodingError says nothing
        raise UserError(f"{path}: cannot be decoded as a shard ({why}): {ADVICE}") from error


def _arrays(key: str, data: bytes) -> dict[str, np.ndarray] | None:
    """What webdataset takes instead of its own decoder of a member, see `mere_ds.shards.array_files`."""
    return read_npz(data) if key == ".npz" else None


def read_sentences(source: ShardSource, shard: Shard) -> Sentences:
    """All sentences of a shard; types and shapes of its arrays are checked. Raises UserError as `read_shard`."""
    return join_members([member["npz"] for member in read_shard(source, shard, "npz")], source.path(shard.file))


def join_members(parts: Sequence[dict[str, np.ndarray]], path: str) -> Sentences:
    """The sentences of a shard's decoded `.npz` members. Raises UserError that names `path` if the arrays are wrong."""
    if not parts or not all(map(_fits, parts)):
        raise UserError(f"{path}: its arrays are not those of a shard: {ADVICE}")
    return Sentences.join([Sentences(**{name: part[name] for name in _DTYPES if name in part}) for part in parts])


def _fits(arrays: dict[str, np.ndarray]) -> bool:
    """Whether a member's arrays have the names, types and shapes of `Sentences`."""
    if arrays.keys() not in (_DTYPES.keys(), set(_ONE_TRIPLE), _VERSION_2):
        return False
    lengths = arrays["lengths"]
    counts = arrays.get("counts", np.ones_like(lengths))
    if {lengths.dtype, counts.dtype} != {np.dtype(np.int16)} or counts.min(initial=0) < 0:  # shapes follow
        return False
    n, tokens, triples = lengths.size, int(lengths.sum(dtype=np.int64)), int(counts.sum(dtype=np.int64))
    shapes = {"tokens": (tokens,)} | {name: (triples, *width) for name, width in _OF_TRIPLES.items()}
    return all(
        arrays[name].dtype == _DTYPES[name] and arrays[name].shape == shapes.get(name, (n,))
        for name in _DTYPES.keys() & arrays.keys()
    )
