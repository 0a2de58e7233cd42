import shutil
import threading
import tracemalloc
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.config import TrainConfig
from mere_ds.corpus.reading import read_file, split_files
from mere_ds.errors import UserError
from mere_ds.shards import reading
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import Sentences, read_sentences, read_shard
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader, TextReader
from tests.shards.toy_corpus import make_shards, write_corpus


def make_plan(manifest, split="train", global_batch=32, **options) -> EpochPlan:
    return EpochPlan(manifest.index_of(split), global_batch, **options)


def read(manifest, plan, rank=0, ranks=1, split="train", **options):
    with ShardReader(manifest, split, plan, rank, ranks, **options) as reader:
        return list(reader)


def same(a, b) -> bool:
    return all(
        torch.equal(getattr(a, name), getattr(b, name)) if torch.is_tensor(getattr(a, name)) else True
        for name in a.__slots__
    )


@given(
    st.sampled_from([1, 2, 4, 8]), st.sampled_from([2, 4]), st.sampled_from([1, 2]), st.integers(1, 200), st.booleans()
)
@settings(max_examples=12)
def test_all_ranks_together_read_every_sentence_once_and_as_written(
    manifest, ranks, micro, accumulation, window, prefetch
):
    plan = make_plan(manifest, global_batch=ranks * micro * accumulation, concatenate=2, window=window)
    options = {"micro": micro, "accumulation": accumulation, "prefetch": prefetch}
    by_rank = [read(manifest, plan, rank, ranks, **options) for rank in range(ranks)]
    assert {len(batches) for batches in by_rank} == {plan.steps * accumulation}
    shards = manifest.splits["train"].shards
    whole = Sentences.join([read_sentences(manifest.source, shard) for shard in shards])
    expected = np.concatenate([plan.batches_of(window) for window in range(plan.windows)])
    windows = [plan.window_of(step) for step in range(plan.steps) for _ in range(accumulation)]
    seen = []
    for rank, batches in enumerate(by_rank):
        own = expected.reshape(-1, ranks, micro)[:, rank]
        for i, (batch, rows) in enumerate(zip(batches, own, strict=True)):
            width = plan.widths_of(rows, windows[i])
            assert batch.rows_B.tolist() == rows.tolist() and batch.token_ids_BM.shape == (micro, width)
            assert batch.global_sentences == plan.real_sentences(i // accumulation)
            for b, row in enumerate(rows):
                check_sentence(manifest, whole, batch, b, int(row))
            seen += [row for row in rows.tolist() if row >= 0]
    assert sorted(seen) == list(range(manifest.splits["train"].sentences))


def check_sentence(manifest, whole, batch, b, row):
    if row < 0:
        assert batch.weights_B[b] == 0 and batch.mask_BM[b].tolist() == [True] + [False] * (batch.mask_BM.shape[1] - 1)
        assert (batch.token_ids_BM[b] == manifest.pad_id).all() and (batch.positions_T4[b] == -1).all()
        assert (batch.cuts_T4[b] == -1).all()
        assert batch.labels_T[b] == batch.languages_B[b] == 0
        return
    length, start = int(whole.lengths[row]), whole.starts[row]
    assert batch.weights_B[b] == 1
    assert batch.token_ids_BM[b, :length].tolist() == whole.tokens[start : start + length].tolist()
    assert (batch.token_ids_BM[b, length:] == manifest.pad_id).all()
    assert batch.mask_BM[b].sum() == length and batch.mask_BM[b, :length].all()
    assert batch.positions_T4[b].tolist() == whole.positions[row].tolist()
    assert batch.cuts_T4[b].tolist() == whole.cuts[row].tolist()
    assert (batch.languages_B[b], batch.labels_T[b]) == (whole.languages[row], whole.labels[row])


def test_the_tensors_have_the_promised_types(manifest):
    batch = read(manifest, make_plan(manifest), micro=32)[0]
    types = {name: getattr(batch, name).dtype for name in batch.__slots__ if torch.is_tensor(getattr(batch, name))}
    assert types.pop("weights_B") == torch.float32 and types.pop("mask_BM") == torch.bool
    assert set(types.values()) == {torch.int64}
    assert all(tensor.is_contiguous() for tensor in (batch.token_ids_BM, batch.mask_BM, batch.positions_T4))


@pytest.mark.parametrize("prefetch", [True, False])
def test_resuming_at_any_step_gives_the_same_batches_and_reads_no_earlier_window(manifest, prefetch, monkeypatch):
    plan = make_plan(manifest, global_batch=16, window=50)
    whole = read(manifest, plan, micro=8, accumulation=2, prefetch=prefetch)
    opened = []
    monkeypatch.setattr(
        "mere_ds.shards.reading.read_sentences",
        lambda source, shard: opened.append(shard.file) or read_sentences(source, shard),
    )
    for step in (0, 1, 5, plan.steps - 1, plan.steps):
        opened.clear()
        rest = read(manifest, plan, micro=8, accumulation=2, start_step=step, prefetch=prefetch)
        assert len(rest) == len(whole) - 2 * step
        assert all(map(same, rest, whole[2 * step :]))
        windows = range(plan.window_of(step), plan.windows) if step < plan.steps else []
        allowed = {int(shard) for window in windows for shard in plan.shards_of(window)}
        assert {int(name[6:11]) for name in opened} <= allowed


@pytest.mark.parametrize("ranks", [1, 4])
def test_memory_is_bounded_by_a_window(manifest, ranks):
    plan = make_plan(manifest, global_batch=16, window=64)
    bound = max(len(plan.steps_of(window)) for window in range(plan.windows)) * 16 // ranks
    assert plan.windows > 3 and bound <= 64 // ranks
    reader = ShardReader(manifest, "train", plan, 0, ranks, micro=16 // ranks, prefetch=False)
    held = []
    for _ in reader:
        held.append(reader.held_sentences)
    assert max(held) <= bound and reader.held_sentences == 0


def test_memory_does_not_grow_over_an_epoch(tmp_path, monkeypatch):
    manifest = make_shards(write_corpus(tmp_path / "c", {"de": (4000, 0)}), tmp_path / "out", sentences_per_shard=100)
    plan = make_plan(manifest, global_batch=16, window=400)
    monkeypatch.setattr("mere_ds.shards.reading.CHUNK", 64)
    read(manifest, plan, micro=16, prefetch=False)  # what is made once is there from here on
    reader = ShardReader(manifest, "train", plan, micro=16, prefetch=False)
    peaks = []
    tracemalloc.start()
    try:
        for steps in (plan.steps // 2, plan.steps - plan.steps // 2):
            tracemalloc.reset_peak()
            assert len([None for _ in islice(reader, steps)]) == steps
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert plan.windows > 8 and peaks[1] < 1.35 * peaks[0], "1.5, were no window let go"


def test_reading_ahead_is_on_unless_it_is_turned_off(manifest):
    assert TrainConfig.prefetch is True
    with ShardReader(manifest, "train", make_plan(manifest), micro=32):
        assert "shard-reader" in {thread.name for thread in threading.enumerate()}


def test_a_plan_for_evaluation_and_its_texts(corpus, manifest):
    plan = make_plan(manifest, "test", 8, shuffle=False)
    texts = TextReader(manifest, "test")
    examples = [e for file in split_files(corpus) if file.split == "test" for e in read_file(file.path)]
    rows = []
    for batch in read(manifest, plan, split="test", micro=8):
        rows += batch.rows_B[batch.weights_B > 0].tolist()
    assert sorted(rows) == list(range(len(examples)))
    for row, record in zip(rows, texts.texts_of(rows), strict=True):
        assert (record["id"], record["text"]) == (examples[row].id, examples[row].text)
        [triple] = record["triples"]
        assert (tuple(triple["head"]), tuple(triple["tail"])) == examples[row].triples[0][::2]


def test_texts_hold_few_shards(corpus, tmp_path, monkeypatch):
    manifest = make_shards(corpus, tmp_path / "out", sentences_per_shard=3)
    sizes = manifest.shard_sizes("test")
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.random.default_rng(0).permutation(len(shard_of))
    order = [record["id"] for record in TextReader(manifest, "test").texts_of(sorted(rows))]
    opened, kept, expected = [], [], []
    monkeypatch.setattr(
        reading,
        "read_shard",
        lambda source, shard, *columns: opened.append(shard) or read_shard(source, shard, *columns),
    )
    reader = TextReader(manifest, "test", keep=2)
    for row in rows:
        assert reader.texts_of([row])[0]["id"] == order[row]
        shard = shard_of[row]
        expected += [] if shard in kept else [manifest.splits["test"].shards[shard]]
        kept = [*(other for other in kept if other != shard), shard][-2:]
    assert opened == expected and len(opened) > len(sizes) > 2


def test_an_empty_split_has_no_batch(tmp_path, corpus):
    manifest = make_shards(corpus, tmp_path / "out", languages="ko")
    assert manifest.splits["test"].sentences == 0
    assert read(manifest, make_plan(manifest, "test", 8), split="test", micro=8) == []


@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_damage_after_the_start_stops_with_the_file_s_name(manifest, tmp_path, damage, prefetch):
    copy = Manifest.load(shutil.copytree(manifest.source.folder, tmp_path / "shards"))
    path = copy.source.folder / "train-00002.tar"
    content = bytearray(path.read_bytes())
    content[800] ^= 1
    path.write_bytes(content)
    if damage == "remove":
        path.unlink()
    with pytest.raises(UserError, match=r"train-00002\.tar"):
        read(copy, make_plan(copy, window=32), micro=32, prefetch=prefetch)


def test_leaving_early_ends_the_thread(manifest, monkeypatch):
    monkeypatch.setattr("mere_ds.shards.reading.CHUNK", 1)
    before = threading.active_count()
    with ShardReader(manifest, "train", make_plan(manifest, global_batch=1), micro=1) as reader:
        first = next(reader)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert list(reader) == [] and first.global_sentences == 1
    assert reader.seconds_waited > 0


def test_a_batch_shape_that_does_not_fit_is_refused(manifest):
    plan = make_plan(manifest, global_batch=32, concatenate=4)
    with pytest.raises(UserError, match="must divide the batch size of 2"):
        ShardReader(manifest, "train", plan, micro=2, accumulation=16)
