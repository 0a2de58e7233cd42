"""`train --profile`: a trace that a browser reads, a table whose shares are whole, and the same weights."""

import gzip
import json
import re

import pytest
import torch
from outcomes import assert_same_tensors, tensors

from mere_ds.training.observers import Beginning
from mere_ds.training.profiling import WARM_UP, Profile


def updated(observer: Profile, updates: int) -> None:
    weight = torch.randn(64, 64, requires_grad=True)
    observer.on_begin(Beginning("stage 1", 0, updates, {}))
    for step in range(1, updates + 1):
        torch.nn.functional.gelu(torch.mm(torch.randn(256, 64), weight)).sum().backward()
        observer.on_step(step)
    observer.on_close()


@pytest.mark.parametrize(("updates", "profiled"), [(WARM_UP + 9, 4), (WARM_UP + 4, 4), (WARM_UP + 2, 2)])
def test_only_the_wanted_updates_are_profiled(tmp_path, updates, profiled):
    folder = tmp_path / "profile"
    updated(Profile(folder, "stage1", 4), updates)
    table = (folder / "stage1.txt").read_text()
    assert table.startswith(f"{profiled} steps of ")
    (products,) = re.findall(r"^aten::mm +(\S+) +(\S+) +(\S+)$", table, re.M)
    assert products[0] == "2.0", "forward and backward"
    assert f"matrix products {products[2]} % of the operations" in table
    rows = re.findall(r"(\d+\.\d+) +(\d+\.\d+)$", table, re.M)
    assert len(rows) <= 21 and sum(float(share) for _, share in rows) == pytest.approx(100, abs=1.5)
    trace = json.loads(gzip.decompress((folder / "stage1.json.gz").read_bytes()))
    assert sum(event["name"] == "aten::mm" for event in trace["traceEvents"]) == 2 * profiled


@pytest.mark.parametrize("updates", [1, WARM_UP])
def test_a_training_without_a_step_after_the_warm_up_leaves_none_and_says_so(tmp_path, updates, caplog):
    folder = tmp_path / "profile"
    folder.mkdir()
    (folder / "stage1.txt").write_text("an older one")
    updated(Profile(folder, "stage1", 4), updates)
    assert not list(folder.iterdir())
    assert caplog.messages == [
        f"no profile: training made {updates} updates this time, and the first 3 are not profiled"
    ]


@pytest.mark.slow
def test_it_is_of_rank_0_and_changes_no_weight(train, reference, tmp_path):
    run = tmp_path / "run"
    ended = train(2, run=run, profile=2).ended(0)
    for stage in (1, 2):
        assert_same_tensors(tensors(run, stage), tensors(reference, stage))
    assert {path.name for path in (run / "profile").iterdir()} == {
        f"stage{stage}.{kind}" for stage in (1, 2) for kind in ("json.gz", "txt")
    }
    assert "aten::addmm" in (run / "profile" / "stage1.txt").read_text()
    assert "profile of 2 updates" in ended.stderr[0] and "profile" not in ended.stderr[1]
