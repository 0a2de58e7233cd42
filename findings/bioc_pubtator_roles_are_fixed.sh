#!/usr/bin/env bash
# bioc, from PubTator to BioC: the two arguments of every relation are called Chemical and Disease, whatever they are.
#
# Expected: in a file with relations between a gene and a disease and between two variants, as BioRED has them, the
# roles follow the arguments' types, or are neutral.
# Seen: the gene has the role Chemical, and so has the first of two variants; the second has Disease. The kinds that the
# entities have in the same document are right, so the two contradict each other.
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

from bioc import pubtator
from bioc.tools.pubtator2bioc import pubtator2bioc

TITLE, ABSTRACT = "BRCA1 in breast cancer.", "We compare c.68A>G with c.70T>C."
TEXT = f"{TITLE} {ABSTRACT}"
ENTITIES = [
    ("BRCA1", "GeneOrGeneProduct", "672"),
    ("breast cancer", "DiseaseOrPhenotypicFeature", "D001943"),
    ("c.68A>G", "SequenceVariant", "V1"),
    ("c.70T>C", "SequenceVariant", "V2"),
]
lines = [f"1|t|{TITLE}", f"1|a|{ABSTRACT}"]
for surface, kind, concept in ENTITIES:
    start = TEXT.index(surface)
    lines.append(f"1\t{start}\t{start + len(surface)}\t{surface}\t{kind}\t{concept}")
lines += ["1\tAssociation\t672\tD001943\tNovel", "1\tComparison\tV1\tV2\tNovel"]
[document] = pubtator.loads("\n".join(lines) + "\n")
converted = pubtator2bioc(document)

kinds = {a.infons["concept_id"]: a.infons["type"] for a in converted.annotations}
print("bioc", version("bioc"))
roles = []
for relation in converted.relations:
    for node in relation.nodes:
        roles.append(node.role)
        kind = kinds[node.refid]
        print(f"{relation.infons['type']} {node.refid}: expected {kind} or a neutral role; seen {node.role}")
assert kinds == {concept: kind for _, kind, concept in ENTITIES}, "the entities' types have changed"
assert roles == ["Chemical", "Disease"] * 2, "the roles now follow the arguments"
PY
"$folder/venv/bin/python" show.py
