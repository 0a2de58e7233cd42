"""--compile: the same training, from few compilations."""

import json
from functools import partial

import pytest
import torch
from launching import records
from meddling import record_compilations
from ranks import run_ranks

from mere_ds.errors import UserError
from mere_ds.training.deepspeed_config import check_compile

pytestmark = pytest.mark.slow

KNOBS = {"stage": "1", "max_steps": 4, "batch_size": 8, "learning_rate": 1e-3, "log_every": 1, "timeout": 300}


def test_two_compilations_serve_all_layers_and_widths_and_change_no_result(small_shards, zero, tmp_path):
    train = partial(run_ranks, 1, shards=small_shards, deepspeed_config=zero(1), deadline=300, **KNOBS)
    note = partial(record_compilations, tmp_path / "compilations.json")
    train(run=tmp_path / "compiled", meddle=note, compile=True).ended(0)
    train(run=tmp_path / "eager").ended(0)
    seen = json.loads((tmp_path / "compilations.json").read_text())
    assert len(set(seen["widths"])) > 2 and seen["unique_graphs"] == 2
    losses = [[row["loss"] for row in records(tmp_path / run)] for run in ("compiled", "eager")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_it_is_refused_where_it_cannot_work(monkeypatch):
    with pytest.raises(UserError, match="--compile doesn't work with ZeRO stage 3"):
        check_compile({"zero_optimization": {"stage": 3}}, torch.device("cpu"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    check_compile({}, torch.device("cuda"))
    with pytest.raises(UserError, match="--compile needs the compiler no-such-compiler"):
        check_compile({}, torch.device("cpu"))
