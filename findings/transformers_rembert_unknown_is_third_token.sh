#!/usr/bin/env bash
# transformers, RemBertTokenizer: a character that the vocabulary lacks becomes the vocabulary's third token, not the
# unknown token, even if tokenizer.json says otherwise.
#
# Expected: an unknown character is `<unk>`, the token's `unk_token` and the `unk_id` of the saved tokenizer.json.
# Seen: it is `<s>`, the third token, also after from_pretrained of a tokenizer.json whose unk_id is right; with the
# vocabulary that the class makes by itself it is `[CLS]`. AlbertTokenizer, made in the same way, is right.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3 2> "$folder/pip" \
    || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
import json
from importlib.metadata import version
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AlbertTokenizer, RemBertTokenizer

UNKNOWN = "\N{TETRAGRAM FOR CENTRE}"
VOCABULARY = [(token, 0.0) for token in ("<pad>", "<unk>", "<s>", "[CLS]", "[SEP]", "[MASK]")] + [("\u2581a", -1.0)]


def token(tokenizer):
    [number] = tokenizer(UNKNOWN, add_special_tokens=False).input_ids
    return tokenizer.convert_ids_to_tokens(number)


given = RemBertTokenizer(vocab=VOCABULARY)
given.save_pretrained("saved")
file = Path("saved/tokenizer.json")
state = json.loads(file.read_text())
state["model"]["unk_id"] = 1
file.write_text(json.dumps(state))
seen = {
    "RemBertTokenizer(vocab)": token(given),
    "RemBertTokenizer.from_pretrained": token(RemBertTokenizer.from_pretrained("saved")),
    "RemBertTokenizer()": token(RemBertTokenizer()),
    "AlbertTokenizer(vocab)": token(AlbertTokenizer(vocab=VOCABULARY)),
    "tokenizers alone": VOCABULARY[Tokenizer.from_file(str(file)).encode(UNKNOWN, add_special_tokens=False).ids[0]][0],
}
print("transformers", version("transformers"), "tokenizers", version("tokenizers"))
for name, what in seen.items():
    print(f"{name}: expected <unk>; seen {what}")
assert list(seen.values()) == ["<s>", "<s>", "[CLS]", "<unk>", "<unk>"], "what was seen has changed"
PY
"$folder/venv/bin/python" show.py
