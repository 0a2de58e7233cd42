#!/usr/bin/env bash
# Label Studio SDK: LabelInterface.validate_task raises TypeError for every task that has annotations or predictions.
#
# Expected: True for a task whose annotation validate_annotation accepts, as for the same task without annotations.
# Seen: TypeError, because it calls validate_annotation and validate_prediction without the annotation.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check label-studio-sdk==2.1.2 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
from importlib.metadata import version

from label_studio_sdk.label_interface import LabelInterface

interface = LabelInterface(
    '<View><Labels name="label" toName="text"><Label value="Person"/></Labels><Text name="text" value="$text"/></View>'
)
region = {"id": "p1", "from_name": "label", "to_name": "text", "type": "labels"}
region["value"] = {"start": 0, "end": 8, "text": "Ada Berg", "labels": ["Person"]}
task, annotation = {"data": {"text": "Ada Berg runs Northlight."}}, {"result": [region]}

print("label-studio-sdk", version("label-studio-sdk"))
assert interface.validate_task(task) is True and interface.validate_annotation(annotation) is True
print("the task without annotations, and the annotation alone: expected True and True; seen True and True")
for key in ("annotations", "predictions"):
    try:
        seen = str(interface.validate_task(task | {key: [annotation]}))
    except TypeError as error:
        seen = f"TypeError: {error}"
    print(f"the task with {key}: expected True; seen {seen}")
    assert seen.startswith("TypeError") and "missing 1 required positional argument" in seen, "has changed"
PY
"$folder/venv/bin/python" show.py
