"""--compile: the same training, from few shapes."""

import json
from functools import partial

import pytest
import torch
from launching import records
from meddling import every, one_width, record_compilations
from ranks import run_ranks

from mere_ds.errors import UserError
from mere_ds.training.deepspeed_config import check_compile

KNOBS = {"stage": "1", "max_steps": 4, "batch_size": 8, "learning_rate": 1e-3, "log_every": 1, "timeout": 300}


def test_a_shape_is_compiled_once_for_all_layers_and_changes_no_result(small_shards, zero, tmp_path):
    train = partial(run_ranks, 1, shards=small_shards, deepspeed_config=zero(1), deadline=300, **KNOBS)
    note = partial(record_compilations, tmp_path / "compilations.json")
    train(run=tmp_path / "compiled", meddle=partial(every, one_width, note), compile=True).ended(0)
    train(run=tmp_path / "eager").ended(0)
    assert json.loads((tmp_path / "compilations.json").read_text()) == {"unique_graphs": 1}
    losses = [[row["loss"] for row in records(tmp_path / run)] for run in ("compiled", "eager")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_it_is_refused_where_it_cannot_work(monkeypatch):
    with pytest.raises(UserError, match="--compile doesn't go with ZeRO stage 3"):
        check_compile({"zero_optimization": {"stage": 3}}, torch.device("cpu"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    check_compile({}, torch.device("cuda"))
    with pytest.raises(UserError, match="--compile needs the compiler no-such-compiler"):
        check_compile({}, torch.device("cpu"))
