#!/usr/bin/env bash
# GLiNER: `GLiNER.from_config` takes a general GLiNERConfig, but not the configuration classes of its models.
#
# Expected: from_config is documented to take a GLiNERConfig object; a UniEncoderSpanRelexConfig, the only way to ask for
# relations by an object, gives a UniEncoderSpanRelexGLiNER, and a UniEncoderSpanConfig a UniEncoderSpanGLiNER.
# Seen: both raise AttributeError for labels_encoder, a field of other kinds of models. The class's own load_from_config
# takes the same object.
# Needs python3 with venv and pip (torch is large); makes a temporary folder and removes it. Fails if what was seen
# changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gliner==0.2.29 transformers==5.16.1 torch==2.14.1 \
    2> "$folder/pip" || { cat "$folder/pip" >&2; exit 1; }
cd "$folder"
cat > show.py <<'PY'
from importlib.metadata import version
from pathlib import Path

from gliner import GLiNER
from gliner.config import GLiNERConfig, UniEncoderSpanConfig, UniEncoderSpanRelexConfig
from gliner.model import UniEncoderSpanRelexGLiNER
from transformers import BertConfig, BertModel, BertTokenizerFast

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] ada berg runs northlight .".split()
Path("vocab.txt").write_text("\n".join(WORDS))
BertTokenizerFast("vocab.txt").save_pretrained("encoder")
sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained("encoder")
of_all = {"model_name": "encoder", "hidden_size": 16, "max_width": 4}


def outcome(make, config) -> str:
    """The class of the model, or the error."""
    try:
        return type(make(config)).__name__
    except AttributeError as error:
        return f"AttributeError: {error}"


general = outcome(GLiNER.from_config, GLiNERConfig(**of_all))
entities = outcome(GLiNER.from_config, UniEncoderSpanConfig(**of_all))
relations = outcome(GLiNER.from_config, UniEncoderSpanRelexConfig(**of_all, relations_layer="none"))
own = outcome(UniEncoderSpanRelexGLiNER.load_from_config, UniEncoderSpanRelexConfig(**of_all, relations_layer="none"))
print(*(f"{name} {version(name)}" for name in ("gliner", "transformers", "torch")))
print(f"from_config, GLiNERConfig: expected a model; seen {general}")
print(f"from_config, UniEncoderSpanConfig: expected UniEncoderSpanGLiNER; seen {entities}")
print(f"from_config, UniEncoderSpanRelexConfig: expected UniEncoderSpanRelexGLiNER; seen {relations}")
print(f"the class's load_from_config: expected UniEncoderSpanRelexGLiNER; seen {own}")
assert general.endswith("GLiNER") and own == "UniEncoderSpanRelexGLiNER", "what worked no longer does"
for seen in (entities, relations):
    assert seen.startswith("AttributeError") and "labels_encoder" in seen, "the classes' configs are taken now"
PY
"$folder/venv/bin/python" show.py 2> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
