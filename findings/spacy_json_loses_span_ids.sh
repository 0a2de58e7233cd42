#!/usr/bin/env bash
# spaCy: a document written as JSON and read again has lost the ids of its spans, and its entities the knowledge base's.
#
# Expected: `Doc.from_json(doc.to_json())` gives the spans with all that they had, as `DocBin` and `to_bytes` do;
# relations between entities are kept by these ids.
# Seen: every span's id is empty. Its kb_id is still there in a span group, but gone in `doc.ents`. There is no warning.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check spacy==3.8.18 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
import warnings

import spacy
from spacy.tokens import Doc, DocBin, Span

nlp = spacy.blank("en")
doc = nlp("Northlight was founded in Bergen.")
entities = [
    Span(doc, 0, 1, "Group", kb_id="Q1", span_id="e1"),
    Span(doc, 4, 5, "Place", kb_id="Q2", span_id="e2"),
]
doc.ents = entities
doc.spans["arguments"] = entities


def facts(read: Doc) -> dict[str, list[tuple[str, str]]]:
    """(id, kb_id) of each span."""
    of = {"ents": read.ents, "arguments": read.spans["arguments"]}
    return {name: [(span.id_, span.kb_id_) for span in spans] for name, spans in of.items()}


with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    as_json = facts(Doc(nlp.vocab).from_json(doc.to_json()))
as_bytes = facts(Doc(nlp.vocab).from_bytes(doc.to_bytes()))
[from_bin] = DocBin(docs=[doc]).get_docs(nlp.vocab)

whole = [("e1", "Q1"), ("e2", "Q2")]
print("spaCy", spacy.__version__)
for name, seen in (("to_bytes", as_bytes), ("DocBin", facts(from_bin)), ("to_json", as_json)):
    for where, found in seen.items():
        print(f"{name}, {where}: expected {whole}; seen {found}")
assert as_bytes == facts(from_bin) == {"ents": whole, "arguments": whole}, "to_bytes or DocBin has changed"
assert as_json == {"ents": [("", "")] * 2, "arguments": [("", "Q1"), ("", "Q2")]}, "JSON keeps more now"
assert not said, f"spaCy now warns: {said[0].message}"
PY
"$folder/venv/bin/python" show.py
