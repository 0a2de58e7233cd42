"""Wrong contents under digests that hold: shards, index, manifest, encoder, checkpoints, answers."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mere_ds.files import digest_file
from tests.hostile import uses
from tests.hostile.cases import Case

Arrays = dict[str, np.ndarray]

MODELS = ("new/checkpoints/stage*/best/model.safetensors",)
TRAIN = replace(uses.TRAIN, name="train models", answers=MODELS)
TRAIN_ONE = replace(uses.TRAIN, name="train one", argv=uses.ONE_STAGE, answers=MODELS)

DROP = "(dropped)"
DEEP = "(deep)"
ODD = {"null": None, "text": "x", "-1": -1, "half": 0.5, "list": [], "object": {}, "huge": 10**30}
VALUES = {**ODD, "dropped": DROP}
"""What stands in place of a JSON value; DEEP is lists in lists, deeper than Python reads."""

ARRAYS = ("tokens", "lengths", "languages", "labels", "positions", "cuts")
EDITS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda a: a.astype(np.float64),
    "NaN": lambda a: np.full(a.shape, np.nan),
    "int64": lambda a: a.astype(np.int64) + 2**40,
    "text": lambda a: a.astype(str),
    "complex": lambda a: a.astype(complex),
    "-1": lambda a: np.full_like(a, -1) if a.dtype != bool else a.astype(np.int8) - 2,
    "77": lambda a: _first(a, 77),
    "32767": lambda a: _first(a, 32767),
    "one short": lambda a: a[:-1],
    "one more": lambda a: np.concatenate([a, a[-1:]]),
    "one wider": lambda a: np.stack([a, a], axis=-1),
    "flat": lambda a: a.reshape(-1)[:1],
    "empty": lambda a: a[:0],
    "scalar": lambda a: a.reshape(-1)[0],
    "dropped": lambda a: None,
}
"""What becomes of an array; no edit leaves sentences that could have been made."""


def _edited(record: dict, **entries: Any) -> dict:
    return record | {"triples": [triple | entries for triple in record["triples"]]}


RECORDS: dict[str, Callable[[list], Any]] = {
    "object": lambda records: {"records": records},
    "number": lambda records: 7,
    "one short": lambda records: records[:-1],
    "one more": lambda records: [*records, records[0]],
    "no text": lambda records: [{k: v for k, v in r.items() if k != "text"} for r in records],
    "text null": lambda records: [r | {"text": None} for r in records],
    "spans": lambda records: [_edited(r, head=[5, 2], tail="x") for r in records],
    "spans beyond": lambda records: [_edited(r, head=[10**6, 10**6 + 1]) for r in records],
    "label": lambda records: [_edited(r, relation="no such label") for r in records],
    "language": lambda records: [r | {"lang": "xx"} for r in records],
    "no triples": lambda records: [{k: v for k, v in r.items() if k != "triples"} for r in records],
    "none of its triples": lambda records: [r | {"triples": []} for r in records],
    "triples twice": lambda records: [r | {"triples": r["triples"] * 2} for r in records],
    "lists": lambda records: [[1, 2] for _ in records],
}
"""What becomes of the texts beside a member of dev or test."""

_SHARD = ("file", "bytes", "sha256", "sentences", "index")
_SPLIT = ("sentences", "tokens", "shards", "lengths", "counts", "truncated", "unaligned", "cut_spans")
_MANIFEST = ("languages", "labels", "label_mask", "splits", "files", "missed_test", "unseen_labels", "encoder",
             "pad_id", "max_length", "cut_marks", "seed", "index_sha256", "index_bytes", "encoder_files")  # fmt: skip
_ENCODER = ("source", "revision", "fingerprint", "vocab_size", "max_length", "language_token_ids", "pooler")
PLACES = (
    *((name,) for name in _MANIFEST),
    *(("encoder", name) for name in _ENCODER),
    *(("splits", split) for split in ("train", "dev", "test")),
    *(("splits", "train", name) for name in _SPLIT),
    *(("splits", "train", "shards", 0, name) for name in _SHARD),
    *(("label_mask", 0), ("label_mask", 0, 0), ("languages", 0), ("labels", 0)),
)
"""Where in the manifest a value is replaced."""

COUNTS: dict[str, Callable[[dict], None]] = {
    "a sentence more": lambda m: _add(m["splits"]["train"], "sentences", 1),
    "a token less": lambda m: _add(m["splits"]["train"], "tokens", -1),
    "a shard's sentence more": lambda m: _add(m["splits"]["train"]["shards"][0], "sentences", 1),
    "a language twice": lambda m: m["languages"].__setitem__(0, m["languages"][1]),
    "a label twice": lambda m: m["labels"].__setitem__(0, m["labels"][1]),
    "a label more": lambda m: m["labels"].append("zzz"),
    "no label for a language": lambda m: m["label_mask"].__setitem__(0, [0] * len(m["labels"])),
    "a pad beyond": lambda m: m.update(pad_id=10**6),
    "a split more": lambda m: m["splits"].update(other=m["splits"]["dev"]),
    "a shard twice": lambda m: m["splits"]["train"]["shards"].append(m["splits"]["train"]["shards"][0]),
    "a short max_length": lambda m: m.update(max_length=3),
    "a language token beyond": lambda m: m["encoder"]["language_token_ids"].update(de=10**6),
}

_STATE = ("ingredients", "counters", "cached_features", "step", "epoch", "finished", "best", "best_dev")
_MODEL = ("model_type", "languages", "labels", "label_mask", "max_length", "language_token_ids", "top_k",
          "submodule_layers", "bottleneck", "encoder", "pooler", "alpha", "use_ls", "routing")  # fmt: skip
_ANSWER = ("id", "lang", "text", "gold", "predicted", "right")


def cases() -> Iterator[Case]:
    for use, shard in ((TRAIN_ONE, "train-00000.tar"), (uses.EVALUATE, "test-00000.tar")):
        for name in ARRAYS:
            for how, edit in EDITS.items():
                if _is_wrong(name, how):
                    yield Case("arrays", f"{shard} {name} {how}", use, _array(shard, name, edit))
    for how, edit in RECORDS.items():
        yield Case("arrays", f"test-00000.tar records {how}", uses.EVALUATE, _records("test-00000.tar", edit))
        yield Case("arrays", f"dev-00000.tar records {how}", TRAIN, _records("dev-00000.tar", edit))
    for name in ("train_lengths", "train_counts"):
        for how, edit in EDITS.items():
            yield Case("arrays", f"index.npz {name} {how}", TRAIN_ONE, _index(name, edit))
    for how, edit in EDITS.items():
        yield Case("arrays", f"train-00000.index.npy {how}", TRAIN_ONE, _shard_index("train-00000", edit))
    for where in PLACES:
        for how, value in VALUES.items():
            if (where[-1], how) not in _MAY_BE:
                yield Case("manifest", f"{_path(where)} {how}", TRAIN_ONE, _manifest(partial(_put, where, value)))
    for how, edit in COUNTS.items():
        yield Case("manifest", how, TRAIN_ONE, _manifest(edit))
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        for how, value in {"object": {}, "list": [], "null": None, "deep": DEEP}.items():
            yield Case("encoder", f"{file} {how}", TRAIN_ONE, _encoder_file(file, value))
    yield from _of_checkpoints()


def _of_checkpoints() -> Iterator[Case]:
    for use, checkpoint, file, names in (
        (uses.GO_ON_TWO, "halfway_two/checkpoints/stage2/latest", "training.json", _STATE),
        (uses.GO_ON_ONE, "halfway_one/checkpoints/stage1/latest", "training.json", _STATE),
        (uses.EXTRACT, "run/checkpoints/stage2/best", "config.json", _MODEL),
        (uses.GO_ON_TWO, "halfway_two/checkpoints/stage2/latest", "config.json", _MODEL[:4]),
    ):
        for name in names:
            for how, value in VALUES.items():
                if (name, how) not in _MAY_BE:
                    change = _checkpoint(checkpoint, file, partial(_put, (name,), value))
                    yield Case("checkpoints", f"{file} {name} {how}", use, change)
    for use in (uses.REPORT, uses.COMPARE):
        for name in _ANSWER:
            for how, value in VALUES.items():
                if how != "deep" and (name, how) not in _MAY_BE:
                    yield Case("answers", f"{name} {how}", use, partial(_answers, name=name, value=value))


_MAY_BE = {
    *(("missed_test", "object"), ("unseen_labels", "object"), ("files", "list"), ("cut_marks", "text")),
    *(("truncated", "object"), ("unaligned", "object"), ("cut_spans", "object"), ("source", "text")),
    *(("revision", "text"), ("revision", "null"), ("seed", "huge"), ("languages", "text"), ("labels", "text")),
    *(("id", "text"), ("id", "null"), ("id", "-1"), ("right", "list"), ("alpha", "half"), ("best", "null")),
    *(("counts", "object"), ("text", "text"), ("lang", "text"), ("predicted", "null")),
}
"""Values that are none of the odd ones where they stand."""


def _is_wrong(name: str, how: str) -> bool:
    """Whether no honest array is like that: positions of -1 are a cut sentence's, any cut may be."""
    return (name, how) not in {("positions", "-1"), ("tokens", "77"), ("lengths", "float64")} | {
        *((n, "float64") for n in ("train_lengths", "train_languages")),
        *(("cuts", "77"), ("cuts", "32767")),
    }


