#!/usr/bin/env bash
# dkpro-cassis: an annotation that only another one points at keeps its UTF-16 offsets, and so covers other characters.
#
# Expected: `load_cas_from_xmi` turns the file's UTF-16 offsets into code points, which Python's strings count; also
# those of an annotation that is in no view's index, as UIMA allows: a relation points at it, so it is in the file.
# Seen: only annotations in an index are changed. With a character above U+FFFF before it the other one is shifted by 1.
# There is no warning.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dkpro-cassis==0.12.0 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
import warnings
from importlib.metadata import version

from cassis import TypeSystem, load_cas_from_xmi

types = TypeSystem()
types.create_type(name="demo.Thing")
tie = types.create_type(name="demo.Tie")
for end in ("source", "target"):
    types.create_feature(tie, end, "demo.Thing")
TEXT = "\U0001f70a Ida left Rome"
XMI = f"""<?xml version="1.0" encoding="UTF-8"?>
<xmi:XMI xmlns:xmi="http://www.omg.org/XMI" xmlns:cas="http:///uima/cas.ecore" xmlns:demo="http:///demo.ecore"
    xmi:version="2.0">
  <cas:NULL xmi:id="0"/>
  <demo:Thing xmi:id="1" sofa="9" begin="3" end="6"/>
  <demo:Thing xmi:id="2" sofa="9" begin="12" end="16"/>
  <demo:Tie xmi:id="3" sofa="9" begin="12" end="16" source="1" target="2"/>
  <cas:Sofa xmi:id="9" sofaNum="1" sofaID="_InitialView" mimeType="text" sofaString="{TEXT}"/>
  <cas:View sofa="9" members="2 3"/>
</xmi:XMI>"""
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    cas = load_cas_from_xmi(XMI, typesystem=types)
[tie] = cas.select("demo.Tie")
seen = [cas.sofa_string[end.begin : end.end] for end in (tie.source, tie.target)]
print("dkpro-cassis", version("dkpro-cassis"))
print(f"in no index and in the index: expected ['Ida', 'Rome']; seen {seen}")
assert seen == ["da ", "Rome"], "dkpro-cassis has changed"
assert not said, f"dkpro-cassis now warns: {said[0].message}"
PY
"$folder/venv/bin/python" show.py
