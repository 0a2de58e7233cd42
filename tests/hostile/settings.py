"""DeepSpeed's JSON with every key misspelt, of a wrong type or out of range."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.hostile.cases import Case, Use
from tests.hostile.material import DEEPSPEED
from tests.hostile.uses import ONE_STAGE

TRAIN = Use("train", ONE_STAGE, ("shards", "ds.json"), ("new/checkpoints/*",), ("new", "new/*"))

VALUES: dict[str, Any] = {
    **{"null": None, "true": True, "text": "x", "-1": -1, "0": 0, "half": 0.5, "list": [], "object": {}},
    **{"NaN": float("nan"), "huge": 10**30},
}
FULL: dict[str, Any] = {
    **DEEPSPEED,
    "train_batch_size": 8,
    "train_micro_batch_size_per_gpu": 8,
    "gradient_accumulation_steps": 1,
    "steps_per_print": 100,
    "wall_clock_breakdown": False,
    "optimizer": {"type": "AdamW", "params": {"torch_adam": True, "fused": True, "betas": [0.9, 0.999], "eps": 1e-8,
                                             "lr": 1e-3, "weight_decay": 0.1}},
    "zero_optimization": {"stage": 1, "reduce_bucket_size": 500_000_000, "overlap_comm": False,
                          "offload_optimizer": {"device": "none"}},
    "bf16": {"enabled": False},
    "fp16": {"enabled": False, "loss_scale": 0, "initial_scale_power": 16, "loss_scale_window": 1000},
    "torch_autocast": {"enabled": False, "dtype": "bfloat16"},
}  # fmt: skip
"""Everything that a config of ours may say."""
FOREIGN = {"scheduler": {"type": "WarmupLR"}, "monitor": {}, "tensorboard": {"enabled": True}, "data_efficiency": {},
           "curriculum_learning": {"enabled": True}, "amp": {"enabled": True}, "sparse_attention": {},
           "data_types": {"grad_accum_dtype": "fp32"}, "flops_profiler": {"enabled": True}, "compression_training": {},
           "checkpoint": {}, "pipeline": {}, "elasticity": {"enabled": True}, "": 1, "comment": "x"}  # fmt: skip
WHOLE = {"empty": b"", "NUL": bytes(64), "list": b"[]", "null": b"null", "text": b'"x"', "deep": b"[" * 100_000,
         "cut": b'{"gradient_clipping": 1.0', "bytes": b"\xff\xfe{}", "comment": b'{"a": 1} // x', "object": b"{}",
         "twice": b'{"zero_optimization": {"stage": 1}, "zero_optimization": {"stage": 9}}',
         "BOM": b"\xef\xbb\xbf{}"}  # fmt: skip


def cases() -> Iterator[Case]:
    for where in _places(FULL):
        for how, value in VALUES.items():
            yield _case(f"{'.'.join(where)} {how}", partial(_replaced, where, value))
        yield _case(f"{'.'.join(where)} misspelt", partial(_misspelt, where))
    for key, value in FOREIGN.items():
        yield _case(f"{key} added", lambda key=key, value=value: FULL | {key: value})
    for how, content in WHOLE.items():
        yield Case("settings", f"file {how}", TRAIN, partial(_write, content), False)
    for how in ("folder", "gone"):
        yield Case("settings", f"file {how}", TRAIN, partial(_no_file, how), False)


def good() -> Case:
    return _case("as it stands", lambda: FULL)


def _case(name: str, config) -> Case:
    return Case("settings", name, TRAIN, lambda place: _write(json.dumps(config()).encode(), place), False)


def _places(entries: dict, before: tuple = ()) -> Iterator[tuple[str, ...]]:
    for key, value in entries.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from _places(value, (*before, key))


def _replaced(where: tuple[str, ...], value: Any) -> dict:
    config = json.loads(json.dumps(FULL))
    _parent(config, where)[where[-1]] = value
    return config


def _misspelt(where: tuple[str, ...]) -> dict:
    """With a letter less."""
    config = json.loads(json.dumps(FULL))
    parent = _parent(config, where)
    parent[where[-1][:3] + where[-1][4:]] = parent.pop(where[-1])
    return config


def _parent(config: dict, where: tuple[str, ...]) -> dict:
    for key in where[:-1]:
        config = config[key]
    return config


def _write(content: bytes, place: Path) -> None:
    (place / "ds.json").write_bytes(content)


def _no_file(how: str, place: Path) -> None:
    (place / "ds.json").unlink()
    if how == "folder":
        (place / "ds.json").mkdir()
