import json
import shutil

import pytest

from mere_ds.errors import UserError
from mere_ds.shards.manifest import Manifest


@pytest.fixture
def folder(manifest, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(manifest.source.folder, tmp_path / "shards")


def edit(folder, change):
    path = folder / "manifest.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    change(plain)
    path.write_text(json.dumps(plain), encoding="utf-8")


def test_a_copied_folder_loads_as_the_same(manifest, folder):
    loaded = Manifest.load(str(folder))
    assert loaded == manifest and loaded.source.folder == folder
    assert loaded.lengths("train").tolist() == manifest.lengths("train").tolist()


def test_no_folder_or_no_manifest(tmp_path, folder):
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        Manifest.load(tmp_path / "nowhere")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        Manifest.load(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda plain: plain.update(version=99), "not of version 2"),
        (lambda plain: plain.pop("labels"), "not a manifest's"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file="../dev.tar"), "no plain file name"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file="pipe:true"), "no plain file name"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file="/etc/passwd"), "no plain file name"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file="http://host/a.tar"), "no plain file name"),
    ],
)
def test_a_manifest_that_cannot_be_used(folder, change, message):
    edit(folder, change)
    with pytest.raises(UserError, match=message):
        Manifest.load(folder)


def test_a_damaged_or_missing_index(folder):
    path = folder / "index.npz"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"index\.npz: damaged"):
        Manifest.load(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"index\.npz: cannot be read"):
        Manifest.load(folder)


def test_a_missing_or_cut_shard(folder):
    path = folder / "train-00003.tar"
    path.write_bytes(path.read_bytes()[:-1024])
    with pytest.raises(UserError, match=r"train-00003\.tar: has \d+ bytes instead of \d+"):
        Manifest.load(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"train-00003\.tar: this shard is missing"):
        Manifest.load(folder)
