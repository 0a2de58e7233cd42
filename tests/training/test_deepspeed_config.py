"""DeepSpeed's JSON and our knobs complete each other; contradictions are refused."""

import json
from pathlib import Path

import pytest
import torch

from mere_ds.config import TrainConfig
from mere_ds.errors import UserError
from mere_ds.training.cost import traffic, zero_bytes
from mere_ds.training.deepspeed_config import check_device, choose_config, merge, read_config


def config(**knobs):
    return TrainConfig(shards="s", run="r", deepspeed_config="d", **knobs)


def test_knobs_fill_what_deepspeed_leaves_open():
    ds, c = merge({"bf16": {"enabled": True}}, config(batch_size=8, accumulation=3), frozenset(), ranks=2)
    assert ds["train_micro_batch_size_per_gpu"] == 8 and ds["gradient_accumulation_steps"] == 3
    assert ds["train_batch_size"] == 48
    assert ds["optimizer"] == {"type": "AdamW", "params": {"lr": 3e-5, "weight_decay": 0.1}}
    assert c == config(batch_size=8, accumulation=3)


def test_a_default_gives_way_to_deepspeeds_config():
    given = {"train_micro_batch_size_per_gpu": 4, "optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}
    ds, c = merge(given, config(), frozenset(), ranks=1)
    assert (c.batch_size, c.learning_rate) == (4, 1e-3)
    assert ds["optimizer"]["params"] == {"lr": 1e-3, "weight_decay": 0.1}
    assert "weight_decay" not in given["optimizer"]["params"], "the caller's config is left alone"


@pytest.mark.parametrize(
    ("ds", "knobs", "says"),
    [
        ({"train_micro_batch_size_per_gpu": 4}, {"batch_size": 8}, "contradicts train_micro_batch_size_per_gpu"),
        ({"gradient_accumulation_steps": 4}, {"accumulation": 2}, "contradicts gradient_accumulation_steps"),
        ({"optimizer": {"params": {"lr": 1e-3}}}, {"learning_rate": 1e-4}, "contradicts optimizer.params.lr"),
        ({"optimizer": {"params": {"weight_decay": 0}}}, {"weight_decay": 0.1}, "optimizer.params.weight_decay"),
        ({"train_batch_size": 33}, {}, "train_batch_size = 33"),
        ({"scheduler": {"type": "WarmupLR"}}, {}, "--schedule"),
        ({"optimizer": {"type": "Lamb"}}, {}, "use Adam or AdamW"),
        ({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "nvme"}}}, {}, "nvme is not supported"),
    ],
)
def test_contradictions_are_refused(ds, knobs, says):
    with pytest.raises(UserError, match=says):
        merge(ds, config(**knobs), frozenset(knobs), ranks=2)


def test_the_same_value_twice_is_no_contradiction():
    merge(
        {"train_micro_batch_size_per_gpu": 8, "train_batch_size": 16},
        config(batch_size=8),
        frozenset({"batch_size"}),
        2,
    )


def test_precisions_that_the_device_lacks_are_refused():
    cpu = torch.device("cpu")
    check_device({"bf16": {"enabled": True}}, cpu)
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        check_device({"fp16": {"enabled": True}}, cpu)
    with pytest.raises(UserError, match="both"):
        check_device({"fp16": {"enabled": True}, "bf16": {"enabled": True}}, cpu)
    autocast = {"enabled": True, "dtype": "bfloat16"}
    check_device({"torch_autocast": autocast}, cpu)
    with pytest.raises(UserError, match="both bf16 and torch_autocast"):
        check_device({"bf16": {"enabled": True}, "torch_autocast": autocast}, cpu)
    with pytest.raises(UserError, match="use fp16 instead"):
        check_device({"torch_autocast": autocast | {"dtype": "float16"}}, cpu)


@pytest.mark.parametrize("content", ["[1]", "{", None])
def test_unreadable_configs_are_named(tmp_path, content):
    path = tmp_path / "ds.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="ds.json"):
        read_config(path)


def test_shipped_configs_are_whole():
    folder = Path(__file__).parents[2] / "ds_configs"
    for path in folder.glob("*.json"):
        assert read_config(path.stem) == read_config(str(path))
        merge(read_config(path.stem), config(), frozenset(), ranks=4)
        assert json.loads(path.read_text())["zero_optimization"]["stage"] in (0, 1, 2, 3)


def test_a_file_called_as_a_ready_config_is_read_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cpu").write_text('{"zero_optimization": {"stage": 2}}')
    assert read_config("./cpu")["zero_optimization"]["stage"] == 2
    assert read_config("cpu")["zero_optimization"]["stage"] == 0
    with pytest.raises(UserError, match="cpu_bf15.*give a file, or one of a100_h100, cpu, cpu_bf16, v100"):
        read_config("cpu_bf15")


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [
        ((7, 0), "v100"),
        ((7, 5), "v100"),
        ((8, 0), "a100_h100"),
        ((9, 0), "a100_h100"),
    ],
)
def test_without_the_flag_the_gpu_decides(monkeypatch, capability, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    gpu = torch.device("cuda", 0)
    name, why = choose_config(None, None, gpu)
    assert name == chosen and why.startswith("Some GPU has ")
    check_device(merge(read_config(name), config(), frozenset(), ranks=1)[0], gpu)


@pytest.mark.parametrize("name", ["v100", "a100_h100"])
def test_the_configs_for_gpus_send_no_more_than_gradients_twice(name):
    """Less is only possible with fewer gradients; memory is less than without ZeRO."""
    zero = read_config(name)["zero_optimization"]
    reduce = zero["use_multi_rank_bucket_allreduce"] is False
    for ranks, accumulation in ((2, 1), (8, 4), (1024, 16)):
        sent = [traffic(stage, ranks, 10**6, accumulation, reduce=reduce) for stage in range(4)]
        assert sent[zero["stage"]] == min(sent) == traffic(0, ranks, 10**6, accumulation)
        assert sum(zero_bytes(zero["stage"], ranks, 10**6)) < sum(zero_bytes(0, ranks, 10**6))


def test_a_flag_comes_first_then_what_the_stage_started_with():
    cpu = torch.device("cpu")
    assert choose_config("mine.json", "v100", cpu) == ("mine.json", None)
    assert choose_config(None, "ds_configs/cpu_bf16.json", cpu)[0] == "ds_configs/cpu_bf16.json"
    assert choose_config(None, None, cpu)[0] == "cpu"
