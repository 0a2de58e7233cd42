"""Schema of DeepSpeed's JSON for this trainer: keys, types and bounds, checked before any rank waits for another.

DeepSpeed 0.19.8 ignores unknown top-level keys, and notices some wrong types only in the middle of a step.
"""

import copy
import difflib
import enum
import json
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from deepspeed.runtime.config import DeepSpeedConfig
from deepspeed.runtime.config_utils import DeepSpeedConfigModel
from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from pydantic import ValidationError

from mere_ds.config import TrainConfig
from mere_ds.errors import UserError
from mere_ds.knobs import beyond, deepspeed_keys, knobs_of, types_of


@dataclass(frozen=True)
class Number:
    """A finite number within the bounds of `knobs.beyond`."""

    bounds: Mapping[str, float]
    whole: bool = False


@dataclass(frozen=True)
class Choice:
    """One of these values."""

    values: tuple

    def __init__(self, *values: str | bool) -> None:
        object.__setattr__(self, "values", values)


def _number(**bounds: float) -> Number:
    return Number(bounds)


def _whole(**bounds: float) -> Number:
    return Number(bounds, whole=True)


FLAG = Choice(True, False)
OFF = Choice(False)
"""For options whose state a checkpoint doesn't save, or that would train the wrong way."""
PAIR = (_number(least=0, below=1),) * 2
ANY_OBJECT: dict = {}
"""For blocks that don't affect the result: DeepSpeed checks their content."""


def _of_knobs(parent: str = "") -> dict[str, Number]:
    """The keys of an object that correspond to our knobs, with the knobs' bounds."""
    return {
        key.removeprefix(parent): Number(knobs_of(TrainConfig)[name].bounds, whole=types_of(TrainConfig)[name] is int)
        for key, name in deepspeed_keys(TrainConfig).items()
        if key.rpartition(".")[0] == parent.rstrip(".")
    }


ADAM = {
    **_of_knobs("optimizer.params."),
    "betas": PAIR,
    "eps": _number(above=0),
    "torch_adam": FLAG,
    "adam_w_mode": FLAG,
    "amsgrad": OFF,
}
TORCH_ADAM = ADAM | {"fused": FLAG, "foreach": FLAG, "maximize": OFF, "capturable": OFF, "differentiable": OFF}
OWN_ADAM = ADAM | {"bias_correction": FLAG, "set_grad_none": FLAG, "fp32_optimizer_states": FLAG}
"""Parameters of torch's Adam (`"torch_adam": true`) and of DeepSpeed's."""

KEYS = {
    "train_batch_size": _whole(least=1),
    **_of_knobs(),
    "optimizer": {"type": str, "params": dict, "legacy_fusion": FLAG},
    "gradient_clipping": _number(least=0),
    "zero_optimization": DeepSpeedZeroConfig,
    "bf16": DeepSpeedBF16Config,
    "fp16": DeepSpeedFP16Config,
    "torch_autocast": {
        "enabled": FLAG,
        "dtype": Choice("bfloat16", "bf16", "torch.bfloat16", "float16", "fp16", "torch.float16", "half"),
    },
    "data_types": {"grad_accum_dtype": Choice("fp32", "bf16", "fp16")},
    "communication_data_type": Choice("fp32", "bf16", "fp16"),
    "gradient_allreduce_op": Choice("mean"),
    "gradient_predivide_factor": _number(above=0),
    "prescale_gradients": FLAG,
    "zero_allow_untested_optimizer": FLAG,
    "zero_force_ds_cpu_optimizer": FLAG,
    "disable_allgather": FLAG,
    "disable_python_gc": FLAG,
    "dataloader_drop_last": FLAG,
    "dump_state": FLAG,
    "memory_breakdown": FLAG,
    "wall_clock_breakdown": FLAG,
    "steps_per_print": _whole(least=1),
    "log_level": Choice("debug", "info", "warning", "error", "critical"),
    **dict.fromkeys(
        ("activation_checkpointing", "aio", "checkpoint", "comet", "comms_logger", "compile", "csv_monitor"), ANY_OBJECT
    ),
    **dict.fromkeys(("flops_profiler", "timers", "wandb"), ANY_OBJECT),
    "device": Choice("cpu", "cuda"),
}
"""The allowed keys: those of DeepSpeed 0.19.8 that this trainer supports, and our own "device", the kind of device that
the file is for."""

