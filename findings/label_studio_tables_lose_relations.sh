#!/usr/bin/env bash
# Label Studio SDK: of five text formats that its converter writes, only JSON keeps relations between entities.
#
# Expected: an annotation with two entities and one relation of two labels gives a file that names both labels, or an
# error or warning that the format cannot hold relations.
# Seen: JSON_MIN, CSV, TSV and CoNLL-2003 hold the entities and no relation; the ids that relations point to are gone
# too, so they cannot be added later. The converter's log mentions no loss.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check label-studio-sdk==2.1.2 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
import io
import json
import logging
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter

said = io.StringIO()
logging.basicConfig(stream=said, level=logging.INFO, force=True)
CONFIG = """
<View>
  <Relations><Relation value="founded"/><Relation value="leads"/></Relations>
  <Labels name="label" toName="text"><Label value="Person"/><Label value="Group"/></Labels>
  <Text name="text" value="$text"/>
</View>
"""
TEXT = "Ada Berg runs Northlight."


def region(name: str, label: str, start: int, end: int) -> dict:
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": [label]}
    return {"id": name, "from_name": "label", "to_name": "text", "type": "labels", "value": value}


relation = {"type": "relation", "from_id": "p1", "to_id": "g1", "direction": "right", "labels": ["founded", "leads"]}
result = [region("p1", "Person", 0, 8), region("g1", "Group", 14, 24), relation]
task = {"id": 1, "data": {"text": TEXT}, "annotations": [{"id": 1, "completed_by": 1, "result": result}]}
Path("tasks.json").write_text(json.dumps([task]))

print("label-studio-sdk", version("label-studio-sdk"))
seen = {}
for kind in ("JSON", "JSON_MIN", "CSV", "TSV", "CONLL2003"):
    Converter(CONFIG, None, download_resources=False).convert("tasks.json", kind, kind, is_dir=False)
    written = "".join(path.read_text() for path in Path(kind).iterdir())
    assert "Berg" in written and "Person"[:3].lower() in written.lower(), f"{kind} lost the entities"
    seen[kind] = [word for word in ("founded", "leads", "p1", "g1") if word in written]
    print(f"{kind}: expected founded, leads, p1, g1; seen {', '.join(seen[kind]) or 'none of them'}")
warned = [line for line in said.getvalue().splitlines() if "relation" in line.lower()]
print("lines of the log about relations:", len(warned))
assert seen.pop("JSON") == ["founded", "leads", "p1", "g1"], "JSON has changed"
assert not any(seen.values()), "another format now keeps relations or ids"
assert not warned, "the converter now says that relations are lost"
PY
"$folder/venv/bin/python" show.py
