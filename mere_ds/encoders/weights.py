"""Weights in files and out of them, and embedding rows for tokens that a pretrained encoder has never seen.

Shapes: V old rows, A added rows, D the hidden size.
"""

import itertools
import os
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

WEIGHTS = "model.safetensors"
NOISE = 0.1  # of the old rows' standard deviation: new tokens start alike, near the middle, but not equal


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
    """The table of an encoder's tokens; an architecture's own class for it has an `nn.Embedding`'s attributes."""
    return cast(nn.Embedding, model.get_input_embeddings())


def own_memory(model: nn.Module) -> None:
    """Copy a loaded model's weights out of the mapped file that they are views of.

    They lie in it at addresses off every vector's boundary, where a CPU's matrix products round in other ways; and on a
    network file system they are lost when somebody removes the file.
    """
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        tensor.data = tensor.data.clone()


def share(file: Path) -> None:
    """Let others read a file that safetensors wrote for its owner alone, as far as the user's umask does."""
    umask = os.umask(0o077)
    os.umask(umask)
    file.chmod(0o666 & ~umask)
