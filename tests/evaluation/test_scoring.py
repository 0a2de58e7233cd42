"""Counts of records, by hand and over any parts."""

from hypothesis import given
from hypothesis import strategies as st

from mere_ds.evaluation.metrics import COLUMNS, METRICS
from mere_ds.evaluation.scoring import count_right
from tests.evaluation.records import record, records


def test_counts_by_hand():
    counts = count_right(
        [
            record("de", "wrote", "wrote", "ht"),
            record("de", "wrote", "wrote", "hT"),
            record("fr", "wrote", "born-in", "h"),
        ],
        ["de", "fr", "it"],
    )
    de, fr, it = (dict(zip(COLUMNS, map(tuple, table), strict=True)) for table in counts.tolist())
    assert de.pop("sentences") == (0, 0, 2) and fr.pop("sentences") == (0, 0, 1)
    half = ("pair_characters", "tail_characters", "triple_characters")
    assert de == dict.fromkeys(METRICS, (2, 2, 2)) | dict.fromkeys(half, (1, 2, 2))
    assert fr == dict.fromkeys(METRICS, (0, 1, 1)) | dict.fromkeys(("head", "head_characters"), (1, 1, 1))
    assert set(it.values()) == {(0, 0, 0)}


@given(records().map(lambda given: [r for r in given if r["predicted"]]), st.data())
def test_counts_add_up_over_any_split_among_ranks(given_records, data):
    languages = ["ko", "de"]
    cut = data.draw(st.integers(0, len(given_records)))
    parts = [count_right(part, languages) for part in (given_records[:cut], given_records[cut:])]
    assert (sum(parts) == count_right(given_records, languages)).all()
