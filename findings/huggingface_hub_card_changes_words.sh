#!/usr/bin/env bash
# huggingface_hub: a model card's metadata, written and read again by the library, has lost characters of its words.
#
# Expected: `ModelCard("---\n" + data.to_yaml() + "\n---\n").data` has what `data` had, whatever the words.
# Seen: U+0085 (next line) inside of a word comes back as a blank, for it is written as it is, and YAML reads it as a
# line break. A word at the end of the metadata that is a no-break space comes back as None, for `to_yaml` strips all
# white space of Unicode from its text. There is no warning.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check huggingface_hub==2.4.0 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
from huggingface_hub import ModelCard, ModelCardData


def read_back(word: str) -> str | None:
    (found,) = ModelCard(f"---\n{ModelCardData(tags=[word]).to_yaml()}\n---\n").data.tags
    return found


for word, expected in (("a\u2028b", "a\u2028b"), ("a\x85b", "a b"), ("\xa0", None)):
    found = read_back(word)
    print(f"{word!a} is read back as {found!a}")
    assert found == expected, "huggingface_hub behaves differently now"
PY
"$folder/venv/bin/python" show.py
