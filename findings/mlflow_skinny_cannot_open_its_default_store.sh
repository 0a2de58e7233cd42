#!/usr/bin/env bash
# mlflow-skinny: without settings its client can't be used, and the error is about a model registry.
#
# Expected: `MlflowClient().search_experiments()` uses a store that the package can open, or one line says that the default,
# sqlite:///mlflow.db, needs all of mlflow (SQLAlchemy), or that MLFLOW_TRACKING_URI is to be set.
# Seen: "Model registry functionality is unavailable; got unsupported URI 'sqlite:...' for model registry data storage",
# though no model was asked for; a folder of files, the default before, is refused too.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mlflow-skinny==3.17.2 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
unset MLFLOW_TRACKING_URI MLFLOW_ALLOW_FILE_STORE
cat > show.py <<'PY'
import os
from importlib.metadata import version

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def said(uri: str | None) -> str:
    try:
        MlflowClient(uri).search_experiments()
        return "nothing: it works"
    except MlflowException as error:
        return str(error).strip()


print("mlflow-skinny", version("mlflow-skinny"))
default, files = said(None), said(f"file://{os.getcwd()}/store")
print("expected a store that works, or a hint at what is missing; seen:")
print(f"  by default: {default[:120]}...\n  with files: {files[:120]}...")
assert default.startswith("Model registry functionality is unavailable"), "the default is another one now"
assert "sqlite" in default and "SQLAlchemy" not in default and "pip install" not in default, "it says what to do now"
assert "maintenance mode" in files, "files are a store again"
PY
"$folder/venv/bin/python" show.py
