#!/usr/bin/env bash
# bioc, from brat to BioC: an annotator's note replaces the type of the entity or relation that it is about, and a
# binary attribute such as Negation disappears.
#
# Expected: `T1 Drug` with a note stays a Drug and the relation R1 with a note stays Treats; the note stands beside the
# type, as brat shows it. `A1 Negation T2` leaves the word Negation at T2.
# Seen: both types are now AnnotatorNotes (the note is written to the same field), and T2 keeps only the attribute's id,
# A1. An entity without note or attribute is right, so counts by label look plausible.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check bioc==2.1 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
from importlib.metadata import version

from bioc import biocxml, brat
from bioc.tools.brat2bioc import brat2bioc

TEXT = "Aspirin eases headache, not fever."
ANNOTATION = """T1\tDrug 0 7\tAspirin
T2\tDisease 28 33\tfever
T3\tDisease 14 22\theadache
R1\tTreats Arg1:T1 Arg2:T3
A1\tNegation T2
#1\tAnnotatorNotes T1\ttrade name
#2\tAnnotatorNotes R1\tseen in two trials
"""
document = brat.loads(TEXT, ANNOTATION, "d1")
written = biocxml.dumps(brat2bioc([document]))
[read] = biocxml.loads(written).documents
found = {item.id: item.infons for passage in read.passages for item in passage.annotations + passage.relations}
found |= {item.id: item.infons for item in read.annotations + read.relations}

print("bioc", version("bioc"))
for name, expected in (("T1", "Drug"), ("R1", "Treats"), ("T3", "Disease")):
    print(f"type of {name}: expected {expected}; seen {found[name]['type']}")
print(f"T2: expected Negation somewhere; seen {found['T2']}")
assert found["T3"]["type"] == "Disease", "an entity without a note has changed"
assert found["T1"]["type"] == found["R1"]["type"] == "AnnotatorNotes", "notes no longer replace types"
assert "Drug" not in written and "Treats" not in written, "the types are elsewhere in the file now"
assert "Negation" not in written and found["T2"]["note_id"] == "A1", "attributes keep their name now"
PY
"$folder/venv/bin/python" show.py
