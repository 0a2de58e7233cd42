"""The formats of an exported model: each writes what computes it, and says what the card tells of that."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mere_ds.encoders.weights import WEIGHTS, share
from mere_ds.errors import UserError
from mere_ds.exporting.facts import Weights
from mere_ds.model.precision import DTYPES, nonfinite
from mere_ds.model.triple import TripleModel


def write_safetensors(model: TripleModel, checkpoint: Path, out: Path, precision: str) -> Weights:
    """model.safetensors: the checkpoint's own file, or its weights in 16 bits, with which torch computes in fp32.

    Raises UserError if a weight is too large for the precision.
    """
    if precision == "fp32":
        shutil.copyfile(checkpoint / WEIGHTS, out / WEIGHTS)
        return Weights("fp32", "train")
    rounded = {name: _rounded(tensor, DTYPES[precision]) for name, tensor in load_file(checkpoint / WEIGHTS).items()}
    if name := nonfinite(rounded):
        raise UserError(f"--precision={precision}: {name} has numbers too large for it: use bf16 or fp32")
    save_file(rounded, out / WEIGHTS, metadata={"format": "pt"})
    share(out / WEIGHTS)
    return Weights(precision, "train", ("The weights were trained in fp32 and are rounded.",))


FORMATS: dict[str, Callable[[TripleModel, Path, Path, str], Weights]] = {"safetensors": write_safetensors}
"""By name what writes a loaded model of a checkpoint's folder into a new folder, in a precision; config.json, tokenizer
and calibration are there already, and the digests are made afterwards."""


def _rounded(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
