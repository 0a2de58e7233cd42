"""Shards with right digests and wrong contents, and damaged ones: always one line, never a wrong number."""

import io
import json
import random
import shutil
import tarfile

import numpy as np
import pytest

from mere_ds.errors import UserError
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import describe
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import RowReader, ShardReader, TextReader
from mere_ds.shards.sealing import seal
from tests.shards.old_shards import as_version_4

SHARD = "train-00000.tar"


@pytest.fixture(scope="session")
def original(manifest):
    return manifest.source.folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(original, tmp_path / "shards")


def use(folder) -> None:
    """Loads and reads everything as training and evaluation do."""
    m = Manifest.load(folder)
    assert (m.encoder_folder / "config.json").is_file()
    for split in ("train", "test"):
        plan = EpochPlan(m.index_of(split), 8)
        with ShardReader(m, split, plan, micro=8, prefetch=False) as reader:
            for _ in reader:
                pass
    list(RowReader(m, "dev").by_length(np.arange(m.splits["dev"].sentences), 1 << 12))
    for split in ("dev", "test"):
        TextReader(m, split).texts_of(range(m.splits[split].sentences))


def refusal(folder) -> str:
    with pytest.raises(UserError) as refused:
        use(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def prove(folder, name: str) -> None:
    """Writes the digest of a changed file into the manifest, as one who made such shards would."""
    path = folder / "manifest.json"
    plain, now = json.loads(path.read_text(encoding="utf-8")), describe(folder / name)
    if name == "index.npz":
        plain.update(index_sha256=now.sha256, index_bytes=now.bytes)
    for shard in (shard for split in plain["splits"].values() for shard in split["shards"]):
        for file in (shard, shard.get("index", {})):
            if file.get("file") == name:
                file.update(bytes=now.bytes, sha256=now.sha256)
    path.write_bytes(seal(plain))


def rewrite(folder, shard: str, change) -> None:
    """Lets `change(name, content)` make each member's content again, None leaving it out."""
    with tarfile.open(folder / shard) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    with tarfile.open(folder / shard, "w") as tar:
        for name, content in members.items():
            content = change(name, content)
            if content is not None:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    prove(folder, shard)


def npz(content: bytes, change) -> bytes:
    arrays = dict(np.load(io.BytesIO(content)))
    change(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def put(name: str, place, value):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return change


def remade(name: str, make):
    return lambda arrays: arrays.update({name: make(arrays[name])})


def longer_sentence(arrays):
    """Lengths whose sum is right, but not those of the index."""
    lengths = arrays["lengths"].copy()
    lengths[0], lengths[1] = lengths[0] + 1, lengths[1] - 1
    arrays.update(lengths=lengths, positions=np.full_like(arrays["positions"], 2), cuts=np.zeros_like(arrays["cuts"]))


def counts(*first, dtype=np.int16):
    """Numbers of triples, which a member with one triple in each sentence doesn't contain."""

    def change(arrays):
        arrays["counts"] = np.ones(len(arrays["lengths"]), dtype)
        arrays["counts"][: len(first)] = first

    return change


ARRAYS = {
    **{f"{name} missing": (lambda arrays, name=name: arrays.pop(name)) for name in ("tokens", "labels", "cuts")},
    "one too many": lambda arrays: arrays.update(more=arrays["labels"]),
    "a token beyond the vocabulary": put("tokens", 3, 10**6),
    "a token below 0": put("tokens", 3, -1),
    "tokens cut": remade("tokens", lambda a: a[:-1]),
    "tokens of another type": remade("tokens", lambda a: a.astype(np.int64)),
    "language 77": put("languages", 0, 77),
    "language -1": put("languages", 0, -1),
    "another language": remade("languages", lambda a: (a + 1) % 3),
    "label -1": put("labels", 0, -1),
    "label 77": put("labels", 0, 77),
    "labels of NaN": remade("labels", lambda a: np.full(len(a), np.nan, np.float32)),
    "labels cut": remade("labels", lambda a: a[:-1]),
    "labels of objects": remade("labels", lambda a: np.array([{}] * len(a), object)),
    "lengths of 0": remade("lengths", lambda a: a * 0),
    "lengths of two dimensions": remade("lengths", lambda a: a[:, None]),
    "other lengths": longer_sentence,
    "a position beyond the sentence": put("positions", (0, 1), 3000),
    "a position on [SEP]": lambda arrays: put("positions", (0, slice(None)), arrays["lengths"][0] - 1)(arrays),
    "a position on [CLS]": put("positions", (0, slice(None)), 0),
    "an end before its start": put("positions", (0, slice(0, 2)), (3, 2)),
    "a start without an end": put("positions", (0, 1), -1),
    "an entity without tokens in training": lambda arrays: [
        put(name, (0, slice(2)), -1)(arrays) for name in ("positions", "cuts")
    ],
    "positions of three columns": remade("positions", lambda a: a[:, :3]),
    "cuts of another type": remade("cuts", lambda a: a.astype(np.int8)),
    "cuts of -2": put("cuts", (0, 0), -2),
    "no cuts where there are tokens": put("cuts", (0, 0), -1),
    "cuts of two columns": remade("cuts", lambda a: a[:, :2]),
    "a count of 2": counts(2),
    "a count of 2 and one of 0": counts(2, 0),
    "a count below 0": counts(-1, 3),
    "counts of another type": counts(dtype=np.int32),
    "no sentence": lambda arrays: arrays.update({name: array[:0] for name, array in arrays.items()}),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_of_a_shard_that_cannot_be(folder, case):
    rewrite(folder, SHARD, lambda name, content: npz(content, ARRAYS[case]) if "-0000.npz" in name else content)
    assert SHARD in refusal(folder)


MEMBERS = {
    "no member": lambda name, content: None,
    "a member missing": lambda name, content: None if name.endswith("-0001.npz") else content,
    "a member that is not an npz": lambda name, content: b"PK\x03\x04 and nothing more",
    "an empty member": lambda name, content: b"",
    "a member of text": lambda name, content: "labels, lengths".encode("utf-16"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_members_of_a_shard_that_cannot_be(folder, case):
    rewrite(folder, SHARD, MEMBERS[case])
    assert SHARD in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 99, bytes(10240)])
def test_a_shard_that_is_no_tar(folder, content):
    (folder / SHARD).write_bytes(content)
    prove(folder, SHARD)
    assert SHARD in refusal(folder)


def first_record(**entries):
    def change(records):
        records[0].update(entries)
        return records

    return change


def first_triple(**entries):
    def change(records):
        records[0]["triples"][0].update(entries)
        return records

    return change


TEXTS = {
    "no list": lambda records: {"a": 1},
    "a number": lambda records: 7,
    "records of text": lambda records: ["a"] * len(records),
    "one too few": lambda records: records[1:],
    "a text that is none": first_record(text=None),
    "a label of no kind": first_triple(relation="made-up"),
    "another language": first_record(lang="uk"),
    "a language of no kind": first_record(lang=["de"]),
    "a span beyond the text": first_triple(head=[0, 9999]),
    "an empty span": first_triple(tail=[3, 3]),
    "a span of words": first_triple(tail=["a", "b"]),
    "no span": first_triple(head=None),
    "no triples": first_record(triples=None),
    "none of its triples": first_record(triples=[]),
    "a triple of no kind": first_record(triples=["a"]),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_that_cannot_be(folder, case):
    def change(name, content):
        return json.dumps(TEXTS[case](json.loads(content))).encode() if name.endswith("-0000.json") else content

    rewrite(folder, "test-00000.tar", change)
    assert "test-00000.tar" in refusal(folder)


def test_labels_of_texts_and_arrays_that_differ(folder):
    """Both are labels of the shards, and each would score another one as right."""

    def another(name, content):
        return npz(content, remade("labels", lambda a: (a + 1) % (a.max() + 1))) if name.endswith(".npz") else content

    assert len(Manifest.load(folder).labels) > 1
    rewrite(folder, "dev-00000.tar", another)
    assert "dev-00000.tar: languages or labels of its texts do not match its arrays" in refusal(folder)


def deep_texts(name, content):
    return b"[" * 10**5 if name.endswith(".json") else content


def test_texts_nested_too_deep(folder):
    rewrite(folder, "test-00000.tar", deep_texts)
    assert "test-00000.tar" in refusal(folder)


def moved(table):
    """A sentence of the first row with one moved to the next column that differs."""
    table[0, np.flatnonzero(table[0])[0]] -= 1
    table[0, np.flatnonzero(table[0])[-1]] += 1
    return table


INDEX = {
    "an array missing": lambda arrays: arrays.pop("dev_lengths"),
    "one too many": lambda arrays: arrays.update(more=arrays["dev_lengths"]),
    "a shard too few": remade("train_counts", lambda a: a[1:]),
    "a shard too many": remade("train_counts", lambda a: np.concatenate([a, a[:1]])),
    "a language too few": lambda arrays: arrays.update(
        train_counts=arrays["train_counts"][:, 1:], train_lengths=arrays["train_lengths"][1:]
    ),
    "a language too many": lambda arrays: arrays.update(
        train_counts=np.pad(arrays["train_counts"], ((0, 0), (0, 1))),
        train_lengths=np.pad(arrays["train_lengths"], ((0, 1), (0, 0))),
    ),
    "another language": remade("test_counts", moved),
    "another length": remade("train_lengths", moved),
    "two shards in each other's place": remade("train_counts", lambda a: np.concatenate([a[-1:], a[1:-1], a[:1]])),
    "a sentence of no token": remade("train_lengths", lambda a: np.roll(a, -3, axis=1)),
    "sentences below 0": lambda arrays: arrays.update(
        train_counts=arrays["train_counts"] * -1, train_lengths=arrays["train_lengths"] * -1
    ),
    "more sentences than can be": remade("train_counts", lambda a: a + (1 << 62)),
    "longer than can be": remade("train_lengths", lambda a: np.pad(a, ((0, 0), (0, 1 << 15)))),
    "narrow numbers": remade("train_counts", lambda a: a.astype(np.int16)),
    "objects": remade("train_lengths", lambda a: np.array([[{}]], object)),
    "one dimension": remade("train_counts", lambda a: a.ravel()),
}

WHOLE_INDEX = {
    "an array missing": lambda arrays: arrays.pop("dev_lengths"),
    "one too many": lambda arrays: arrays.update(more=arrays["dev_lengths"]),
    "a sentence too few": lambda arrays: arrays.update({name: a[1:] for name, a in arrays.items()}),
    "more lengths than languages": remade("train_lengths", lambda a: np.append(a, a[:1])),
    "a length of 0": put("train_lengths", 0, 0),
    "a length below 0": put("train_lengths", 0, -5),
    "another length": put("train_lengths", 0, 4),
    "language 77": put("test_languages", 0, 77),
    "language -1": put("test_languages", 0, -1),
    "another language": remade("train_languages", lambda a: (a + 1) % 4),
    "two sentences in each other's place": remade("train_lengths", lambda a: a[::-1]),
    "wide numbers": remade("train_lengths", lambda a: a.astype(np.int64)),
    "objects": remade("train_lengths", lambda a: np.array([{}] * len(a), object)),
    "two dimensions": remade("train_lengths", lambda a: a[:, None]),
}

COLUMNS = {
    "a sentence too few": lambda a: a[:, 1:],
    "none": lambda a: a[:, :0],
    "a length of 0": lambda a: np.concatenate([[[0], a[1:, 0]], a[:, 1:]], axis=1).astype(np.int16),
    "a length below 0": lambda a: -a,
    "a length beyond the longest": lambda a: a + np.array([[1000], [0]], np.int16),
    "language 77": lambda a: a * 0 + np.int16(77),
    "another language": lambda a: np.stack([a[0], (a[1] + 1) % 4]),
    "two sentences in each other's place": lambda a: a[:, ::-1],
    "wide numbers": lambda a: a.astype(np.int64),
    "one column": lambda a: a[:1],
    "one dimension": lambda a: a.ravel(),
    "objects": lambda a: np.array([[{}]] * 2, object),
}


@pytest.mark.parametrize("case", INDEX)
def test_an_index_that_cannot_be(folder, case):
    (folder / "index.npz").write_bytes(npz((folder / "index.npz").read_bytes(), INDEX[case]))
    prove(folder, "index.npz")
    assert "index" in refusal(folder)


@pytest.mark.parametrize("case", WHOLE_INDEX)
def test_an_index_of_all_sentences_that_cannot_be(folder, case):
    old = as_version_4(folder)
    use(old)
    (old / "index.npz").write_bytes(npz((old / "index.npz").read_bytes(), WHOLE_INDEX[case]))
    prove(old, "index.npz")
    assert "index" in refusal(old)


@pytest.mark.parametrize("case", COLUMNS)
def test_a_shard_s_index_that_cannot_be(folder, case):
    path = folder / "train-00000.index.npy"
    np.save(path, COLUMNS[case](np.load(path)))
    prove(folder, path.name)
    assert "index" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_shard_s_index_that_is_no_npy(folder, content):
    path = folder / "train-00000.index.npy"
    path.write_bytes(content)
    prove(folder, path.name)
    assert path.name in refusal(folder)


def test_indices_of_two_versions(folder, original):
    old = as_version_4(folder)
    (old / "index.npz").write_bytes((original / "index.npz").read_bytes())
    prove(old, "index.npz")
    assert "index.npz: not of the same version as the manifest" in refusal(old)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_an_index_that_is_no_npz(folder, content):
    (folder / "index.npz").write_bytes(content)
    prove(folder, "index.npz")
    assert "index.npz" in refusal(folder)


def test_no_flipped_bit_in_any_file_goes_unseen(folder, original):
    draw = random.Random(2)
    names = [str(path.relative_to(original)) for path in sorted(original.rglob("*")) if path.is_file()]
    names.remove("rejects.jsonl")  # for people; nothing reads it
    use(folder)
    for name in names * 4:
        path, content = folder / name, bytearray((original / name).read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        assert path.name in refusal(folder)
        path.write_bytes((original / name).read_bytes())
