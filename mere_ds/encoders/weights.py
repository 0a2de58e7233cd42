"""Saving and loading weights, and embedding rows for tokens that a pretrained encoder doesn't have.

Shapes: V old rows, A added rows, D the hidden size.
"""

import itertools
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from mere_ds.files import share

WEIGHTS = "model.safetensors"
NOISE = 0.1  # relative to the old rows' standard deviation: new tokens start close to the mean, but not equal


def new_rows(old_VD: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """(A, D) rows drawn around the mean of the old ones, the same for the same seed; dtype as `old_VD`."""
    deviation_D, mean_D = torch.std_mean(old_VD.float(), dim=0)
    noise_AD = torch.randn(count, old_VD.shape[1], generator=torch.Generator().manual_seed(seed))
    return (mean_D + NOISE * deviation_D * noise_AD).to(old_VD.dtype)


def save_model(folder: Path, config: PretrainedConfig, state: dict[str, torch.Tensor]) -> None:
    """Writes config.json and model.safetensors as AutoModel.from_pretrained reads them."""
    config.save_pretrained(folder)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    share(folder / WEIGHTS)


def word_embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The word embeddings; an architecture's own class for them has the attributes of `nn.Embedding`."""
    return cast(nn.Embedding, model.get_input_embeddings())


def own_memory(model: nn.Module) -> None:
    """Copy a loaded model's weights out of the memory-mapped file that they are views of.

    In the file they are not aligned to vector boundaries, so that matrix products on a CPU round differently; and on a
    network file system they are lost if the file is removed.
    """
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        tensor.data = tensor.data.clone()
