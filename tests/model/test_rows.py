"""Sentences as rows: each lies there once, sees itself alone, and there are few numbers of rows."""

import threading

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.model.rows import ROWS_AT_ONCE, Rows, chunks, row_count
from mere_ds.model.workers import each

LENGTHS = st.lists(st.integers(1, 120), min_size=1, max_size=12).map(sorted)


@given(LENGTHS)
def test_every_token_has_one_row(lengths):
    rows = Rows(np.array(lengths), torch.float32)
    x_BM = torch.arange(len(lengths) * max(lengths)).view(len(lengths), -1)
    by_sentence_BM = rows.padded(rows.of(x_BM))
    for i, length in enumerate(lengths):
        assert torch.equal(by_sentence_BM[i, :length], x_BM[i, :length])
        assert rows.place_R[rows.first_B[i]] == 0 and rows.sentence_R[rows.first_B[i]] == i
    assert rows.count == row_count(rows.count) >= sum(lengths)


@given(LENGTHS, st.sampled_from((1, 3)))
def test_a_token_sees_its_sentence_alone(lengths, heads):
    rows = Rows(np.array(lengths), torch.float64)
    qkv_RE = torch.randn(rows.count, 3 * 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen_BMD = rows.padded(rows.attended(qkv_RE, heads))
    for i, length in enumerate(lengths):
        its = slice(int(rows.first_B[i]), int(rows.first_B[i]) + length)
        q_AMd, k_AMd, v_AMd = qkv_RE[its].unflatten(1, (3, heads, -1)).permute(1, 2, 0, 3)
        weights_AMM = (q_AMd @ k_AMd.transpose(1, 2) / (6 // heads) ** 0.5).softmax(dim=-1)
        torch.testing.assert_close(seen_BMD[i, :length], (weights_AMM @ v_AMd).transpose(0, 1).flatten(1))


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=200).map(sorted), st.integers(1, 4))
def test_chunks_hold_every_sentence_once_and_are_bounded(lengths, workers):
    cut = chunks(lengths, workers)
    assert [i for its in cut for i in range(len(lengths))[its]] == [*range(len(lengths))]
    for its in cut:
        assert its.stop - its.start == 1 or Rows(np.array(lengths[its]), torch.float32).count <= ROWS_AT_ONCE


def test_workers_have_equal_shares():
    assert [its.stop - its.start for its in chunks([40] * 20, 2)] == [11, 9]
    assert len(chunks([40] * 20, 1)) == 1


def test_workers_compute_at_the_same_time_with_a_thread_each_and_leave_other_threads_as_they_are():
    threads, together = torch.get_num_threads(), threading.Barrier(2, timeout=60)
    weight = torch.ones(1, requires_grad=True)

    def work(item: int) -> tuple:
        together.wait()  # fails unless both are at it
        return item, torch.get_num_threads(), (weight * 2).requires_grad

    assert each(work, [3, 4, 5, 6], 2) == [(item, 1, False) for item in (3, 4, 5, 6)]
    assert torch.get_num_threads() == threads
    assert each(lambda item: -item, [1], 2) == [-1]
