#!/usr/bin/env bash
# pybrat: a relation whose line names Arg2 before Arg1 is read the wrong way round, and events lose their roles.
#
# Expected: in brat's format each argument names its role, so `Arg2:T2 Arg1:T1` is the same relation as
# `Arg1:T1 Arg2:T2`; an event's arguments keep theirs (Buyer, Bought), for which pybrat has a class, Event.Argument.
# Seen: the first argument of the line is arg1, whatever it is called; an event's arguments are bare entities.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pybrat==0.1.7 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
mkdir corpus
printf 'Ada founded Northlight, then Northlight bought Kelp.' > corpus/a.txt
printf '%s\n' $'T1\tPerson 0 3\tAda' $'T2\tGroup 12 22\tNorthlight' $'T3\tGroup 29 39\tNorthlight' \
    $'T4\tDeal 40 46\tbought' $'T5\tGroup 47 51\tKelp' $'R1\tFounder Arg1:T1 Arg2:T2' \
    $'R2\tFounder Arg2:T2 Arg1:T1' $'E1\tDeal:T4 Buyer:T3 Bought:T5' > corpus/a.ann
cat > show.py <<'PY'
from importlib.metadata import version

from pybrat.parser import BratParser, Entity

[document] = BratParser().parse("corpus")
found = {relation.id: (relation.arg1.id, relation.arg2.id) for relation in document.relations}
print("pybrat", version("pybrat"))
print(f"Arg1 first: expected ('T1', 'T2'); seen {found['R1']}")
print(f"Arg2 first: expected ('T1', 'T2'); seen {found['R2']}")
[event] = document.events
kinds = [type(argument).__name__ for argument in event.arguments]
print(f"arguments of the event: expected Argument with roles Buyer, Bought; seen {kinds} without a role")
assert found == {"R1": ("T1", "T2"), "R2": ("T2", "T1")}, "roles of relations are read now"
assert all(type(argument) is Entity for argument in event.arguments), "events keep roles now"
assert "Buyer" not in repr(event), "the roles are elsewhere in the event now"
PY
"$folder/venv/bin/python" show.py
