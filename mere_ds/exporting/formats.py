"""The formats of an exported model: each writes what computes it, and says what the card tells of that."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mere_ds.backends.with_onnx import FIELDS, OF_MANY
from mere_ds.encoders.weights import WEIGHTS
from mere_ds.errors import UserError
from mere_ds.exporting.facts import Weights
from mere_ds.files import read_json, share, write_json
from mere_ds.graphs.checking import check_graphs
from mere_ds.graphs.writing import write_graphs
from mere_ds.model.precision import DTYPES, nonfinite


def write_safetensors(model: Any, checkpoint: Path, out: Path, precision: str) -> Weights:
    """model.safetensors: the checkpoint's own file, or its weights in 16 bits.

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


def write_onnx(model: Any, checkpoint: Path, out: Path, precision: str) -> Weights:
    """ONNX graphs, which onnxruntime computes without torch; compared with the model before they are kept.

    Raises UserError for a model that can't become graphs, or whose graphs compute something else.
    """
    saved, names = read_json(out / "config.json", "export again"), (*FIELDS, *OF_MANY)
    # an older file lacks what had no name then
    saved |= {name: getattr(model.config, name) for name in names if hasattr(model.config, name)}
    write_json(out / "config.json", saved)
    write_graphs(model, out, precision)
    agreement = check_graphs(model, out, precision)
    if precision == "fp32":
        return Weights("fp32", "runtime", ("The graphs' scores differ from torch's by less than 0.0001.",))
    return Weights(
        precision,
        "runtime",
        (
            "Its matrices and word embeddings are stored in 8 bits and multiplied as whole numbers.",
            f"Of {agreement.sentences} texts and random sentences, {agreement.kept:.0%} keep their best triple.",
        ),
    )


FORMATS: dict[str, Callable[[Any, Path, Path, str], Weights]] = {
    "safetensors": write_safetensors,
    "onnx": write_onnx,
}
"""By name what writes a model, as `load_for_use` loads it from a checkpoint's folder in fp32, into a new folder, in a
precision; config.json, tokenizer and calibration are there already, and the digests are made afterwards."""


def _rounded(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
