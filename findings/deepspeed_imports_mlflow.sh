#!/usr/bin/env bash
# DeepSpeed imports MLflow wherever it is installed, and a logging library's import becomes a part of every rank's start.
#
# Expected: `import deepspeed` loads no experiment tracker: its configuration has none for MLflow, and those that it has
# (W&B, Comet) are imported when they are enabled.
# Seen: `import deepspeed` loads deepspeed.autotuning, which does `import mlflow` in a try block, to report to if MLflow
# is there. Some hundreds of modules more, also in trainings that never tune, for each rank.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 deepspeed==0.19.8 mlflow-skinny==3.17.2 numpy==2.2.6 setuptools
cd "$folder"
export DS_ACCELERATOR=cpu
cat > show.py <<'PY'
import sys
from importlib.metadata import version

if "hide" in sys.argv:
    sys.modules["mlflow"] = None  # as if it were not installed
import deepspeed  # noqa: F401

loaded = [name for name in sys.modules if name.partition(".")[0] == "mlflow" and sys.modules[name]]
if "hide" not in sys.argv:
    print("deepspeed", version("deepspeed"), "mlflow-skinny", version("mlflow-skinny"))
    print(f"expected 0 modules of mlflow after `import deepspeed`; seen {len(loaded)}")
print(len(loaded), len(sys.modules), file=sys.stderr)
PY
"$folder/venv/bin/python" show.py 2> with.txt
"$folder/venv/bin/python" show.py hide 2> without.txt
read -r own all <<< "$(tail -n 1 with.txt)"
read -r none fewer <<< "$(tail -n 1 without.txt)"
echo "modules in all: $all, without mlflow $fewer"
if [ "$own" -le 100 ] || [ "$none" -ne 0 ] || [ "$all" -le "$((fewer + 200))" ]; then
  echo "this has changed"
  exit 1
fi
