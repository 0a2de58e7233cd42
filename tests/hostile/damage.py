"""Files that rot: bits that flip, files that are cut, emptied, zeroed, replaced by a folder or a loop, or gone."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.hostile import uses
from tests.hostile.cases import STDOUT, Case, Use
from tests.hostile.children import Outcome

_CHECKPOINT = ("SHA256SUMS", "config.json", "model.safetensors", "optimizer.safetensors", "tokenizer.json",
               "tokenizer_config.json", "training.json")  # fmt: skip
_OF_TRAINING = ("SHA256SUMS", "model.safetensors", "optimizer.safetensors", "training.json")
_ENCODER = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def _in(folder: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names)


TARGETS: tuple[tuple[Use, tuple[str, ...]], ...] = (
    (uses.TRAIN, _in("shards", ("manifest.json", "index.npz", "train-00000.tar", "train-00001.tar", "dev-00000.tar"))),
    (uses.TRAIN, _in("shards", ("train-00000.index.npy", "dev-00000.index.npy"))),
    (uses.TRAIN, _in("shards/encoder", _ENCODER)),
    (uses.EVALUATE, _in("shards", ("manifest.json", "index.npz", "test-00000.tar", "rejects.jsonl"))),
    (uses.EVALUATE, ("run/config.json", *_in("run/checkpoints/stage2/best", _CHECKPOINT))),
    (uses.EXTRACT, ("run/config.json", *_in("run/checkpoints/stage2/best", _CHECKPOINT))),
    (uses.EXPORT, ("run/config.json", *_in("run/checkpoints/stage2/best", _CHECKPOINT))),
    (uses.TUNE, (*_in("run/checkpoints/stage1/best", _CHECKPOINT), "run/config.json")),
    (uses.TUNE, ("features/*/train-*.features", "features/*/dev-*.features", "shards/dev-00000.tar")),
    (uses.GO_ON_ONE, _in("halfway_one", ("config.json", "metrics.jsonl", "log.txt", "tensorboard/stage1/*"))),
    (uses.GO_ON_ONE, _in("halfway_one/checkpoints/stage1/latest", _CHECKPOINT)),
    (uses.GO_ON_ONE, _in("halfway_one/checkpoints/stage1/best", ("SHA256SUMS", "model.safetensors", "training.json"))),
    (uses.GO_ON_TWO, _in("halfway_two", ("config.json", "metrics.jsonl", "log.txt", "tensorboard/stage2/*"))),
    (uses.GO_ON_TWO, _in("halfway_two/checkpoints/stage2/latest", _CHECKPOINT)),
    (uses.GO_ON_TWO, _in("halfway_two/checkpoints/stage2/best", ("SHA256SUMS", "model.safetensors", "training.json"))),
    (uses.GO_ON_TWO, _in("halfway_two/checkpoints/stage1/best", ("SHA256SUMS", "model.safetensors", "training.json"))),
    (uses.AGAIN, _in("run/checkpoints/stage2/latest", _CHECKPOINT)),
    (uses.REPORT, ("run/config.json", "run/evaluation/test.json", "run/evaluation/test.jsonl")),
    (uses.REPORT, _in("run/checkpoints/stage2/best", ("SHA256SUMS", "training.json"))),
    (uses.COMPARE, ("run/config.json", "run/evaluation/test.json", "run/evaluation/test.jsonl")),
    (uses.PRETRAIN_ON, _in("halfway_mtmb", ("pretraining.json", "tensorboard/*"))),
    (uses.PRETRAIN_ON, _in("halfway_mtmb/checkpoints/latest", _OF_TRAINING)),
    (uses.PRETRAIN_AGAIN, _in("mtmb", ("pretraining.json", *_ENCODER))),
    (uses.TRAIN_MTMB, _in("mtmb", _ENCODER)),
    (uses.START, ("run/config.json", *_in("run/checkpoints/stage1/best", _CHECKPOINT))),
)
"""Which command reads which files; a pattern stands for the one file that it matches."""

EVALUATE_NAMELESS = replace(uses.EVALUATE, answers=(STDOUT, "run/evaluation/test.jsonl"))
"""test.json names the checkpoint's folder, which is `best` itself in a copy without links."""

