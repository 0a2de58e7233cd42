import hashlib
import json
import random
import shutil

import pytest

from mere_ds.errors import UserError
from mere_ds.files import digest_of_json
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
    with pytest.raises(UserError, match=r"contains no manifest\.json"):
        Manifest.load(tmp_path / "nowhere")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="invalid JSON"):
        Manifest.load(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda plain: plain.pop("labels"), "not those of a manifest"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file="../dev.tar"), "not a plain file name"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file="pipe:true"), "not a plain file name"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file="/etc/passwd"), "not a plain file name"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file="http://host/a.tar"), "not a plain file name"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file=None), "not a plain file name"),
        (lambda plain: plain["splits"]["dev"]["shards"][0].update(file=10**30), "not a plain file name"),
        (lambda plain: plain["splits"]["dev"].update(lengths={}), "lengths must be counts"),
    ],
)
def test_a_manifest_that_cannot_be_used(folder, change, message):
    edit(folder, change)
    with pytest.raises(UserError, match=message):
        Manifest.load(folder)


def of(*path):
    """The entry at a path of keys, to be changed by `put`."""

    def put(value):
        def change(plain):
            for key in path[:-1]:
                plain = plain[key]
            plain[path[-1]] = value

        return change

    return put


def add(number, *path):
    def change(plain):
        for key in path[:-1]:
            plain = plain[key]
        plain[path[-1]] += number

    return change


def flip_mask(plain):
    plain["label_mask"][0][0] ^= 1


def swap_splits(plain):
    plain["splits"]["dev"], plain["splits"]["test"] = plain["splits"]["test"], plain["splits"]["dev"]


WRONG = {
    "a split missing": lambda plain: plain["splits"].pop("dev"),
    "a split too many": lambda plain: plain["splits"].update(other=plain["splits"]["dev"]),
    "two splits in each other's place": swap_splits,
    "an entry of a split missing": lambda plain: plain["splits"]["dev"].pop("counts"),
    "splits of text": of("splits")("train"),
    "a split of numbers": of("splits", "dev")([1, 2]),
    "shards of none": of("splits", "dev", "shards")(None),
    "one sentence more": add(1, "splits", "train", "sentences"),
    "one sentence more in a shard": add(1, "splits", "train", "shards", 0, "sentences"),
    "one more in counts": add(1, "splits", "train", "counts", "de", "wrote"),
    "one more in both": lambda plain: [
        add(1, *path)(plain) for path in (("splits", "test", "sentences"), ("splits", "test", "counts", "de", "wrote"))
    ],
    "a count below 0": of("splits", "train", "counts", "de", "wrote")(-1),
    "a count of another label": of("splits", "train", "counts", "de", "made-up")(0),
    "a count of another language": of("splits", "train", "counts", "xx")({"wrote": 0}),
    "a count of a half": of("splits", "train", "sentences")(0.5),
    "flags without a format": of("read_as")({"lang": "de"}),
    "a format of numbers": of("read_as")({"format": [1]}),
    "flags of text": of("read_as")("brat"),
    "tokens of truth": of("splits", "test", "tokens")(True),
    "one token more": add(1, "splits", "train", "tokens"),
    "another longest sentence": add(1, "splits", "dev", "lengths", "max"),
    "more truncated than there are": of("splits", "test", "truncated")({"de": 10**6}),
    "a missed language of no kind": of("missed_test")({"xx": 1}),
    "missed sentences below 0": of("missed_test")({"de": -1}),
    "an unseen label": of("unseen_labels")({"wrote": 1}),
    "a label unseen by the mask": flip_mask,
    "a mask of truth": lambda plain: plain.update(label_mask=[[x == 1 for x in row] for row in plain["label_mask"]]),
    "a mask that is too short": lambda plain: plain["label_mask"].pop(),
    "a mask of none": of("label_mask")(None),
    "a label twice": lambda plain: plain["labels"].append(plain["labels"][0]),
    "a label of numbers": of("labels", 0)(3),
    "a language twice": lambda plain: plain["languages"].append("de"),
    "no language": of("languages")([]),
    "languages of text": of("languages")("de"),
    "a pad beyond the vocabulary": of("pad_id")(10**6),
    "a pad below 0": of("pad_id")(-1),
    "a max_length of 3": of("max_length")(3),
    "a max_length beyond the encoder's": of("max_length")(10**6),
    "a seed of text": of("seed")("0"),
    "no encoder": of("encoder")(None),
    "an encoder without a vocabulary": lambda plain: plain["encoder"].pop("vocab_size"),
    "a symbol beyond the vocabulary": of("encoder", "language_token_ids", "de")(10**6),
    "a symbol missing": lambda plain: plain["encoder"]["language_token_ids"].pop("de"),
    "a file of the encoder twice": lambda plain: plain["encoder_files"].append(plain["encoder_files"][0]),
    "a shard twice": lambda plain: plain["splits"]["dev"]["shards"].append(plain["splits"]["dev"]["shards"][0]),
    "a corpus file of no language": of("files", 0, "language")("xx"),
    "rejected rows of text": of("files", 0, "rejected")({"empty_text": "3"}),
    "an entry too many": of("more")(1),
}


@pytest.mark.parametrize("case", WRONG)
def test_entries_that_cannot_be_are_one_line(folder, case):
    edit(folder, WRONG[case])
    with pytest.raises(UserError) as refused:
        Manifest.load(folder)
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("case", WRONG)
def test_they_are_in_one_of_version_2_too(folder, case):
    edit(folder, WRONG[case])
    as_version_2(folder)
    with pytest.raises(UserError):
        Manifest.load(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b'{"a":' * 10**5, b"[" * 10**5, b"\xff", b'{"a": NaN}'])
def test_what_is_no_manifest_is_one_line(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json: ") as refused:
        Manifest.load(folder)
    assert "\n" not in str(refused.value)


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


@pytest.mark.parametrize("name", ["train-00003.tar", "train-00003.index.npy"])
def test_a_missing_or_cut_shard(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=rf"{name}: has \d+ bytes instead of \d+"):
        Manifest.load(folder)
    path.unlink()
    with pytest.raises(UserError, match=rf"{name}: missing"):
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
    version = content.index(b'"version": 5') + len(b'"version": ')
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
    assert "version 2" in line and "manifest.json" in line
    assert loaded == manifest and loaded.sha256 == hashlib.sha256(content).hexdigest()


def test_one_of_version_3_has_a_triple_in_each_sentence(manifest, folder):
    plain = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for entries, names in [
        (plain, ("triples", "negative_labels")),
        *((s, ("by_language",)) for s in plain["splits"].values()),
    ]:
        for name in names:
            del entries[name]
    del plain["digest"]
    plain["version"] = 3
    (folder / "manifest.json").write_text(json.dumps(plain | {"digest": digest_of_json(plain)}), encoding="utf-8")
    assert Manifest.load(folder) == manifest


@pytest.mark.parametrize("version", [1, 3, 4, 5, 6, 99, 2.0, "3", None, True])
def test_a_version_number_alone_makes_no_other_version(folder, version):
    path = folder / "manifest.json"
    as_version_2(folder)
    plain = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(plain | {"version": version}), encoding="utf-8")
    with pytest.raises(UserError, match="version"):
        Manifest.load(folder)
