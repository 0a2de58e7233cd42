import io
import tarfile
import zipfile
from dataclasses import asdict

import numpy as np
import pytest
import webdataset as wds
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from mere_ds.shards.packing import LocalSource, Sentences, Shard, describe, read_sentences, read_shard, write_shard


def sentences(lengths: list[int], seed: int = 0) -> Sentences:
    random, n = np.random.default_rng(seed), len(lengths)
    tokens = random.integers(0, 200_000, sum(lengths))
    columns = [random.integers(0, 30, shape) for shape in ((n,), (n,), (n, 4))]
    return Sentences(tokens, lengths, *columns, random.integers(-1, 30, (n, 4)))


def equal(a: Sentences, b: Sentences) -> bool:
    return all(np.array_equal(a.arrays()[k], b.arrays()[k]) for k in a.arrays())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.data())
@settings(max_examples=50)
def test_take_and_join(lengths, data):
    whole = sentences(lengths)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=30))
    taken = whole.take(np.array(rows, dtype=int))
    assert len(taken) == len(rows)
    for place, row in enumerate(rows):
        start, own = whole.starts[row], taken.starts[place]
        assert np.array_equal(taken.tokens[own : own + lengths[row]], whole.tokens[start : start + lengths[row]])
        assert np.array_equal(taken.positions[place], whole.positions[row])
    cut = data.draw(st.integers(0, len(lengths)))
    places = np.arange(len(lengths))
    assert equal(Sentences.join([whole.take(places[:cut]), whole.take(places[cut:])]), whole)


def test_a_shard_holds_what_was_written_and_equal_sentences_give_equal_bytes(tmp_path):
    whole = sentences([3, 4, 5, 6, 7])
    shard = write_shard(tmp_path / "train-00000.tar", whole, 2)
    assert shard.sentences == 5 and shard.bytes == (tmp_path / shard.file).stat().st_size
    assert equal(read_sentences(LocalSource(tmp_path), shard), whole)
    (tmp_path / "again").mkdir()
    assert write_shard(tmp_path / "again" / "train-00000.tar", sentences([3, 4, 5, 6, 7]), 2) == shard
    assert write_shard(tmp_path / "other.tar", sentences([3, 4, 5, 6, 7], seed=1), 2).sha256 != shard.sha256


@pytest.mark.parametrize("version", [2, 3])
def test_shards_of_older_versions_have_a_triple_in_each_sentence(tmp_path, version):
    whole = sentences([3, 4])
    arrays = whole.stored()
    assert "counts" not in arrays
    if version == 2:
        del arrays["cuts"]
        arrays["exact"] = np.ones((2, 2), bool)
    with wds.TarWriter(str(tmp_path / "train-00000.tar"), encoder=False) as tar:
        np.savez(content := io.BytesIO(), **arrays)
        tar.write({"__key__": "train-00000-0000", "npz": content.getvalue()})
    described = describe(tmp_path / "train-00000.tar")
    read = read_sentences(LocalSource(tmp_path), Shard(**asdict(described), sentences=2))
    assert np.array_equal(read.positions, whole.positions) and np.array_equal(read.tokens, whole.tokens)
    assert read.counts.tolist() == [1, 1] and np.array_equal(read.labels, whole.labels)
    assert read.cuts.dtype == np.int16 and read.cuts.shape == (2, 4)
    assert np.array_equal(read.cuts, np.full((2, 4), -1) if version == 2 else whole.cuts)


def test_nothing_in_a_shard_depends_on_time_or_user(tmp_path):
    shard = write_shard(tmp_path / "train-00000.tar", sentences([3, 4]), 2)
    with tarfile.open(tmp_path / shard.file) as tar:
        (member,) = tar.getmembers()
        assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
        content = tar.extractfile(member).read()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_any_webdataset_pipeline_reads_the_members(tmp_path):
    whole = sentences([3, 4, 5])
    records = [b'{"text": "\xc3\xa9"}', b'{"text": "b"}', b'{"text": "c"}']
    shard = write_shard(tmp_path / "dev-00000.tar", whole, 2, records)
    members = list(wds.WebDataset(str(tmp_path / shard.file), shardshuffle=False).decode())
    assert [member["__key__"] for member in members] == ["dev-00000-0000", "dev-00000-0001"]
    assert [len(member["npz"]["lengths"]) for member in members] == [2, 1]
    assert members[0]["json"] == [{"text": "é"}, {"text": "b"}]
    assert np.array_equal(np.concatenate([member["npz"]["tokens"] for member in members]), whole.tokens)
    assert [list(member["npz"]) for member in read_shard(LocalSource(tmp_path), shard, "npz")] == [
        list(whole.stored())
    ] * 2
    assert [member["json"][0]["text"] for member in read_shard(LocalSource(tmp_path), shard, "json")] == ["é", "c"]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_told_with_the_file_s_name(tmp_path, damage):
    shard = write_shard(tmp_path / "train-00000.tar", sentences([3, 4]), 2)
    path = tmp_path / shard.file
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-512])
    if damage == "remove":
        path.unlink()
    with pytest.raises(UserError, match=r"train-00000\.tar.*run mere-ds shard again"):
        read_shard(LocalSource(tmp_path), shard, "npz")


def test_why_a_member_cannot_be_decoded_is_told(tmp_path):
    path = tmp_path / "train-00000.tar"
    with wds.TarWriter(str(path), encoder=False) as tar:
        tar.write({"__key__": "a", "npz": b"no archive"})
    shard = Shard(**vars(describe(path)), sentences=1)
    with pytest.raises(
        UserError, match=r"train-00000\.tar: cannot be decoded as a shard \(File is not a zip file\): copy"
    ):
        list(read_shard(LocalSource(tmp_path), shard, "npz"))
