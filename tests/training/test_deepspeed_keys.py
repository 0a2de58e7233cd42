"""DeepSpeed's JSON: each key that we or DeepSpeed read, with values of every type; what is wrong is one line."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from deepspeed.runtime.config import DeepSpeedConfig

from mere_ds.config import TrainConfig
from mere_ds.errors import UserError
from mere_ds.training.deepspeed_config import check_device, merge, read_config
from mere_ds.training.deepspeed_keys import KEYS, OURS, OWN_ADAM, TORCH_ADAM, UNSUPPORTED
from mere_ds.training.own_adam import check_own_adam

SHIPPED = Path(__file__).parents[2] / "ds_configs"


def merged(text: str, folder: Path) -> dict:
    path = folder / "ds.json"
    path.write_text(text)
    config = TrainConfig(shards="s", run="r", deepspeed_config=str(path))
    return merge(read_config(path), config, frozenset(), 1)[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"gradient_cliping": 1}', "unknown key 'gradient_cliping' (did you mean gradient_clipping?)"),
        ('{"zero_optimisation": {"stage": 2}}', "unknown key 'zero_optimisation' (did you mean zero_optimization?)"),
        ('{"bfloat16": {"enabled": true}}', "unknown key 'bfloat16' (did you mean bf16?)"),
        ('{"zero_optimization": {"stag": 1}}', "unknown key 'zero_optimization.stag' (did you mean stage?)"),
        ('{"optimizer": {"params": {"beta": 1}}}', "unknown key 'optimizer.params.beta' (did you mean betas?)"),
        ('{"optimizer": {"params": {"fused": true}}}', "unknown key 'optimizer.params.fused'"),
        ('{"fp16": true}', "fp16 = true: must be an object"),
        ('{"zero_optimization": true}', "zero_optimization = true: must be an object"),
        ('{"zero_optimization": {"stage": "1"}}', 'zero_optimization.stage = "1": must be a whole number'),
        ('{"zero_optimization": {"stage": 4}}', "zero_optimization.stage: Input should be 0, 1"),
        (
            '{"zero_optimization": {"reduce_bucket_size": -1}}',
            "reduce_bucket_size = -1: must be at least 1",
        ),
        ('{"zero_optimization": {"reduce_bucket_size": 100000000000}}', "reduce_bucket_size = 100000000000: must be"),
        ('{"zero_optimization": {"sub_group_size": 9223372036854775808}}', "must be at most 9223372036854775807"),
        ('{"zero_optimization": {"overlap_comm": "yes"}}', 'overlap_comm = "yes": must be true or false'),
        ('{"zero_optimization": {"offload_optimizer": {"device": "x"}}}', "offload_optimizer.device: Input should be"),
        ('{"optimizer": {"params": {"lr": "x"}}}', 'optimizer.params.lr = "x": must be a number'),
        ('{"optimizer": {"params": {"lr": -1}}}', "optimizer.params.lr = -1: must be greater than 0"),
        ('{"optimizer": {"params": {"lr": null}}}', "optimizer.params.lr = null: must be a number"),
        ('{"optimizer": {"params": {"betas": 0.9}}}', "optimizer.params.betas = 0.9: must be a list of 2 numbers"),
        ('{"optimizer": {"params": {"betas": [0.9, 1]}}}', "must be at least 0 and less than 1"),
        ('{"optimizer": {"params": {"amsgrad": true}}}', "optimizer.params.amsgrad = true: must be false"),
        ('{"optimizer": {"type": 1}}', "optimizer.type = 1: must be a string"),
        ('{"optimizer": null}', "optimizer = null: must be an object"),
        ('{"gradient_clipping": "1.0"}', 'gradient_clipping = "1.0": must be a number'),
        ('{"gradient_clipping": null}', "gradient_clipping = null: must be a number"),
        ('{"gradient_clipping": -1}', "gradient_clipping = -1: must be at least 0"),
        ('{"gradient_clipping": 1e400}', "gradient_clipping = Infinity: must be a finite number"),
        ('{"gradient_clipping": NaN}', "NaN is not JSON"),
        ('{"gradient_clipping": 1, "gradient_clipping": 2}', "the key 'gradient_clipping' occurs twice"),
        ('{"train_batch_size": 1.5}', "train_batch_size = 1.5: must be a whole number"),
        ('{"gradient_allreduce_op": "sum"}', 'gradient_allreduce_op = "sum": must be "mean"'),
        ('{"fp16": {"enabled": true, "initial_scale_power": 99}}', "must be at least 0 and at most 32"),
        ('{"fp16": {"enabled": true, "loss_scale": -1}}', "fp16.loss_scale"),
        ('{"torch_autocast": {"enabled": true, "dtype": "fp8"}}', "torch_autocast.dtype"),
        ('{"pipeline": {}}', "'pipeline' is not supported by this trainer"),
        ('{"elasticity": {}}', "'elasticity' is not supported by this trainer"),
        ('{"wandb": {"enabled": 5}}', "enabled"),
        ('{"prescale_gradients": true, "zero_optimization": {"stage": 3}}', "don't work with ZeRO stage 3"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, says):
    with pytest.raises(UserError) as refused:
        merged(text, tmp_path)
    told = str(refused.value)
    assert says in told and "ds.json" in told and "\n" not in told


def test_what_is_too_deeply_nested_for_python_is_refused(tmp_path):
    depth = sys.getrecursionlimit() * 6 // 10  # some libraries raise it; less than what isn't JSON for Python
    with pytest.raises(UserError, match="too deeply nested"):
        merged('{"aio": ' + '{"a": ' * depth + "1" + "}" * (depth + 1), tmp_path)


def keys(kinds: dict, *where: str) -> Iterator[tuple[str, ...]]:
    for key, kind in kinds.items():
        yield (*where, key)
        if isinstance(kind, dict):
            yield from keys(kind, *where, key)
        elif hasattr(kind, "model_fields"):
            yield from ((*where, key, field.alias or name) for name, field in kind.model_fields.items())


def test_no_value_of_any_key_gives_a_traceback(tmp_path):
    adam = [("optimizer", "params", key) for key in TORCH_ADAM | OWN_ADAM]
    paths = [*keys(KEYS), *adam, *((key,) for key in (*OURS, *UNSUPPORTED))]
    assert len(paths) > 100
    refused = 0
    for path in paths:
        for value in ("null", "true", '"x"', "[]", "{}", "-1", "1e400", '"1"'):
            text = value
            for key in reversed(path):
                text = f'{{"{key}": {text}}}'
            try:
                merged(text, tmp_path)
            except UserError as error:
                refused += 1
                assert "\n" not in str(error), text
    assert refused > 700


def test_auto_is_a_key_that_is_not_given(tmp_path):
    text = """{"train_batch_size": "auto", "gradient_clipping": "auto", "bf16": {"enabled": "auto"},
               "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto"}},
               "zero_optimization": {"stage": 2, "reduce_bucket_size": 5e8, "allgather_bucket_size": "auto"}}"""
    plain = '{"optimizer": {"type": "AdamW"}, "zero_optimization": {"stage": 2, "reduce_bucket_size": 5e8}}'
    expected = merged(plain, tmp_path) | {"bf16": {}}
    assert merged(text, tmp_path) == expected


class Asked(dict):
    """A config that notes which of its keys were read."""

    def __init__(self, content: dict) -> None:
        super().__init__(content)
        self.keys_read: set[str] = set()

    def __contains__(self, key: object) -> bool:
        self.keys_read.add(str(key))
        return super().__contains__(key)

    def __getitem__(self, key: str) -> object:
        self.keys_read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: object = None) -> object:
        self.keys_read.add(key)
        return super().get(key, default)

    def keys(self) -> "Asked":
        return self

    def __copy__(self) -> "Asked":
        return self


def test_every_key_that_deepspeed_reads_is_known():
    asked = Asked({"train_batch_size": 1, "optimizer": {"type": "AdamW", "params": {"lr": 1}}})
    DeepSpeedConfig(asked)
    assert len(asked.keys_read) > 50
    assert asked.keys_read <= {*KEYS, *OURS, *UNSUPPORTED, "bfloat16"}, "bfloat16 is an old name of bf16"


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_stages_clip_alike_where_nothing_is_said(tmp_path, zero_stage, precision):
    half = {"bf16": {"enabled": True}} if precision == "bf16" else {}
    assert merged(json.dumps({"zero_optimization": {"stage": zero_stage}} | half), tmp_path)["gradient_clipping"] == 1


def test_a_stage_that_began_before_clipping_was_recorded_goes_on_as_it_was():
    """Then DeepSpeed clipped at 1 without a word, and torch's optimizer, in ZeRO 0 and fp32, clipped nothing."""
    config = TrainConfig(shards="s", run="r", deepspeed_config="d")
    began = {"ranks": 1, "batch_size": 16, "global_batch": 16}

    def clipping(ds: dict, **recorded: float) -> float:
        return merge(ds, config, frozenset(), 1, began | recorded)[0]["gradient_clipping"]

    assert clipping({}) == clipping({}, gradient_clipping=0.0) == 0
    assert clipping({"zero_optimization": {"stage": 1}}) == clipping({"bf16": {"enabled": True}}) == 1
    assert clipping({}, gradient_clipping=1.0) == 1
    assert clipping({"gradient_clipping": 0.5}) == 0.5


