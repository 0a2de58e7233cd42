"""The scaling benchmark: its formulas by hand, and its measurements on tiny sizes."""

import pytest

from benchmarks import scaling
from benchmarks.many_shards import simulate
from benchmarks.scaling import accumulation_for, main, mbert_sizes, step_flops
from mere_ds.errors import UserError


def test_operations_and_accumulation():
    assert step_flops(10, trained=3, frozen=5) == 280
    assert accumulation_for(0.5, traffic_seconds=3.0, compute_seconds=2.0) == 2  # 3 <= 2 x 2
    assert accumulation_for(0.1, traffic_seconds=2.0, compute_seconds=2.0) == 9  # 2 of 2 + 18
    assert accumulation_for(0.5, traffic_seconds=0.1, compute_seconds=2.0) == 1


def test_sizes_of_mere_around_mbert():
    d, vocabulary, layer = 768, 119547 + 14, 12 * 768**2 + 13 * 768  # matrices; biases and LayerNorms
    mbert = (vocabulary + 512 + 2) * d + 2 * d + 12 * layer + d * d + d
    aggregator, relation = 3 * d * d + 2 * d, 36 * d
    heads = 8 * d * d + 4 * d  # W_y of eq. 9's four y, and U_y
    sub_modules = 9 * (2 * d * 1024 + 2 * d)  # three of one layer, three of two
    everything, multiplied = mbert_sizes(1)
    assert everything == {"trained": mbert + aggregator + relation + heads + 36 * d, "frozen": 0}
    assert multiplied["trained"] == 12 * layer + 3 * d * d + 4 * d * d
    everything, multiplied = mbert_sizes(2)
    assert everything["trained"] == sub_modules + 14 * d + 6 * d + relation + heads
    assert everything["frozen"] == mbert + aggregator + 36 * d
    assert multiplied == {"trained": sub_modules + 4 * d * d, "frozen": 12 * layer + 3 * d * d}


def test_plan_and_growth_run(tmp_path):
    shards = simulate(tmp_path, 20_000, 1000)
    figures = scaling.plan(4, str(shards), whole=True)
    assert figures["steps"] == 313 and figures["first"] > 0 and figures["epoch"] > 0 and 0 < figures["padding"] < 1
    assert "epoch" not in scaling.plan(4, str(shards), whole=False, temperature=3)
    milliseconds = scaling.growth("k", hidden=8, repeats=2)
    assert list(milliseconds) == ["1", "2", "3", "4", "5", "6"]
    assert all(len(times) == 2 and min(times) > 0 for works in milliseconds.values() for times in works.values())


def test_out_keeps_the_text_around_a_part(tmp_path, capsys):
    out = tmp_path / "SCALING.md"
    out.write_text("before\n<!-- plan -->\nkept\n<!-- end -->\n<!-- network -->\nold\n<!-- end -->\nafter\n")
    main(out=str(out), only=("network",))
    text = out.read_text()
    assert text.startswith("before\n<!-- plan -->\nkept\n<!-- end -->\n<!-- network -->\n")
    assert text.endswith("|\n\n<!-- end -->\nafter\n") and "old" not in text
    assert "MB sent" in capsys.readouterr().out


def test_unknown_part_and_missing_marks_are_refused(tmp_path):
    with pytest.raises(UserError, match="grwth"):
        main(only=("grwth",))
    (tmp_path / "empty.md").write_text("")
    with pytest.raises(UserError, match="<!-- network -->"):
        main(out=str(tmp_path / "empty.md"), only=("network",))