OURS = {
    "scheduler": "--schedule and --warmup",
    "tensorboard": "the run folder's tensorboard/",
    "data_efficiency": "the batch plan",
    "curriculum_learning": "the batch plan",
}
"""Blocks for things that this trainer does itself, with what controls them here."""

UNSUPPORTED = (
    *("pipeline", "tensor_parallel", "expert_parallel", "use_data_before_expert_parallelism", "hybrid_engine"),
    *("sequence_parallel_size", "seq_parallel_communication_data_type", "managed_gradient_accumulation"),
    *("autotuning", "weight_quantization", "datastates_ckpt", "vocabulary_size", "nebula", "compression_training"),
    *("amp", "quantize_training", "sparse_gradients", "eigenvalue", "sparse_attention", "elasticity"),
    *("graph_harvesting", "progressive_layer_drop", "zero_optimization.zenflow", "zero_optimization.legacy_stage1"),
)
"""Other keys of DeepSpeed, some of older versions."""

INT64 = 2**63 - 1
"""The largest size or count in torch, and DeepSpeed's own default of some thresholds."""

_MORE_BOUNDS = {
    "fp16.initial_scale_power": {"least": 0, "most": 32},
    "fp16.hysteresis": {"least": 1},
    "fp16.loss_scale_window": {"least": 1},
    "zero_optimization.reduce_bucket_size": {"least": 1, "most": 10**10},  # so many numbers are allocated
}
"""Bounds of numbers that DeepSpeed itself doesn't check."""

_OFF = {f"zero_optimization.zero_quantized_{what}" for what in ("weights", "nontrainable_weights", "gradients")}
"""Not allowed: they are compiled at first use, and they round without a record in the checkpoint."""


def checked(ds: dict, file: str) -> dict:
    """A copy without "auto" values. Raises UserError, which names `file`, if a key, type or bound is wrong."""
    try:
        ds = _value(copy.deepcopy(ds), KEYS, "")
        if "params" in ds.get("optimizer", {}):
            params = ds["optimizer"]["params"]
            kinds = TORCH_ADAM if params.get("torch_adam") is True else OWN_ADAM
            ds["optimizer"]["params"] = params = _value(params, kinds, "optimizer.params")
            if params.get("fused") and params.get("foreach"):
                raise UserError('optimizer.params has both "fused" and "foreach": choose one')
        scales = ds.get("prescale_gradients") or ds.get("gradient_predivide_factor", 1) != 1
        if scales and ds.get("zero_optimization", {}).get("stage") == 3:
            raise UserError(
                "prescale_gradients and gradient_predivide_factor don't work with ZeRO stage 3: remove them"
            )
        _as_deepspeed_reads(ds)
    except UserError as error:
        raise UserError(f"--deepspeed_config={file}: {error}") from None
    except RecursionError:
        raise UserError(f"--deepspeed_config={file}: too deeply nested: fix the file") from None
    return ds


