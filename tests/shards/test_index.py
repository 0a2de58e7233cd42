"""The index of a split: that any number of sentences takes little memory, and that older shards keep their batches."""

import shutil
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.shards.index import SplitIndex
from mere_ds.shards.manifest import SPLITS, Manifest, percentiles
from mere_ds.shards.plan import EpochPlan
from tests.shards.old_shards import as_version_4
from tests.shards.test_plan import all_batches, corpora

MIB = 2**20


@given(corpora())
def test_counts_are_those_of_the_columns(corpus):
    lengths, languages, sizes = corpus.values()
    index = SplitIndex.of(lengths, languages, sizes, kinds=9)
    assert index.sizes_H.tolist() == sizes
    assert index.counts_U.tolist() == np.bincount(languages).tolist()
    assert index.counts_L.tolist() == np.bincount(lengths).tolist()
    assert all(np.array_equal(a, b) for a, b in zip(index.columns, (lengths, languages), strict=True))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300))
def test_percentiles_of_counts_are_those_of_the_numbers(numbers):
    found, ordered = percentiles(np.bincount(numbers, minlength=40)), sorted(numbers)
    for p in (50, 90, 99):
        assert found[f"p{p}"] == next(n for i, n in enumerate(ordered, 1) if 100 * i >= p * len(ordered))
    assert found["max"] == max(numbers) and set(percentiles(np.zeros(3, int)).values()) == {0}


class Read:
    """Columns of shards of 100,000 sentences that are all alike, and which were read."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.lengths = np.clip(np.exp(random.normal(3.6, 0.45, 100_000)), 6, 256).astype(np.int16)
        self.languages = random.choice(14, 100_000, p=random.dirichlet(np.ones(14))).astype(np.int16)
        self.shards: list[int] = []

    def __call__(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        self.shards.append(shard)
        return self.lengths.copy(), self.languages.copy()

    def index(self, shards: int) -> SplitIndex:
        one = SplitIndex.of(self.lengths, self.languages, [100_000], 14)
        return SplitIndex(np.repeat(one.counts_HU, shards, axis=0), one.lengths_UL * shards, self)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_step_of_a_thousand_million_sentences_reads_its_window_and_takes_little_memory(temperature):
    read = Read()
    index = read.index(10_000)
    tracemalloc.start()
    plan = EpochPlan(index, 16 * 4096, concatenate=2, temperature=temperature)
    step = plan.steps // 3
    window = plan.window_of(step)
    rows = plan.batches_of(window)[step - plan.steps_of(window).start]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.sentences == 10**9 and len(np.unique(rows // 100_000)) == len(read.shards) <= 3
    assert sorted(read.shards) == sorted(plan.shards_of(window).tolist())
    assert peak < 64 * MIB, "all lengths and languages would take 3,815 MiB"
    assert plan.widths_of(rows.reshape(-1, 16), window).max() <= 256
    assert sorted(read.shards) == sorted(plan.shards_of(window).tolist()), "a window that is held is not read again"


def test_loading_shards_reads_no_shard_s_index(manifest, tmp_path, monkeypatch):
    folder, read = shutil.copytree(manifest.source.folder, tmp_path / "shards"), []
    source = type(manifest.source)
    monkeypatch.setattr(
        source, "read", lambda self, file, whole=source.read: read.append(file.file) or whole(self, file)
    )
    loaded = Manifest.load(folder)
    plan = EpochPlan(loaded.index_of("train"), 16, window=64, concatenate=2, temperature=2)
    assert read == ["index.npz"]
    plan.batches_of(2)
    shards = [loaded.splits["train"].shards[shard] for shard in np.sort(plan.shards_of(2))]
    assert read == ["index.npz", *(shard.index.file for shard in shards)]


@pytest.mark.parametrize("languages", [None, ["uk", "de"]])
def test_older_shards_are_read_as_ever(manifest, tmp_path, languages):
    """Their batches without a temperature are those of today; with one they are drawn as they were."""
    now, then = manifest, Manifest.load(as_version_4(shutil.copytree(manifest.source.folder, tmp_path / "shards")))
    if languages:
        now, then = now.only(languages), then.only(languages)
    for split in SPLITS:
        assert now.lengths(split).tolist() == then.lengths(split).tolist()
        assert now.language_ids(split).tolist() == then.language_ids(split).tolist()
        ours, theirs = (EpochPlan(m.index_of(split), 16, window=64, concatenate=2) for m in (now, then))
        assert np.array_equal(ours.widths, theirs.widths)
        assert np.array_equal(all_batches(ours), all_batches(theirs))
    assert now.index_of("train").drawn_by_shard and not then.index_of("train").drawn_by_shard
    ours, theirs = (all_batches(EpochPlan(m.index_of("train"), 16, temperature=9)) for m in (now, then))
    assert not np.array_equal(ours, theirs)