LINKS: tuple[tuple[Use, str], ...] = (
    (EVALUATE_NAMELESS, "run/checkpoints/stage2/best"),
    (uses.EXTRACT, "run/checkpoints/stage2/best"),
    (uses.TUNE, "run/checkpoints/stage1/best"),
    (uses.TUNE, "run/checkpoints/stage1/latest"),
    (uses.START, "run/checkpoints/stage1/best"),
    (uses.GO_ON_ONE, "halfway_one/checkpoints/stage1/latest"),
    (uses.GO_ON_ONE, "halfway_one/checkpoints/stage1/best"),
    (uses.GO_ON_TWO, "halfway_two/checkpoints/stage2/latest"),
    (uses.GO_ON_TWO, "halfway_two/checkpoints/stage2/best"),
)

LEASES = {
    **{"empty": b"", "NUL": bytes(512), "null": b"null", "list": b"[]", "object": b"{}", "deep": b"[" * 100_000},
    **{"number": b'{"token": 7, "pid": "x", "host": null, "beats": -1}', "bytes": b"\xff\xfe" * 64},
}
"""What a run folder's writer.json may hold after a fault; `folder` comes on top."""

FLIPS = 3


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def cut(path: Path, draw: random.Random, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def cut_by_one(path: Path, draw: random.Random) -> None:
    os.truncate(path, max(0, path.stat().st_size - 1))


def zero(path: Path, draw: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def folder(path: Path, draw: random.Random) -> None:
    remove(path)
    path.mkdir()


def loop(path: Path, draw: random.Random) -> None:
    remove(path)
    path.symlink_to(path.name)


def remove(path: Path, draw: random.Random | None = None) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def copied(path: Path, draw: random.Random) -> None:
    """A link as `cp -rL` leaves it."""
    target = path.resolve()
    remove(path)
    shutil.copytree(target, path)


def dangling(path: Path, draw: random.Random) -> None:
    remove(path)
    path.symlink_to("step-99999999")


def text(path: Path, draw: random.Random) -> None:
    """A link as a file system without links may keep it."""
    target = os.readlink(path)
    remove(path)
    path.write_text(target)


DAMAGE: dict[str, Callable[[Path, random.Random], None]] = {
    **{f"bit {n}": flip for n in range(FLIPS)},
    **{"cut": partial(cut, share=0.5), "cut by one": cut_by_one, "empty": partial(cut, share=0), "NUL": zero},
    **{"folder": folder, "loop": loop, "gone": remove},
}
LINK_DAMAGE = {"copied": copied, "dangling": dangling, "text": text, "folder": folder, "loop": loop, "gone": remove}


TOLD = {
    (uses.EVALUATE.name, "shards/manifest.json", "cut by one"): b"note: not the shards of its training",
    (uses.TUNE.name, "features/*/train-*.features", "folder"): b"features are not cached but computed in every epoch",
    (uses.TUNE.name, "features/*/dev-*.features", "folder"): b"features are not cached but computed in every epoch",
}
"""Where the answer may be another one because the command says why: a manifest without its last line end holds the
same entries but is another file than at training, and features that can't be kept are not rounded to 16 bits."""


def cases() -> Iterator[Case]:
    for use, patterns in TARGETS:
        for pattern in patterns:
            yield from (_damaged(use, pattern, how) for how in DAMAGE)
    for use, link in LINKS:
        yield from (Case("links", f"{link} {how}", use, _change(link, how, LINK_DAMAGE[how])) for how in LINK_DAMAGE)
    for use, run in ((uses.GO_ON_ONE, "halfway_one"), (uses.GO_ON_TWO, "halfway_two")):
        for name, content in LEASES.items():
            yield Case("lease", f"{run}/writer.json {name}", use, partial(_lease, run=run, content=content))
        yield Case("lease", f"{run}/writer.json folder", use, partial(_lease, run=run, content=None))


def _damaged(use: Use, pattern: str, how: str) -> Case:
    told = TOLD.get((use.name, pattern, how), b"")

    def check(place: Path, outcome: Outcome) -> str | None:
        return None if told in outcome.out + outcome.err else f"does not say {told.decode()}"

    return Case("damage", f"{pattern} {how}", use, _change(pattern, how, DAMAGE[how]), not told, check)


def _change(pattern: str, how: str, damage: Callable) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        (path,) = place.glob(pattern)
        damage(path, random.Random(f"{pattern} {how}"))

    return change


def _lease(place: Path, run: str, content: bytes | None) -> None:
    path = place / run / "writer.json"
    path.mkdir() if content is None else path.write_bytes(content)
