#!/usr/bin/env bash
# dkpro-cassis: a type with a feature named `from`, `in` or `class` can be loaded, but no annotation of it.
#
# Expected: these are names that UIMA allows, as it does for `self` and `type`, for which the library has other names.
# Seen: SyntaxError when an annotation is made; these words are reserved in Python too, but have no other name.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dkpro-cassis==0.12.0 attrs==26.1.0 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
import warnings
from importlib.metadata import version

from cassis import TypeSystem

warnings.simplefilter("ignore")
seen = {}
for name in ("to", "type", "from", "in", "class"):
    types = TypeSystem()
    made = types.create_type(name="demo.Tie")
    types.create_feature(made, name, "uima.cas.String")
    try:
        made(begin=0, end=1)
        seen[name] = "an annotation"
    except SyntaxError as error:
        seen[name] = type(error).__name__
print("dkpro-cassis", version("dkpro-cassis"), "attrs", version("attrs"))
for name, what in seen.items():
    print(f"{name}: expected an annotation; seen {what}")
good = dict.fromkeys(("to", "type"), "an annotation")
assert seen == good | dict.fromkeys(("from", "in", "class"), "SyntaxError"), "dkpro-cassis has changed"
PY
"$folder/venv/bin/python" show.py
