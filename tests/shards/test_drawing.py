"""A language temperature: what an epoch draws, and that its plan keeps the plan's promises."""

from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.shards.drawing import described, draws_of, times_of
from mere_ds.shards.plan import FILLER, EpochPlan
from mere_ds.shards.reading import ShardReader
from tests.shards.test_plan import all_batches, arguments, group_repeats

temperatures = st.sampled_from([0.3, 0.9, 1.5, 2.0, 5.0, 1000.0])
language_ids = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(lambda ids: np.array(ids, np.int16))


def test_at_temperature_one_the_plan_is_that_of_before_bit_for_bit():
    """The digest is of the batches that this made before there were temperatures."""
    random = np.random.default_rng(7)
    lengths = random.integers(5, 90, 5000).astype(np.int16)
    languages = random.choice(4, 5000, p=[0.7, 0.2, 0.09, 0.01]).astype(np.int16)
    for given_ in ({}, {"temperature": 1.0}):
        found = sha256()
        for epoch in (0, 3):
            for s in (1, 4):
                sizes = [700] * 7 + [100]
                plan = EpochPlan(
                    *(lengths, languages, sizes, 48), concatenate=s, seed=11, epoch=epoch, window=1500, **given_
                )
                found.update(np.ascontiguousarray(all_batches(plan), np.int64).data)
        assert found.hexdigest() == "89620b1e91b6160eec42bff3f43a2a2f938dc454f44db7f3ed4b9330300e3aa5"


@given(language_ids, temperatures)
def test_draws_are_the_shares_rounded(ids, temperature):
    counts, draws = np.bincount(ids), draws_of(ids, temperature)
    assert draws.sum() == len(ids) and (draws[counts == 0] == 0).all()
    shares = np.where(counts > 0, (counts / len(ids)) ** (1 / temperature), 0)
    assert np.abs(draws - len(ids) * shares / shares.sum()).max() < 1 + 1e-6
    assert all((draws[i] <= draws[j]) for i in range(len(counts)) for j in range(len(counts)) if counts[i] < counts[j])


def test_temperatures_of_uneven_languages():
    ids = np.repeat([0, 1, 3], [900, 90, 10])
    assert draws_of(ids, 1).tolist() == [900, 90, 0, 10]
    assert draws_of(ids, 2).tolist() == [703, 223, 0, 74]  # of sqrt(900) : sqrt(90) : sqrt(10)
    assert draws_of(ids, 1e6).tolist() == [334, 333, 0, 333]
    assert draws_of(ids, 1e-6).tolist() == [1000, 0, 0, 0]
    assert draws_of(np.zeros(0, np.int16), 2).tolist() == []


@given(language_ids, temperatures, st.integers(0, 3))
def test_sentences_of_a_language_are_drawn_equally_often_in_an_epoch_and_over_all(ids, temperature, seed):
    draws, so_far = draws_of(ids, temperature), np.zeros(len(ids), int)
    for epoch in range(5):
        times = times_of(ids, draws, seed, epoch)
        so_far += times
        for language, n in enumerate(draws.tolist()):
            own = ids == language
            assert times[own].sum() == n and so_far[own].sum() == n * (epoch + 1)
            for counted in (times[own], so_far[own]):
                assert not own.any() or np.ptp(counted) <= 1


def test_what_is_drawn_is_told_exactly():
    names, ids, words = ["it", "uk", "de"], np.repeat([0, 1, 2], [76, 4, 20]), {0: "left out", 1: "once", 2: "twice"}
    draws = draws_of(ids, 3)
    times = times_of(ids, draws, 0, 2)
    for place, line in enumerate(described(names, ids, 3)):
        own = times[ids == place].tolist()
        shown = ", ".join(f"{n} {words.get(k, f'{k} times')}" for k, n in sorted(Counter(own).items()))
        assert line == f"{names[place]}: {sum(own)} draws of {len(own)} sentences, {shown}"


@given(arguments(), temperatures, st.data())
@settings(max_examples=80)
def test_an_epoch_s_plan_has_what_is_drawn_and_any_step_needs_its_window_alone(args, temperature, data):
    plan = EpochPlan(**args, temperature=temperature)
    expected = all_batches(plan)
    rows = expected[expected != FILLER]
    assert plan.sentences == len(rows) == len(args["lengths"])
    times = times_of(args["languages"], draws_of(args["languages"], temperature), args["seed"], args["epoch"])
    assert np.array_equal(np.bincount(rows, minlength=len(times)), times)
    assert (np.flatnonzero(expected.ravel() == FILLER) >= (plan.steps - 1) * plan.global_batch).all()
    assert sum(plan.real_sentences(step) for step in range(plan.steps)) == len(rows)
    fresh = EpochPlan(**args, temperature=temperature)
    step = data.draw(st.integers(0, fresh.steps - 1))
    window = fresh.window_of(step)
    found = fresh.batches_of(window)
    assert np.array_equal(found[step - fresh.steps_of(window).start], expected[step])
    shards = np.searchsorted(np.cumsum(args["shard_sizes"]), found[found != FILLER], side="right")
    assert set(shards) == set(fresh.shards_of(window).tolist())
    cells = int(plan.widths_of(expected.reshape(-1, plan.concatenate)).sum()) * plan.concatenate
    tokens = int(args["lengths"].astype(int)[rows].sum())
    assert plan.padding_share(plan.concatenate) == pytest.approx(1 - tokens / cells)


@given(arguments(concatenate=(2, 4), shuffle=(True,)), temperatures)
@settings(max_examples=40)
def test_partners_still_differ_in_language_wherever_the_batch_allows_it(args, temperature):
    plan = EpochPlan(**args, temperature=temperature)
    groups = plan.global_batch // plan.concatenate
    for batch in all_batches(plan):
        if not (batch == FILLER).any():
            languages = plan.languages[batch]
            least = sum(max(0, n - groups) for n in Counter(languages.tolist()).values())
            assert group_repeats(languages.reshape(groups, plan.concatenate)) == least


def test_ranks_read_the_drawn_sentences_from_any_step(manifest):
    index = manifest.lengths("train"), manifest.language_ids("train"), manifest.shard_sizes("train")
    plan = EpochPlan(*index, 16, window=64, concatenate=2, epoch=1, temperature=4)
    expected = all_batches(plan)
    assert len(np.unique(expected)) < plan.sentences
    for ranks, start in ((1, 0), (2, 0), (4, plan.steps // 2)):
        micro = 16 // ranks
        read = []
        for rank in range(ranks):
            with ShardReader(manifest, "train", plan, rank, ranks, micro=micro, start_step=start) as reader:
                read.append(np.stack([batch.rows_B.numpy() for batch in reader]))
        assert np.array_equal(np.stack(read, axis=1).reshape(-1, 16), expected[start:])
