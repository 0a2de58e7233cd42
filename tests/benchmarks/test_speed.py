"""The harness of speed.py: what it counts, measures and writes."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import Ceiling
from benchmarks.material import Sizes, make_material
from benchmarks.report import write_report
from benchmarks.sides import Task
from benchmarks.work import encoder_flops, stage_flops
from mere_ds.shards.batch import Batch

SIZES = Sizes(
    tokenizer="tiny", vocabulary=0, hidden=64, layers=3, heads=2, feed_forward=128, bottleneck=96, dropout=0.0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("material")


@pytest.fixture(scope="module")
def material(folder):
    return make_material(folder, 400, SIZES)


def without_padding(sentences: int, tokens: int) -> Batch:
    ids_BM = torch.randint(20, 300, (sentences, tokens))
    zeros_B = torch.zeros(sentences, dtype=torch.int64)
    return Batch(
        ids_BM, torch.ones_like(ids_BM, dtype=torch.bool), zeros_B, torch.arange(sentences), zeros_B,
        torch.full((sentences, 4), 3),
        torch.zeros(sentences, 4, dtype=torch.int64), torch.ones(sentences), zeros_B, sentences,
    )  # fmt: skip


def counted(work) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it doesn't know a CPU's fused one
        work()
    return counter.get_total_flops()


def test_operations_are_those_that_torch_counts(material):
    """Within 3 %: pooler, classifier, router and relation half, a product a sentence or less, are left out."""
    batch = without_padding(32, 40)
    b = (batch.token_ids_BM, batch.mask_BM, batch.languages_B)
    gold = {"labels_T": batch.labels_T, "positions_T4": batch.positions_T4}
    one, two = material.model(1), material.model(2)
    with torch.no_grad():
        assert counted(lambda: two.unify(*b[:2], 2)) == pytest.approx(encoder_flops(two, [batch], 2), rel=0.03)
        features = two.unify(*b[:2])
    trained = counted(lambda: one(*b, **gold, concatenate=2).loss_B.sum().backward())
    assert trained == pytest.approx(stage_flops(one, [batch], 1, 2), rel=0.03)
    trained = counted(lambda: two(*b, **gold, features=features).loss_B.sum().backward())
    assert trained == pytest.approx(stage_flops(two, [batch], 2, 1), rel=0.03)
    with torch.no_grad():
        used = counted(lambda: two(*b, features=features, k=6))
        assert used == pytest.approx(stage_flops(two, [batch], 2, 1, k=6, training=False), rel=0.03)


@pytest.mark.parametrize("name", ["heads", "switcher", "evaluate"])
@pytest.mark.parametrize("side", ["ours", "literal", "hf"])
def test_each_side_measures_a_round(material, folder, side, name):
    task = Task(side, name, str(folder), SIZES, material.seed, "fp32", batch=4, steps=1)
    assert next(task.rounds())["rate"] > 0


def test_tables_stand_between_the_marks_and_figures_in_json(material, tmp_path, capsys):
    rates = {
        "ours": [10.0, 20.0, 30.0],
        "literal": [2.0, 2.0, 2.0],
        "hf": [5.0, 20.0, 10.0],
        "before": [10.0, 10.0, 10.0],
    }
    got = SimpleNamespace(rates=rates, shares=[0.5, 0.75, 0.7], facts={"ours: width": "48"}, profile="| `aten::mm` |")
    ceiling = Ceiling(torch.device("cpu"), torch.float32, gemm=[1e9], copy=[1e9])
    bench = SimpleNamespace(material=material, precision="fp32", batch=16, ceiling=ceiling, tasks={"stage1": got})
    (tmp_path / "RESULTS.md").write_text(
        "before\n<!-- cpu -->\nold\n<!-- end -->\nafter\n<!-- cuda -->\n<!-- end -->\n"
    )
    write_report(bench, tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    assert page.startswith("before\n<!-- cpu -->\n") and page.endswith(
        "<!-- end -->\nafter\n<!-- cuda -->\n<!-- end -->\n"
    )
    assert (
        "old" not in page
        and "| 5.00 / 10.00 / 15.00 | 1.00 / 2.00 / 3.00 | 1.00 / 2.00 / 3.00 | 50 / 70 / 75 % |" in page
    )
    assert "| stage1/literal at least 12 | 10.00 | **missed** |" in page
    assert "| stage1/gemm_share at least 0.7 | 0.70 | met |" in page
    by_name = {entry["name"]: entry["ratio"] for entry in json.loads((tmp_path / "results.json").read_text())}
    ratios = {"literal": [5, 10, 15], "hf": [1, 2, 3], "before": [1, 2, 3], "gemm_share": [0.5, 0.7, 0.75]}
    assert by_name == {f"stage1/{name}": ratio for name, ratio in ratios.items()}
    assert page.split("<!-- cpu -->\n")[1].strip().startswith(capsys.readouterr().out.strip()[:80])
