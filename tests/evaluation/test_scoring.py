"""Right answers against a count by hand."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.evaluation.metrics import METRICS
from mere_ds.evaluation.scoring import count_right
from mere_ds.shards.batch import Batch


def batch(languages, labels, positions, exact=None, weights=None):
    b = len(labels)
    return Batch(
        token_ids_BM=torch.zeros(b, 1), mask_BM=torch.ones(b, 1), languages_B=torch.tensor(languages),
        labels_B=torch.tensor(labels), positions_B4=torch.tensor(positions),
        exact_B2=torch.tensor(exact or [[True, True]] * b), weights_B=torch.tensor(weights or [1.0] * b),
        rows_B=torch.arange(b), global_sentences=b,
    )  # fmt: skip


GOLD = batch([0, 0, 1, 1, 0], [3, 4, 5, 6, 7], [[2, 3, 5, 6]] * 3 + [[-1, -1, 5, 6]] + [[2, 3, 5, 6]],
             exact=[[True, True], [True, False], [True, True], [True, True], [True, True]],
             weights=[1.0, 1.0, 1.0, 1.0, 0.0])  # fmt: skip


def test_counts_by_hand():
    relation = torch.tensor([3, 4, 0, 6, 7])
    positions = torch.tensor([[2, 3, 5, 6], [2, 3, 5, 6], [2, 3, 5, 7], [2, 3, 5, 6], [2, 3, 5, 6]])
    counts = count_right(GOLD, relation, positions, languages=3)
    # columns: sentences, predicted, relation, pair, head, tail, triple, triple with exact characters
    assert counts.tolist() == [[2, 2, 2, 2, 2, 2, 2, 1], [2, 2, 1, 0, 1, 1, 0, 0], [0] * 8]


def test_a_span_that_was_cut_off_is_wrong_even_where_none_is_predicted():
    counts = count_right(GOLD, GOLD.labels_B, GOLD.positions_B4, languages=2)
    assert counts[1].tolist() == [2, 2, 2, 1, 1, 2, 1, 1]


def test_a_half_right_span_is_wrong():
    start_only = count_right(GOLD, GOLD.labels_B, torch.tensor([[2, 4, 5, 6]] * 5), 2)
    end_only = count_right(GOLD, GOLD.labels_B, torch.tensor([[1, 3, 5, 6]] * 5), 2)
    for counts in (start_only, end_only):
        assert counts[:, 2 + METRICS.index("head")].sum() == 0 and counts[:, 2 + METRICS.index("tail")].sum() == 4


@given(st.data())
def test_counts_add_up_over_any_split_into_batches(data):
    b = data.draw(st.integers(2, 12))
    draw = lambda low, high, *shape: torch.tensor(  # noqa: E731
        data.draw(st.lists(st.integers(low, high), min_size=b * (shape or (1,))[0], max_size=b * (shape or (1,))[0]))
    ).view(b, *shape)
    gold = batch(draw(0, 2).tolist(), draw(0, 2).tolist(), draw(-1, 2, 4).tolist(), weights=draw(0, 1).float().tolist())
    relation, positions = draw(0, 2), draw(0, 2, 4)
    whole = count_right(gold, relation, positions, 3)
    parts = sum(
        count_right(
            Batch(**{f: (v[i : i + 1] if torch.is_tensor(v) else v) for f, v in
                     ((f, getattr(gold, f)) for f in Batch.__dataclass_fields__)}),
            relation[i : i + 1], positions[i : i + 1], 3,
        )
        for i in range(b)
    )  # fmt: skip
    assert torch.equal(whole, parts)
    assert (whole[:, 2:] <= whole[:, 1:2]).all() and (whole[:, 3] <= torch.minimum(whole[:, 4], whole[:, 5])).all()
