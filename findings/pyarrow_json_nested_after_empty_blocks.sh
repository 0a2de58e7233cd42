#!/usr/bin/env bash
# pyarrow.json: whether a file of relations can be read depends on how many sentences at its start have none.
#
# Expected: `read_json` gives the same table for any block size, as it does for a list of numbers that is empty in the
# first blocks: types of all blocks are brought together.
# Seen: a list that is empty in a whole block and holds objects (or lists) in a later one ends in an error, the same
# file in one block is read. So with the default block of 1 MiB a corpus whose first MiB is sentences without relations
# is refused, and the error names a conversion to a type that the file doesn't have (timestamp for a text).
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
import json
from pathlib import Path

import pyarrow as pa
from pyarrow.json import ReadOptions, read_json

SMALL, LARGE = 1 << 12, 1 << 20


def outcome(later: list, block: int) -> str:
    """The type of column `relations` in 200 rows with an empty list and one with `later`, or the error."""
    rows = [{"text": "No relation here. " * 6, "relations": []}] * 200 + [{"text": "One here.", "relations": later}]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        table = read_json("rows.jsonl", read_options=ReadOptions(block_size=block, use_threads=False))
    except pa.ArrowNotImplementedError as error:
        return f"error: {error}"
    assert table.num_rows == 201
    return str(table.schema.field("relations").type)


print("pyarrow", pa.__version__)
for name, later in (("a number", [7]), ("an object", [{"label": "founded"}]), ("a list", [[0, 8]])):
    in_one, in_many = outcome(later, LARGE), outcome(later, SMALL)
    print(f"{name} after empty lists: expected {in_one}; seen in blocks of 4 KiB {in_many}")
    assert in_one.startswith("list<"), "one block has changed"
    if name == "a number":
        assert in_many == in_one, "numbers have changed"
    else:
        assert in_many.startswith("error: JSON conversion to"), f"{name} can now be read in several blocks"
PY
"$folder/venv/bin/python" show.py
