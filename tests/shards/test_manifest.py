import hashlib
import json
import random
import shutil

import pytest

from mere_ds.errors import UserError
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.sealing import seal


@pytest.fixture
def folder(manifest, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(manifest.source.folder, tmp_path / "shards")


def edit(folder, change):
    """Changes a manifest's entries as one who knows its digest would."""
    path = folder / "manifest.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    change(plain)
    path.write_bytes(seal(plain))


def test_a_copied_folder_loads_as_the_same(manifest, folder):
    loaded = Manifest.load(str(folder))
    assert loaded == manifest and loaded.source.folder == folder
    assert loaded.lengths("train").tolist() == manifest.lengths("train").tolist()


def test_no_folder_or_no_manifest(tmp_path, folder):
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        Manifest.load(tmp_path / "nowhere")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not readable as JSON"):
        Manifest.load(folder)


@pytest.mark.parametrize(
    "change, message",
    [
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


def as_version_2(folder) -> bytes:
    """Makes the manifest one of before manifests had digests."""
    path = folder / "manifest.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    del plain["digest"]
    path.write_text(json.dumps(plain | {"version": 2}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path.read_bytes()


def test_no_flipped_bit_goes_unseen(folder):
    path = folder / "manifest.json"
    content, draw = path.read_bytes(), random.Random(1)
    version = content.index(b'"version": 3') + len(b'"version": ')
    places = [(version, 1), *((draw.randrange(len(content)), 1 << draw.randrange(8)) for _ in range(250))]
    for place, bit in places:
        flipped = bytearray(content)
        flipped[place] ^= bit
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=r"manifest\.json: ") as told:
            Manifest.load(folder)
        assert "\n" not in str(told.value)


def test_one_of_version_2_is_read_and_said_to_prove_less(manifest, folder, caplog):
    content = as_version_2(folder)
    with caplog.at_level("WARNING", "mere_ds"):
        loaded = Manifest.load(folder)
    (line,) = caplog.messages
    assert "of version 2" in line and "manifest.json" in line
    assert loaded == manifest and loaded.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("version", [1, 3, 4, 99, 2.0, "3", None, True])
def test_a_version_number_alone_makes_no_other_version(folder, version):
    path = folder / "manifest.json"
    as_version_2(folder)
    plain = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(plain | {"version": version}), encoding="utf-8")
    with pytest.raises(UserError, match="version"):
        Manifest.load(folder)
