"""The batch plan's promises, as properties of random corpora."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from mere_ds.shards.index import SplitIndex
from mere_ds.shards.plan import FILLER, EpochPlan, choose_widths


@st.composite
def corpora(draw):
    """Lengths, languages and shard sizes; languages as uneven as real ones."""
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=12))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    languages = draw(st.integers(1, 6))
    shares = random.dirichlet(np.full(languages, draw(st.sampled_from([0.3, 1.0, 10.0]))))
    lengths = np.clip(np.exp(random.normal(3.3, 0.6, sum(sizes))), 4, 256).astype(np.int16)
    languages = random.choice(languages, sum(sizes), p=shares).astype(np.int16)
    return {"lengths": lengths, "languages": languages, "shard_sizes": sizes}


@st.composite
def arguments(draw, concatenate=(1, 2, 4), shuffle=(True, False)):
    """Arguments of an EpochPlan."""
    s = draw(st.sampled_from(concatenate))
    return {
        **draw(corpora()),
        "global_batch": s * draw(st.integers(1, 16)),
        "concatenate": s,
        "seed": draw(st.integers(0, 5)),
        "epoch": draw(st.integers(0, 3)),
        "window": draw(st.integers(1, 300)),
        "shuffle": draw(st.sampled_from(shuffle)),
    }


def plan_of(lengths, languages, shard_sizes, *args, **options) -> EpochPlan:
    return EpochPlan(SplitIndex.of(lengths, languages, shard_sizes), *args, **options)


def all_batches(plan: EpochPlan) -> np.ndarray:
    return np.concatenate([plan.batches_of(window) for window in range(plan.windows)])


@given(arguments())
@settings(max_examples=150)
def test_every_sentence_exactly_once_and_fillers_only_at_the_very_end(args):
    plan = plan_of(**args)
    rows = all_batches(plan).ravel()
    assert plan.steps == -(-plan.sentences // plan.global_batch)
    assert sorted(rows[rows != FILLER]) == list(range(plan.sentences))
    fillers = np.flatnonzero(rows == FILLER)
    assert len(fillers) == plan.steps * plan.global_batch - plan.sentences
    assert all(fillers >= (plan.steps - 1) * plan.global_batch)
    assert sum(plan.real_sentences(step) for step in range(plan.steps)) == plan.sentences


@given(corpora(), st.integers(0, 3), st.integers(200, 700), st.sampled_from([1, 2, 4]))
@settings(max_examples=20)
def test_ranks_cut_the_same_global_batches(corpus, epoch, window, concatenate):
    plan = plan_of(**corpus, global_batch=64 * 4, concatenate=concatenate, epoch=epoch, window=window)
    expected = all_batches(plan)
    for ranks in (1, 2, 4, 8, 64):
        micro = 4
        accumulation = plan.accumulation(ranks, micro)
        assert accumulation * ranks * micro == plan.global_batch
        by_rank = [plan.of_rank(expected, rank, ranks, micro) for rank in range(ranks)]
        assert all(rows.shape == (plan.steps * accumulation, micro) for rows in by_rank)
        assert np.array_equal(np.stack(by_rank, axis=1).reshape(expected.shape), expected)


@given(arguments(), st.data())
@settings(max_examples=60)
def test_a_step_needs_only_its_window(args, data):
    expected = all_batches(plan_of(**args))
    fresh = plan_of(**args)
    step = data.draw(st.integers(0, fresh.steps - 1))
    window = fresh.window_of(step)
    assert step in fresh.steps_of(window)
    rows = fresh.batches_of(window)
    assert np.array_equal(rows[step - fresh.steps_of(window).start], expected[step])
    shards = np.searchsorted(np.cumsum(args["shard_sizes"]), rows[rows != FILLER], side="right")
    assert set(shards) == set(fresh.shards_of(window))


@given(corpora(), st.integers(1, 30), st.integers(1, 300))
@settings(max_examples=50)
def test_windows_hold_no_more_shards_than_they_must(corpus, batch, window):
    plan = plan_of(**corpus, global_batch=batch, window=window)
    assert [step for w in range(plan.windows) for step in plan.steps_of(w)] == list(range(plan.steps))
    used = Counter(int(shard) for w in range(plan.windows) for shard in plan.shards_of(w))
    assert sum(used.values()) <= len(corpus["shard_sizes"]) + plan.windows - 1
    assert all(len(plan.steps_of(w)) * batch <= max(window, batch) for w in range(plan.windows))


def group_repeats(languages_GS: np.ndarray) -> int:
    return sum(n - 1 for group in languages_GS.tolist() for n in Counter(group).values())


@given(arguments(concatenate=(2, 3, 4), shuffle=(True,)))
@settings(max_examples=100)
def test_partners_differ_in_language_wherever_the_batch_allows_it(args):
    plan = plan_of(**args)
    groups = plan.global_batch // plan.concatenate
    for batch in all_batches(plan):
        if (batch == FILLER).any():
            continue
        languages = args["languages"][batch]
        least = sum(max(0, n - groups) for n in Counter(languages.tolist()).values())
        assert group_repeats(languages.reshape(groups, plan.concatenate)) == least


def test_partners_differ_in_batches_of_many_blocks():
    random = np.random.default_rng(1)
    lengths = random.integers(5, 90, 20_000).astype(np.int16)
    # Language 0 is a half of all, but nearly alone among the short ones: blocks of like length cannot part it.
    languages = np.where(random.random(20_000) < np.where(lengths < 40, 0.9, 0.05), 0, random.integers(1, 5, 20_000))
    plan = plan_of(lengths, languages, [1000] * 20, 2048, concatenate=2, window=2048)
    for batch in all_batches(plan)[:-1]:
        counts = Counter(languages[batch].tolist())
        least = sum(max(0, n - 1024) for n in counts.values())
        assert group_repeats(languages[batch].reshape(-1, 2)) == least


def test_the_last_batch_mixes_fillers_into_one_group_at_most():
    plan = plan_of(np.full(23, 9), np.arange(23) % 3, [23], 32, concatenate=4)
    (batch,) = all_batches(plan)
    groups = batch.reshape(-1, 4)
    mixed = [(row == FILLER).sum() for row in groups]
    assert sorted(mixed) == [0, 0, 0, 0, 0, 1, 4, 4]
    assert [n for n in mixed if n == 4] == mixed[-2:]


@given(arguments())
@settings(max_examples=20)
def test_the_same_arguments_give_the_same_plan(args):
    assert np.array_equal(all_batches(plan_of(**args)), all_batches(plan_of(**args)))


def test_epochs_and_seeds_differ():
    args = (np.random.default_rng(0).integers(5, 50, 500), np.zeros(500, int), [100] * 5, 16)
    batches = [all_batches(plan_of(*args, seed=s, epoch=e, window=128)) for s, e in ((0, 0), (0, 1), (1, 0))]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        shared = {frozenset(b) for b in batches[i].tolist()} & {frozenset(b) for b in batches[j].tolist()}
        assert len(shared) <= 1


def test_batches_of_a_window_are_shuffled_but_inside_of_like_length():
    lengths = np.random.default_rng(0).integers(5, 250, 4096)
    plan = plan_of(lengths, np.zeros(4096, int), [512] * 8, 64)
    spans = [np.ptp(lengths[batch]) for batch in all_batches(plan)]
    assert max(spans) < 10
    means = [lengths[batch].mean() for batch in all_batches(plan)]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.5


def test_without_shuffling_the_order_is_the_files():
    lengths = np.random.default_rng(0).integers(5, 50, 300)
    plan = plan_of(lengths, np.zeros(300, int), [100] * 3, 10, window=100, shuffle=False)
    for window, batches in enumerate(map(plan.batches_of, range(3))):
        assert sorted(batches.ravel()) == list(range(100 * window, 100 * window + 100))
        assert (np.diff(lengths[batches.ravel()]) >= 0).all()


def smiler_like(sentences: int) -> tuple[np.ndarray, np.ndarray]:
    """Token lengths with median 28 and 99 % below some 90, longest 256, and 14 languages in uneven shares."""
    random = np.random.default_rng(7)
    lengths = np.clip(np.exp(random.normal(np.log(28), 0.5, sentences)), 6, 256).astype(np.int16)
    return lengths, random.choice(14, sentences, p=random.dirichlet(np.full(14, 1.0))).astype(np.int16)


@pytest.mark.parametrize("concatenate", [1, 2])
def test_padding_stays_below_five_percent_at_16_sentences_on_8_ranks(concatenate):
    lengths, languages = smiler_like(200_000)
    assert 85 < np.percentile(lengths, 99) < 95
    plan = plan_of(lengths, languages, [8192] * 24 + [200_000 - 24 * 8192], 16 * 8, concatenate=concatenate)
    assert plan.padding_share(16) < 0.05


@given(arguments(), st.sampled_from([1, 2, 4]))
@settings(max_examples=50)
def test_widths_hold_and_padding_is_what_the_micro_batches_have(args, micro_groups):
    plan = plan_of(**args)
    micro = plan.concatenate * micro_groups
    if plan.global_batch % micro:
        return
    cells = 0
    for window in range(plan.windows):
        for rows in plan.batches_of(window).reshape(-1, micro):
            longest = max([int(args["lengths"][r]) for r in rows if r != FILLER], default=0)
            width = int(plan.widths_of(rows, window))
            assert width == min(w for w in plan.widths if w >= longest)
            cells += width * micro
    assert plan.padding_share(micro) == pytest.approx(1 - int(args["lengths"].sum(dtype=int)) / cells)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 4))
def test_widths_are_the_best_there_are(lengths, count):
    def cells(widths):
        return sum(min(w for w in widths if w >= length) for length in lengths)

    values = sorted(set(lengths))
    choices = [(*inner, values[-1]) for k in range(min(count, len(values))) for inner in combinations(values[:-1], k)]
    widths = choose_widths(np.bincount(lengths), count)
    assert len(widths) <= count and widths[-1] == values[-1]
    assert cells(widths) == min(map(cells, choices))


def test_widths_of_very_long_sentences():
    lengths = np.random.default_rng(0).integers(1, 8000, 20_000).astype(np.int16)
    widths = choose_widths(np.bincount(lengths))
    assert len(widths) == 32 and widths[-1] == lengths.max() and (np.diff(widths) > 0).all()


def test_misuse_is_refused():
    args = (np.full(40, 9), np.zeros(40, int), [40])
    with pytest.raises(UserError, match="concatenate=3: must divide the global batch of 32"):
        plan_of(*args, 32, concatenate=3)
    plan = plan_of(*args, 32, concatenate=4)
    with pytest.raises(UserError, match="concatenate=4: must divide the batch size of 2"):
        plan.accumulation(16, 2)
    with pytest.raises(UserError, match="cannot be split into 3 ranks x 8"):
        plan.accumulation(3, 8)


def test_a_split_without_sentences_has_no_steps():
    plan = plan_of(np.zeros(0, np.int16), np.zeros(0, np.int16), [], 8, concatenate=2)
    assert plan.steps == plan.windows == 0 and plan.padding_share(8) == 0
