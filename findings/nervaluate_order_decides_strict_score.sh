#!/usr/bin/env bash
# nervaluate: whether an exactly right entity counts as right depends on the order of the predictions.
#
# Expected: strict scores compare sets of entities. One gold entity, predicted exactly, with one more prediction that
# overlaps it: one correct, one spurious, in any order (precision 0.5, recall 1).
# Seen: so it is if the exact one comes first. If the other comes first, as it does in text order here, it takes the
# gold entity for itself: 0 correct, 1 incorrect, 1 spurious, F1 0 instead of 0.67, also under "exact" boundaries.
# Models whose answers may overlap (span classifiers, nested entities) are hit by this.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nervaluate==1.2.1 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
from importlib.metadata import version

from nervaluate import Evaluator

# "the old Bergen shipyard closed": gold is "Bergen shipyard", another prediction is "old Bergen"
GOLD = {"label": "Group", "start": 8, "end": 23}
OTHER = {"label": "Place", "start": 4, "end": 14}


def strict_and_exact(predicted: list[dict]) -> dict[str, tuple[int, int, int]]:
    """(correct, incorrect, spurious) by kind of comparison."""
    overall = Evaluator([[GOLD]], [predicted], tags=["Group", "Place"], loader="dict").evaluate()["overall"]
    return {kind: (overall[kind].correct, overall[kind].incorrect, overall[kind].spurious) for kind in ("strict", "exact")}


print("nervaluate", version("nervaluate"))
exact_first, other_first = strict_and_exact([GOLD, OTHER]), strict_and_exact([OTHER, GOLD])
for kind in ("strict", "exact"):
    print(f"{kind}: expected (1, 0, 1) twice; seen {exact_first[kind]} and, in text order, {other_first[kind]}")
assert exact_first == {"strict": (1, 0, 1), "exact": (1, 0, 1)}, "the first order has changed"
assert other_first == {"strict": (0, 1, 1), "exact": (0, 1, 1)}, "the order matters no longer, or differently"
PY
"$folder/venv/bin/python" show.py
