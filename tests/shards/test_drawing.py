"""A language temperature: what an epoch draws, and that its plan keeps the plan's promises."""

from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.shards.drawing import described, drawn, draws_of, first_draws
from mere_ds.shards.index import SplitIndex
from mere_ds.shards.plan import FILLER, EpochPlan
from mere_ds.shards.reading import ShardReader
from tests.shards.test_plan import all_batches, arguments, corpora, group_repeats, plan_of

temperatures = st.sampled_from([0.3, 0.9, 1.5, 2.0, 5.0, 1000.0])
language_ids = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(lambda ids: np.array(ids, np.int16))


def times_of(index: SplitIndex, temperature: float, seed: int, epoch: int) -> np.ndarray:
    """How often an epoch draws each sentence."""
    draws = drawn(index, temperature, seed, epoch)
    parts = [draws.times(shard, index.columns_of(shard)[1]) for shard in range(len(index.sizes_H))]
    assert draws.of_shards_H.tolist() == [int(part.sum()) for part in parts]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    "temperature, by_shard, digest",
    [
        (1.0, False, "89620b1e91b6160eec42bff3f43a2a2f938dc454f44db7f3ed4b9330300e3aa5"),
        (1.0, True, "89620b1e91b6160eec42bff3f43a2a2f938dc454f44db7f3ed4b9330300e3aa5"),
        (4.0, False, "b19a1e7eb89b8acd43dc62f1b79ecbfad9a47bab587b2295c612dc95978052be"),
    ],
)
def test_runs_on_older_shards_and_runs_without_a_temperature_keep_their_batches(temperature, by_shard, digest):
    """The digests are of the batches that were made when `index.npz` had all sentences, and of before temperatures."""
    random = np.random.default_rng(7)
    lengths = random.integers(5, 90, 5000).astype(np.int16)
    languages = random.choice(4, 5000, p=[0.7, 0.2, 0.09, 0.01]).astype(np.int16)
    index = SplitIndex.of(lengths, languages, [700] * 7 + [100], drawn_by_shard=by_shard)
    found = sha256()
    for epoch in (0, 3):
        for s in (1, 4):
            options = dict(concatenate=s, seed=11, epoch=epoch, window=1500, temperature=temperature)
            found.update(np.ascontiguousarray(all_batches(EpochPlan(index, 48, **options)), np.int64).data)
    assert found.hexdigest() == digest


@given(language_ids, temperatures)
def test_draws_are_the_shares_rounded(ids, temperature):
    counts = np.bincount(ids)
    draws = draws_of(counts, temperature)
    assert draws.sum() == len(ids) and (draws[counts == 0] == 0).all()
    shares = np.where(counts > 0, (counts / len(ids)) ** (1 / temperature), 0)
    assert np.abs(draws - len(ids) * shares / shares.sum()).max() < 1 + 1e-6
    assert all((draws[i] <= draws[j]) for i in range(len(counts)) for j in range(len(counts)) if counts[i] < counts[j])


def test_temperatures_of_uneven_languages():
    counts = np.array([900, 90, 0, 10])
    assert draws_of(counts, 1).tolist() == [900, 90, 0, 10]
    assert draws_of(counts, 2).tolist() == [703, 223, 0, 74]  # of sqrt(900) : sqrt(90) : sqrt(10)
    assert draws_of(counts, 1e6).tolist() == [334, 333, 0, 333]
    assert draws_of(counts, 1e-6).tolist() == [1000, 0, 0, 0]
    assert draws_of(np.zeros(0, np.int64), 2).tolist() == []


@given(corpora(), temperatures, st.integers(0, 3), st.booleans())
def test_sentences_of_a_language_are_drawn_equally_often_in_an_epoch_and_over_all(corpus, temperature, seed, by_shard):
    index, so_far = SplitIndex.of(*corpus.values(), drawn_by_shard=by_shard), 0
    draws = draws_of(index.counts_U, temperature)
    for epoch in range(5):
        times = times_of(index, temperature, seed, epoch)
        so_far = so_far + times
        for language, n in enumerate(draws.tolist()):
            own = corpus["languages"] == language
            assert times[own].sum() == n and so_far[own].sum() == n * (epoch + 1)
            for counted in (times[own], so_far[own]):
                assert not own.any() or np.ptp(counted) <= 1


@st.composite
def circles(draw):
    """Sentences of shards by language, and a phase of each; phases may be equal, as floats may be."""
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    counts = random.integers(0, draw(st.sampled_from([2, 10, 10**5])), shape)
    phases = random.random(shape)
    return counts, draw(st.sampled_from([phases, phases.round(1) % 1, np.zeros(shape)]))


