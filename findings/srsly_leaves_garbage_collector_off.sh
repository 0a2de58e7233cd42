#!/usr/bin/env bash
# srsly: after a damaged file of msgpack, or of spaCy's DocBin, Python's garbage collector is off for good.
#
# Expected: `msgpack_loads` raises, and everything else is as before; a program may go on with its other files.
# Seen: it switches the collector off before it reads and on again only after it has succeeded, so that from the first
# damaged file on cycles are never freed. There is no warning.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check srsly==2.5.6 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
import gc

import srsly

whole = srsly.msgpack_dumps({"words": ["Ida"]})
srsly.msgpack_loads(whole)
after_whole = gc.isenabled()
try:
    srsly.msgpack_loads(whole[:-1])
except ValueError as error:
    print("srsly", srsly.about.__version__, "raises", type(error).__name__)
print(f"collector after a whole file: expected on; seen {'on' if after_whole else 'off'}")
print(f"collector after a cut file: expected on; seen {'on' if gc.isenabled() else 'off'}")
assert after_whole and not gc.isenabled(), "srsly has changed"
PY
"$folder/venv/bin/python" show.py
