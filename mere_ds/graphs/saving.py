"""A graph in a file, and its weights in another one beside it.

A file of protobuf holds 2 GiB, the other any number of bytes; and onnxruntime maps that into memory as it is, where it
would take weights out of protobuf one by one: making its session takes half the time and half the memory.
"""

from pathlib import Path
from typing import Any

from mere_ds.backends.onnx_files import weights_of
from mere_ds.files import share

_LEAST = 1 << 10
"""Bytes of a tensor that goes into the file of weights."""


def save_graph(graph: Any, path: Path) -> None:
    """Write an onnx.ModelProto, which loses its weights by it; equal graphs give equal files. Raises OSError."""
    # convert_model_to_external_data would do the first step, but refuses if the *working* folder has such a file
    from onnx.external_data_helper import set_external_data, write_external_data_tensors

    weights = path.with_name(weights_of(path.name))
    weights.unlink(missing_ok=True)  # what is written is appended
    for tensor in graph.graph.initializer:
        if len(tensor.raw_data) >= _LEAST:
            set_external_data(tensor, weights.name)
    write_external_data_tensors(graph, str(path.parent))
    if weights.exists():
        share(weights)
    path.write_bytes(graph.SerializeToString(deterministic=True))