@given(circles(), st.lists(st.integers(0, 10**6), min_size=2, max_size=6))
@settings(max_examples=200)
def test_first_draws_are_all_there_never_fall_and_are_spread_evenly_over_the_shards(circle, places):
    counts, phases = circle
    there, before = counts.sum(axis=0) > 0, 0
    totals = np.maximum(1, counts.sum(axis=0))
    for place in sorted(places):
        draws = np.where(there, place, 0)
        found = first_draws(counts, phases, draws)
        assert (found.sum(axis=0) == draws).all() and (found >= before).all()
        rounds = draws // totals
        assert (found >= rounds * counts).all() and (found <= (rounds + 1) * counts).all()
        assert np.abs(found - counts * (draws / totals)).max() <= len(counts) + 1
        before = found


def test_the_shares_of_every_shard_are_those_of_the_epoch():
    """So that windows have the languages in the same shares; the circle's ends alone would give whole shards."""
    counts = np.random.default_rng(0).multinomial(8192, [0.8, 0.15, 0.05], size=300)
    phases = np.random.default_rng(1).random(counts.shape)
    draws = draws_of(counts.sum(axis=0), 3)
    for epoch in range(4):
        own = first_draws(counts, phases, (epoch + 1) * draws) - first_draws(counts, phases, epoch * draws)
        assert (own.sum(axis=0) == draws).all()
        assert np.abs(own - counts * draws / counts.sum(axis=0)).max() < 2


def test_what_is_drawn_is_told_exactly():
    names, counts, words = ["it", "uk", "de"], [76, 4, 20], {0: "left out", 1: "once", 2: "twice"}
    ids = np.repeat([0, 1, 2], counts)
    times = times_of(SplitIndex.of(ids, ids, [50, 50]), 3, 0, 2)
    for place, line in enumerate(described(names, np.array(counts), 3)):
        own = times[ids == place].tolist()
        shown = ", ".join(f"{n} {words.get(k, f'{k} times')}" for k, n in sorted(Counter(own).items()))
        assert line == f"{names[place]}: {sum(own)} draws of {len(own)} sentences, {shown}"


@given(arguments(), temperatures, st.data())
@settings(max_examples=80)
def test_an_epoch_s_plan_has_what_is_drawn_and_any_step_needs_its_window_alone(args, temperature, data):
    plan = plan_of(**args, temperature=temperature)
    expected = all_batches(plan)
    rows = expected[expected != FILLER]
    assert plan.sentences == len(rows) == len(args["lengths"])
    index = SplitIndex.of(args["lengths"], args["languages"], args["shard_sizes"])
    times = times_of(index, temperature, args["seed"], args["epoch"])
    assert np.array_equal(np.bincount(rows, minlength=len(times)), times)
    assert (np.flatnonzero(expected.ravel() == FILLER) >= (plan.steps - 1) * plan.global_batch).all()
    assert sum(plan.real_sentences(step) for step in range(plan.steps)) == len(rows)
    fresh = plan_of(**args, temperature=temperature)
    step = data.draw(st.integers(0, fresh.steps - 1))
    window = fresh.window_of(step)
    found = fresh.batches_of(window)
    assert np.array_equal(found[step - fresh.steps_of(window).start], expected[step])
    shards = np.searchsorted(np.cumsum(args["shard_sizes"]), found[found != FILLER], side="right")
    assert set(shards) == set(fresh.shards_of(window).tolist())
    groups = (plan.batches_of(w).reshape(-1, plan.concatenate) for w in range(plan.windows))
    cells = sum(int(plan.widths_of(rows, w).sum()) * plan.concatenate for w, rows in enumerate(groups))
    tokens = int(args["lengths"].astype(int)[rows].sum())
    assert plan.padding_share(plan.concatenate) == pytest.approx(1 - tokens / cells)


@given(arguments(concatenate=(2, 4), shuffle=(True,)), temperatures)
@settings(max_examples=40)
def test_partners_still_differ_in_language_wherever_the_batch_allows_it(args, temperature):
    plan = plan_of(**args, temperature=temperature)
    groups = plan.global_batch // plan.concatenate
    for batch in all_batches(plan):
        if not (batch == FILLER).any():
            languages = args["languages"][batch]
            least = sum(max(0, n - groups) for n in Counter(languages.tolist()).values())
            assert group_repeats(languages.reshape(groups, plan.concatenate)) == least


def test_ranks_read_the_drawn_sentences_from_any_step(manifest):
    plan = EpochPlan(manifest.index_of("train"), 16, window=64, concatenate=2, epoch=1, temperature=4)
    expected = all_batches(plan)
    assert len(np.unique(expected)) < plan.sentences
    for ranks, start in ((1, 0), (2, 0), (4, plan.steps // 2)):
        micro = 16 // ranks
        read = []
        for rank in range(ranks):
            with ShardReader(manifest, "train", plan, rank, ranks, micro=micro, start_step=start) as reader:
                read.append(np.stack([batch.rows_B.numpy() for batch in reader]))
        assert np.array_equal(np.stack(read, axis=1).reshape(-1, 16), expected[start:])
