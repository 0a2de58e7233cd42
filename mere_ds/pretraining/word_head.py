"""Reads the masked word head that an encoder's checkpoint may contain, whatever its architecture calls it."""

from pathlib import Path

import torch
from safetensors import safe_open

from mere_ds.encoders import hub
from mere_ds.encoders.sources import EncoderInfo

NAMES = {
    "cls.predictions.transform.dense.": "transform.0.",  # BERT
    "cls.predictions.transform.LayerNorm.": "transform.2.",
    "cls.predictions.bias": "bias_V",
    "lm_head.dense.": "transform.0.",  # XLM-R
    "lm_head.layer_norm.": "transform.2.",
    "lm_head.bias": "bias_V",
    "vocab_transform.": "transform.0.",  # DistilBERT
    "vocab_layer_norm.": "transform.2.",
    "vocab_projector.bias": "bias_V",
}
"""Prefix of a tensor's name in the file -> its prefix in `Blanks`."""

TENSORS = 5
OLD_ENDS = {"gamma": "weight", "beta": "bias"}
"""Names of LayerNorm's tensors in files converted from TensorFlow -> PyTorch's."""


def read_word_head(info: EncoderInfo) -> dict[str, torch.Tensor]:
    """The head's tensors by their names in `Blanks`; empty if model.safetensors has no complete head."""
    if info.weights_in_folder:
        return {}
    folder = hub.fetch_weights(info.source, info.revision) if info.kind == "hub" else Path(info.source)
    file = folder / "model.safetensors"
    if not file.is_file():
        return {}
    head = {}
    with safe_open(file, "pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 (no mapping)
            for theirs, ours in NAMES.items():
                if name.startswith(theirs):
                    end = name.removeprefix(theirs)
                    head[ours + OLD_ENDS.get(end, end)] = tensors.get_tensor(name).float()
    return head if len(head) == TENSORS else {}