def _path(where: tuple) -> str:
    return ".".join(map(str, where))


def _first(array: np.ndarray, value: int) -> np.ndarray:
    changed = array.astype(np.int32 if array.dtype == np.int32 else np.int16)
    changed.reshape(-1)[0] = value
    return changed


def _add(entries: dict, name: str, number: int) -> None:
    entries[name] += number


def _put(where: tuple, value: Any, content: dict) -> None:
    *before, last = where
    for name in before:
        content = content[name]
    if value == DROP:
        if isinstance(content, list):
            del content[last]
        else:
            content.pop(last, None)
    else:
        content[last] = value


def _dumped(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).replace(f'"{DEEP}"', "[" * 5000 + "]" * 5000).encode()


def _array(shard: str, name: str, edit: Callable) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        _rewrite(place / "shards" / shard, "npz", lambda content: _npz_with(content, name, edit))
        _sign(place / "shards")

    return change


def _records(shard: str, edit: Callable) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        _rewrite(place / "shards" / shard, "json", lambda content: _dumped(edit(json.loads(content))))
        _sign(place / "shards")

    return change


def _index(name: str, edit: Callable) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        path = place / "shards/index.npz"
        path.write_bytes(_npz_with(path.read_bytes(), name, edit))
        _sign(place / "shards")

    return change


