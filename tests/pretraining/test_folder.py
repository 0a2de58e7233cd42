"""A checkpoint of a pretraining proves itself."""

import random

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from mere_ds.errors import MachineError, UserError
from mere_ds.pretraining.folder import PretrainFolder


def state(seed: int):
    torch.manual_seed(seed)
    model = torch.nn.Linear(7, 5)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(3, 7)).square().sum().backward()
    optimizer.step()
    return model, optimizer, torch.amp.GradScaler("cpu")


@pytest.fixture
def saved(tmp_path):
    folder, (model, optimizer, scaler) = PretrainFolder(tmp_path), state(0)
    folder.save_checkpoint(4, model, optimizer, scaler.state_dict())
    (path,) = tmp_path.iterdir()
    return folder, path, model


def test_it_comes_back_as_it_was(saved):
    folder, _, model = saved
    other, *rest = state(1)
    assert folder.load_checkpoint(other, *rest) == 4
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_no_flipped_bit_goes_unseen(saved):
    folder, path, _ = saved
    content, draw, parts = path.read_bytes(), random.Random(4), state(1)
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(8), *draw.sample(range(8, header), 150), *draw.sample(range(header, len(content)), 100)]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(UserError, match="checkpoint.safetensors .*remove it") as refused:
            folder.load_checkpoint(*parts)
        assert "\n" not in str(refused.value)
    for size in (0, 7, header, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="checkpoint.safetensors"):
            folder.load_checkpoint(*parts)


@pytest.mark.parametrize("ruin", ["folder", "loop"])
def test_what_is_no_file_is_refused_and_nothing_is_left_behind(saved, ruin):
    folder, path, model = saved
    path.unlink()
    path.mkdir() if ruin == "folder" else path.symlink_to(path.name)
    parts = state(1)
    with pytest.raises(UserError, match="checkpoint.safetensors .*remove it") as refused:
        folder.load_checkpoint(*parts)
    assert "\n" not in str(refused.value)
    if ruin == "folder":  # which came while it trained
        with pytest.raises(MachineError, match="checkpoint.safetensors"):
            folder.save_checkpoint(5, *parts[:2], parts[2].state_dict())
    assert list(path.parent.iterdir()) == [path]


def test_one_of_before_digests_is_taken_and_said_to_prove_less(saved, caplog):
    folder, path, model = saved
    with safe_open(path, "pt") as file:
        metadata = {name: value for name, value in file.metadata().items() if name != "sha256"}
    save_file(load_file(path), path, metadata=metadata)
    other, *rest = state(1)
    with caplog.at_level("WARNING", "mere_ds"):
        assert folder.load_checkpoint(other, *rest) == 4
    assert torch.equal(model.weight, other.weight) and "without a digest" in caplog.text
