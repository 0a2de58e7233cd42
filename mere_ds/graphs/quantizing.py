"""A graph with weights of 8 bits, for less memory and faster products.

Matrices get a scale for each column and are multiplied as whole numbers; activations are rounded as they come. Word
embeddings get a scale for each row: with one scale for all, which is how onnxruntime quantises them, a single large row
makes most others zero.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mere_ds.graphs.saving import save_graph

_LARGEST = 127


def quantized(graph: Any, words: int, place: Path) -> Any:
    """The same onnx.ModelProto with 8-bit weights; tables of `words` rows are embeddings of words. The quantiser's
    files are left in the folder `place`."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.helper.set_model_props(graph, {"onnx.quant.pre_process": "onnxruntime.quant"})  # else it warns
    given, made = place / "given.onnx", place / "made.onnx"
    excluded = _stacked(graph.graph)
    save_graph(graph, given)
    quantize_dynamic(
        given,
        made,
        op_types_to_quantize=["MatMul"],
        nodes_to_exclude=excluded,
        per_channel=True,
        reduce_range=True,  # 7 bits: the sums of 8 overflow on processors without VNNI
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
        extra_options={"MatMulConstBOnly": True},
    )
    result = onnx.load(made)
    _quantize_tables(result.graph, words)
    return result


def _stacked(graph: Any) -> list[str]:
    """Products by several matrices at once, which onnxruntime doesn't multiply as whole numbers."""
    stacks = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 2}
    return [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in stacks]


def _quantize_tables(graph: Any, words: int) -> None:
    """Replace each Gather from a float table of `words` rows by one from whole numbers and one from scales."""
    from onnx import TensorProto, helper, numpy_helper

    tables = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT and list(t.dims)[:1] == [words]}
    nodes, used = [], set()
    for node in graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or any(a.name == "axis" and a.i for a in node.attribute):
            nodes.append(node)
            continue
        used.add(table.name)
        name, ids, out = table.name, node.input[1], node.output[0]
        nodes += [
            helper.make_node("Gather", [f"{name}.int8", ids], [f"{out}.int8"]),
            helper.make_node("Cast", [f"{out}.int8"], [f"{out}.whole"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}.scale", ids], [f"{out}.scale"]),
            helper.make_node("Mul", [f"{out}.whole", f"{out}.scale"], [out]),
        ]
    still = {name for node in nodes for name in node.input}
    for name in used:
        values_VD = numpy_helper.to_array(tables[name])
        scale_V1 = np.abs(values_VD).max(axis=1, keepdims=True) / _LARGEST
        whole_VD = np.rint(values_VD / np.where(scale_V1 > 0, scale_V1, 1)).astype(np.int8)
        graph.initializer.append(numpy_helper.from_array(whole_VD, f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale_V1.astype(np.float32), f"{name}.scale"))
        if name not in still:
            graph.initializer.remove(tables[name])
    del graph.node[:]
    graph.node.extend(nodes)
