import random
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.errors import MachineError, UserError
from mere_ds.shards import features
from mere_ds.shards.features import FeatureStore
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import FILLER
from mere_ds.shards.reading import RowReader

D = 5


@pytest.fixture(params=[torch.float16, torch.bfloat16])
def filled(request, manifest, tmp_path, monkeypatch):
    """A store of small blocks of train, and the vectors of each sentence."""
    monkeypatch.setattr(features, "BLOCK", 7)
    store = FeatureStore(tmp_path, manifest, "train", D, request.param)
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.randn(1 + n, D, generator=generator).to(request.param) for n in manifest.lengths("train").tolist()]
    for block in range(store.blocks):
        assert not store.has(block)
        store.write(block, [vectors[row] for row in store.rows_of(block)])
        assert store.has(block) and store.is_whole(block)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == store.total_bytes
    return store, vectors


def test_every_sentence_comes_back_whole_and_padding_is_zero(filled):
    store, vectors = filled
    random = np.random.default_rng(0)
    for _ in range(20):
        rows_B = random.choice([FILLER, *range(len(vectors))], size=6)
        width = max([len(vectors[row]) - 1 for row in rows_B if row != FILLER], default=1) + 2
        unified_BMD, pooled_BD = store.read(rows_B, width)
        assert unified_BMD.shape == (6, width, D) and unified_BMD.dtype == pooled_BD.dtype == store.dtype
        for row, unified_MD, pooled_D in zip(rows_B, unified_BMD, pooled_BD, strict=True):
            expected = torch.zeros(1 + width, D, dtype=store.dtype)
            if row != FILLER:
                expected[: len(vectors[row])] = vectors[row]
            assert torch.equal(torch.cat((pooled_D[None], unified_MD)), expected)


def test_features_of_a_shard_need_no_other_shard_s_index(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "BLOCK", 15)
    folder = shutil.copytree(manifest.source.folder, tmp_path / "shards")
    loaded = Manifest.load(folder)
    first, last = loaded.splits["train"].shards[0].sentences, loaded.splits["train"].shards[-1]
    for index in folder.glob("train-*.index.npy"):
        if index.name != "train-00000.index.npy":
            index.unlink()
    store = FeatureStore(tmp_path / "features", loaded, "train", D, torch.float16)
    (row,) = draw = np.array([first // 15 * 15 - 1])  # the last one of the last block in this shard alone
    vectors = [torch.randn(1 + n, D) for n in manifest.lengths("train")[:first].tolist()]
    (tmp_path / "features").mkdir()
    store.write(row // 15, [vectors[i] for i in store.rows_of(row // 15)])
    assert store.is_whole(row // 15) and torch.equal(store.read(draw, 300)[1][0], vectors[row][0].half())
    (batch,) = RowReader(loaded, "train").by_length(draw, 100)
    assert batch.rows_B.tolist() == [row]
    assert store.total_bytes > 0 and not store.is_there(store.blocks - 1)
    with pytest.raises(UserError, match=last.index.file):
        store.read(np.array([loaded.splits["train"].sentences - 1]), 300)


def test_a_lost_or_cut_file_is_named(filled, tmp_path):
    store, _ = filled
    (tmp_path / "train-000001.features").write_bytes(b"\0" * 8)
    (tmp_path / "train-000002.features").unlink()
    assert not store.has(1) and not store.has(2)
    with pytest.raises(MachineError, match="train-000001.features: truncated: remove the folder"):
        store.read(np.array([13]), 300)
    with pytest.raises(MachineError, match="train-000002.features: No such file"):
        store.read(np.array([14]), 300)


def test_no_flipped_bit_of_a_block_goes_unseen(filled, tmp_path):
    store, _ = filled
    draw = random.Random(3)
    for _ in range(200):
        block = draw.randrange(store.blocks)
        path = tmp_path / f"train-{block:06d}.features"
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        assert store.has(block) and not store.is_whole(block) and store.is_spoilt(block)
        path.write_bytes(content)
    assert all(map(store.is_whole, range(store.blocks)))


def test_blocks_of_zeros_of_another_place_or_without_a_seal_are_not_taken(manifest, tmp_path):
    store = FeatureStore(tmp_path, manifest, "train", 512, torch.float16)
    vectors = [torch.randn(1 + n, 512) for n in manifest.lengths("train").tolist()]
    store.write(0, vectors)
    path = tmp_path / "train-000000.features"
    content = path.read_bytes()
    assert store.is_whole(0) and len(content) > 50 * 4096
    page, other = slice(8 * 4096, 9 * 4096), slice(20 * 4096, 21 * 4096)
    zeroed, swapped = bytearray(content), bytearray(content)
    zeroed[page] = bytes(4096)
    swapped[page], swapped[other] = content[other], content[page]
    for spoilt in (zeroed, swapped, content[:-32], content[:-33], b""):
        path.write_bytes(spoilt)
        assert not store.is_whole(0) and store.is_spoilt(0)
    path.unlink()
    assert not store.is_whole(0) and not store.is_spoilt(0)


def test_a_write_that_fails_leaves_nothing(manifest, tmp_path, monkeypatch):
    store = FeatureStore(tmp_path, manifest, "dev", D, torch.float16)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write(0, [torch.zeros(1 + n, D) for n in manifest.lengths("dev").tolist()])
    assert not store.has(0) and not list(tmp_path.iterdir())


@given(st.data())
def test_rows_come_once_in_batches_of_like_length(manifest, data):
    lengths = manifest.lengths("train").astype(int)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(lengths) - 1), min_size=1))))
    tokens = data.draw(st.integers(1, 200))
    batches = list(RowReader(manifest, "train").by_length(rows, tokens))
    assert sorted(row for batch in batches for row in batch.rows_B.tolist()) == rows.tolist()
    widths = [batch.mask_BM.shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch in batches:
        count, width = batch.mask_BM.shape
        assert width == lengths[batch.rows_B.numpy()].max() and (count == 1 or count * width <= tokens)
        assert batch.mask_BM.sum(1).tolist() == lengths[batch.rows_B.numpy()].tolist()