@pytest.mark.parametrize("name", ["a100_h100.json", "v100.json"])
def test_a_config_for_gpus_is_refused_on_a_cpu_and_asks_for_no_compiler_on_a_gpu(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    ds = merged((SHIPPED / name).read_text(), tmp_path)
    with pytest.raises(UserError, match="use --deepspeed_config=cpu"):
        check_device(ds, torch.device("cpu"))
    (tmp_path / "fused_adam").mkdir()
    (tmp_path / "fused_adam" / "lock").touch()
    check_own_adam(ds, torch.device("cuda"), patience=0)  # waits for no lock, for it compiles nothing
    assert ds["optimizer"]["params"]["fused"] is True


@pytest.mark.parametrize(
    ("ds", "name"),
    [
        ("{}", "fused_adam"),
        ('{"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}', "cpu_adam"),
    ],
)
def test_an_adam_that_would_be_compiled_on_a_cpu_is_refused(tmp_path, monkeypatch, ds, name):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    ds = merged(ds, tmp_path)
    with pytest.raises(UserError, match='need minutes to compile .* add "torch_adam": true'):
        check_own_adam(ds, torch.device("cpu"), patience=600)
    built = tmp_path / "extensions" / name
    built.mkdir()
    (built / f"{name}.so").touch()
    check_own_adam(ds, torch.device("cpu"), patience=600)  # what began with it can continue with it


def test_a_lock_that_a_killed_compilation_left_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    lock = tmp_path / "fused_adam" / "lock"
    lock.parent.mkdir()
    lock.touch()
    os.utime(lock, (time.time() - 700,) * 2)
    ds = merged("{}", tmp_path)
    with pytest.raises(UserError) as refused:
        check_own_adam(ds, torch.device("cuda"), patience=600)
    assert str(lock) in str(refused.value) and "remove this file" in str(refused.value)
    os.utime(lock)
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", lambda _: lock.unlink())  # the other one has compiled it
        check_own_adam(ds, torch.device("cuda"), patience=600)
