#!/usr/bin/env bash
# onnx: whether a file of weights may be written is asked of the working folder, not of the folder that it is written to.
#
# `onnx.save_model(model, path, save_as_external_data=True, location=NAME)` puts the weights into NAME beside `path`.
# Expected: saving again replaces both files, as it replaces a file with weights inside, or is refused; and what the
# working folder has is of no concern.
# Seen: saved again, the weights are appended to the old ones, so that the file is twice as large each second time; and a
# file called NAME in the working folder, of whatever kind, keeps the model from being saved anywhere else.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 numpy==2.4.6 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
mkdir "$folder/models" "$folder/working"
cd "$folder/working"
cat > ../show.py <<'PY'
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAME, FOLDER = "model.onnx.data", Path("../models")


def save(path: Path) -> int:
    """Bytes of the file of weights."""
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "weights")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "weights"], ["y"])], "graph", [x], [y], [weights])
    onnx.save_model(helper.make_model(graph), path, save_as_external_data=True, location=NAME, size_threshold=0)
    return FOLDER.joinpath(NAME).stat().st_size


print("onnx", onnx.__version__)
first, second = save(FOLDER / "model.onnx"), save(FOLDER / "model.onnx")
print(f"expected the same size, or an error, when the same model is saved again; seen: {first:,} and {second:,} bytes")
Path(NAME).write_text("notes")
try:
    save(FOLDER / "other.onnx")
    said = "nothing: it was saved"
except FileExistsError as error:
    said = f"FileExistsError: {error}"
print(f"expected a model in another folder to be saved; seen: {said}")
assert second == 2 * first == 2 * 64 * 64 * 4, "the old weights are replaced now"
assert "exists in model.onnx.data" in said and not FOLDER.joinpath("other.onnx").exists(), "the right folder is looked at"
PY
"$folder/venv/bin/python" ../show.py
