"""The scaling benchmark: its formulas by hand, and its measurements on tiny sizes."""

import pytest

from benchmarks import scaling
from benchmarks.scaling import accumulation_for, main, mbert_sizes, step_flops, traffic, zero_bytes
from mere_ds.errors import UserError


@pytest.mark.parametrize(("stage", "a_parameter"), [(0, 16), (1, 4 + 12 / 8), (2, 2 + 14 / 8), (3, 16 / 8)])
def test_mixed_precision_state_is_that_of_the_zero_paper(stage, a_parameter):
    assert zero_bytes(stage, ranks=8, trained=1000) == 1000 * a_parameter
    assert zero_bytes(stage, ranks=1, trained=1000) == 16000


@pytest.mark.parametrize(("stage", "a_parameter"), [(0, 16), (1, 14), (2, 12), (3, 10)])
def test_fp32_state_with_a_master_copy_on_two_ranks(stage, a_parameter):
    assert zero_bytes(stage, 2, trained=10, weight=4, optimizer=12 if stage else 8) == 10 * a_parameter


def test_frozen_parameters_cost_their_weights_alone():
    assert zero_bytes(2, ranks=4, trained=8, frozen=100) == zero_bytes(2, ranks=4, trained=8) + 200
    assert zero_bytes(3, ranks=4, trained=8, frozen=100) == zero_bytes(3, ranks=4, trained=8) + 50


@pytest.mark.parametrize(
    ("stage", "reduce", "passes"),
    [(0, False, 2), (1, False, 3), (1, True, 2), (2, False, 9), (2, True, 5), (3, False, 8)],
)
def test_traffic_of_four_micro_steps(stage, reduce, passes):
    assert traffic(stage, ranks=4, values=100, accumulation=4, reduce=reduce) == passes * 200 * 3 / 4
    assert traffic(stage, ranks=1, values=100, accumulation=4, reduce=reduce) == 0


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


def test_plan_and_growth_run():
    figures = scaling.plan(ranks=4, sentences=3000)
    assert figures["steps"] == 47 and 0 < figures["first"] <= figures["epoch"] and 0 < figures["padding"] < 1
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
