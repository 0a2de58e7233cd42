#!/usr/bin/env bash
# onnxruntime: quantize_dynamic with per_channel=True writes a model that onnxruntime doesn't run, if a MatMul's weight
# has three dimensions.
#
# Expected: a stack of matrices is quantised so that it can be multiplied, or left as it is. Without per_channel it is
# quantised, and the model runs.
# Seen: quantize_dynamic ends without an error or a warning, the session is made, and the first run fails in
# MatMulInteger, which takes a zero point for each column of a single matrix only.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
import logging

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

logging.disable(logging.WARNING)  # its hint to run a pre-processing first
print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
rng = np.random.default_rng(0)
x = rng.normal(size=(3, 5, 4)).astype(np.float32)


def model(*shape: int) -> str:
    """x times a constant weight of this shape, in a file."""
    weight = numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 5, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 5, 6])],
        [weight],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    onnx.save(made, "given.onnx")
    return "given.onnx"


def outcome(given: str, per_channel: bool) -> str:
    """What becomes of the model with 8 bits."""
    quantize_dynamic(given, "made.onnx", per_channel=per_channel, weight_type=QuantType.QInt8)
    exact = onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession("made.onnx", options, providers=["CPUExecutionProvider"])
    try:
        rounded = session.run(None, {"x": x})[0]
    except Exception as error:
        return f"run fails: {type(error).__name__}: {str(error).strip().split(' was false. ')[-1]}"
    return f"runs, off by at most {np.abs(rounded - exact).max():.2f}"


found = {}
for shape in ((4, 6), (3, 4, 6)):
    for per_channel in (False, True):
        found[shape, per_channel] = outcome(model(*shape), per_channel)
        print(f"weight {shape}, per_channel={per_channel}: {found[shape, per_channel]}")
failed = [key for key, what in found.items() if what.startswith("run fails")]
assert failed == [((3, 4, 6), True)], "onnxruntime behaves differently now"
PY
"$folder/venv/bin/python" show.py