def _shard_index(shard: str, edit: Callable) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        path = place / f"shards/{shard}.index.npy"
        changed = edit(np.load(path))
        np.save(path, np.empty(0) if changed is None else changed)
        _sign(place / "shards")

    return change


def _manifest(edit: Callable[[dict], None]) -> Callable[[Path], None]:
    return lambda place: _sign(place / "shards", edit)


def _encoder_file(file: str, value: Any) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        (place / "shards/encoder" / file).write_bytes(_dumped(value))
        _sign(place / "shards")

    return change


def _checkpoint(folder: str, file: str, edit: Callable[[dict], None]) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        checkpoint = place / folder
        content = json.loads((checkpoint / file).read_bytes())
        edit(content)
        (checkpoint / file).write_bytes(_dumped(content))
        files = sorted(path for path in checkpoint.iterdir() if path.name != "SHA256SUMS")
        sums = "".join(f"{digest_file(path)}  {path.name}\n" for path in files)
        (checkpoint / "SHA256SUMS").write_text(sums)

    return change


def _answers(place: Path, name: str, value: Any) -> None:
    path = place / "run/evaluation/test.jsonl"
    lines = path.read_bytes().splitlines()
    record = json.loads(lines[1])
    _put((name,), value, record)
    lines[1] = _dumped(record)
    path.write_bytes(b"\n".join(lines) + b"\n")


def _rewrite(path: Path, extension: str, edit: Callable[[bytes], bytes]) -> None:
    """Edit the first member with this extension."""
    members = []
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            members.append((member, tar.extractfile(member).read()))
    first = next(n for n, (member, _) in enumerate(members) if member.name.endswith(f".{extension}"))
    members[first] = members[first][0], edit(members[first][1])
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _npz_with(content: bytes, name: str, edit: Callable[[np.ndarray], Any]) -> bytes:
    with np.load(io.BytesIO(content)) as arrays:
        changed = dict(arrays)
    changed[name] = edit(changed[name])
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in changed.items() if array is not None})
    return buffer.getvalue()


def _sign(shards: Path, edit: Callable[[dict], None] | None = None) -> None:
    """Let all digests in the manifest hold, then edit it and let its own hold."""
    from mere_ds.shards.sealing import seal

    manifest = json.loads((shards / "manifest.json").read_bytes())
    index = shards / "index.npz"
    manifest |= {"index_sha256": digest_file(index), "index_bytes": index.stat().st_size}
    listed = [shard for split in manifest["splits"].values() for shard in split["shards"]]
    stored = [(shards / file["file"], file) for shard in listed for file in (shard, shard["index"])]
    stored += [(shards / "encoder" / file["file"], file) for file in manifest["encoder_files"]]
    for path, file in stored:
        file |= {"sha256": digest_file(path), "bytes": path.stat().st_size}
    if edit:
        edit(manifest)
    sealed = seal(manifest)
    if DEEP in sealed.decode():
        sealed = sealed.replace(f'"{DEEP}"'.encode(), b"[" * 5000 + b"]" * 5000)
    (shards / "manifest.json").write_bytes(sealed)