def _as_deepspeed_reads(ds: dict) -> None:
    """Raises UserError for combinations of keys that DeepSpeed refuses."""
    one_rank = {"train_batch_size": 1, "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
    try:
        DeepSpeedConfig(ds | one_rank)
    except Exception as error:  # of any type, as DeepSpeed doesn't check its blocks first
        raise UserError(_reason(error)) from None


def _reason(error: Exception, where: str = "") -> str:
    """Why DeepSpeed refuses a config, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        at = ".".join(map(str, filter(None, (where, *first["loc"]))))
        return f"{at}: {first['msg'].splitlines()[0]}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _value(value: Any, kind: Any, where: str) -> Any:
    """`value` checked against `kind`; raises UserError if it doesn't match."""
    if isinstance(kind, type) and issubclass(kind, DeepSpeedConfigModel):
        return _model(_given(value, where), kind, where)
    if kind is dict or kind == {}:
        return _given(value, where)
    if isinstance(kind, dict):
        found = _given(value, where)
        _known(found, kind, where)
        return {key: _value(item, kind[key], _join(where, key)) for key, item in found.items()}
    if isinstance(kind, Number):
        return _checked_number(value, kind, where)
    if isinstance(kind, tuple):
        if not isinstance(value, list) or len(value) != len(kind):
            _refuse(where, value, f"must be a list of {len(kind)} numbers")
        return [_value(item, each, where) for item, each in zip(value, kind, strict=True)]
    if isinstance(kind, Choice):
        if not any(value is choice or (isinstance(value, str) and value == choice) for choice in kind.values):
            names = [json.dumps(choice) for choice in kind.values]
            _refuse(where, value, f"must be {' or '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}")
    elif not isinstance(value, kind):
        _refuse(where, value, "must be a string")
    return value


def _checked_number(value: Any, kind: Number, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(where, value, f"must be a {'whole ' * kind.whole}number")
    if kind.whole and isinstance(value, float) and value.is_integer():  # such as 5e8
        value = int(value)
    if kind.whole and isinstance(value, float):
        _refuse(where, value, "must be a whole number")
    if what := beyond(value, kind.bounds):
        _refuse(where, value, what)
    return value


def _model(found: dict, model: type[DeepSpeedConfigModel], where: str) -> dict:
    """Check a block that DeepSpeed describes by a pydantic model, which alone would accept "1" and true as numbers."""
    by_key = {key: f for name, f in model.model_fields.items() for key in (name, f.alias) if key}
    _known(found, by_key, where)
    for key, value in found.items():
        _annotated(value, by_key[key].annotation, _join(where, key))
    try:
        model(**found)
    except Exception as error:
        raise UserError(_reason(error, where)) from None
    return found


def _annotated(value: Any, annotation: Any, where: str) -> None:
    """Raises UserError if the JSON type doesn't match the field of a pydantic model."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    if value is None and type(None) in kinds:
        return
    kind = next((k for k in kinds if k is not type(None)), annotation)
    if not isinstance(kind, type):
        return  # a list or a mapping, whose type pydantic checks
    if issubclass(kind, DeepSpeedConfigModel):
        _model(_given(value, where), kind, where)
    elif issubclass(kind, bool):
        _value(value, OFF if where in _OFF else FLAG, where)
    elif issubclass(kind, int | float):
        whole = not issubclass(kind, float)
        bounds = _MORE_BOUNDS.get(where, {"most": INT64 if whole else math.inf})
        _checked_number(value, Number(bounds, whole), where)
    elif issubclass(kind, str | enum.Enum):
        _value(value, str, where)


def _given(value: Any, where: str) -> dict:
    """The object without keys set to "auto", which in Hugging Face's Trainer means unset."""
    if not isinstance(value, dict):
        _refuse(where, value, "must be an object, {...}")
    return {key: item for key, item in value.items() if item != "auto"}


def _known(found: Iterable[str], known: Iterable[str], where: str) -> None:
    for key in found:
        path = _join(where, key)
        if path in OURS:
            raise UserError(f"{path!r} is set by {OURS[path]} here: remove it")
        if path in UNSUPPORTED:
            raise UserError(f"{path!r} is not supported by this trainer: remove it")
        if key not in known:
            near = difflib.get_close_matches(key, list(known), n=1)
            raise UserError(f"unknown key {path!r}{f' (did you mean {near[0]}?)' if near else ''}")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _refuse(where: str, value: Any, what: str) -> None:
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    raise UserError(f"{where} = {shown}: {what}")
