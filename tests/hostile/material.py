"""What the hostile cases damage: a small corpus, its shards, runs in several states, features, a pretrained encoder."""

import fcntl
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.hostile.children import child, command

HEADER = "id\tentity_1\tentity_2\tlabel\ttext\tlang\n"
SIZES = {"de": (24, 6), "fr": (18, 5), "ko": (14, 4)}
"""Sentences of training and test."""
LABELS = {"de": ("born-in", "wrote", "made-of"), "fr": ("born-in", "wrote"), "ko": ("wrote",)}
WORDS = {
    "de": ["der", "kleine", "Fluss", "hinter", "dem", "alten", "Dorf", "kannte", "seine", "Mühle", "kaum"],
    "fr": ["la", "petite", "rivière", "près", "du", "vieux", "village", "ne", "connaît", "pas", "son", "moulin"],
    "ko": ["작은", "강", "뒤의", "오래된", "마을", "은", "방앗간", "을", "모른다"],
}
NAMES = {
    "de": ("Anna Berg", "Jörg Weiß", "Lindau", "Köln"),
    "fr": ("Zoé Noël", "Luc Roi", "Évian", "Nîmes"),
    "ko": ("김민수", "서 영희", "부산", "서울"),
}
DEEPSPEED = {
    "optimizer": {"type": "AdamW", "params": {"torch_adam": True, "fused": True}},
    "gradient_clipping": 1.0,
    "zero_optimization": {"stage": 1},
}
KNOBS = [
    *("--shards=shards", "--deepspeed_config=ds.json", "--batch_size=8", "--learning_rate=1e-3", "--bottleneck=8"),
    *("--submodule_layers=1,2", "--top_k=1", "--epochs_stage_two=2", "--patience=9", "--log_every=1"),
    *("--save_steps=3", "--keep=9"),
]
EPOCHS = "--epochs=2"
FEATURES = ["--feature_cache=features", "--keep_features"]
PRETRAIN = [
    *("pretrain-mtmb", "corpus", "--encoder=shards/encoder", "--steps=5", "--save_steps=2", "--batch_size=4"),
    *("--max_length=64", "--parallel_ids"),
]


def material(base: Path) -> Path:
    """The folder with all of it, made by the first of several processes that ask for it."""
    folder = base / "material"
    with (base / "material.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = base / "material.part"
            part.mkdir()
            _make(part)
            part.rename(folder)
    return folder


def write_corpus(folder: Path) -> None:
    """Sentences whose pairs of entities come back; rows of one number are translations."""
    folder.mkdir()
    for language, sizes in SIZES.items():
        for split, size in zip(("train", "test"), sizes, strict=True):
            draw = random.Random(f"{language} {split}")
            rows = [row(language, f"{language}-{split}{n}", n, draw) for n in range(size)]
            path = folder / f"{language}_corpora_{split}.tsv"
            path.write_text(HEADER + "".join(rows), encoding="utf-8", newline="\n")


def write_lines(corpus: Path, folder: Path) -> None:
    """The corpus' sentences as JSON lines with no, one and two triples."""
    from mere_ds.corpus.folder import open_corpus

    folder.mkdir()
    read = open_corpus(corpus)
    for file in read.files:
        rows = []
        for number, example in enumerate(read.read(file)):
            [(head, relation, tail)] = example.triples
            both = [{"head": head, "relation": relation, "tail": tail}, {"head": tail, "relation": "of", "tail": head}]
            rows.append({"id": example.id, "text": example.text, "triples": both[: number % 3]})
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{file.language}.{file.split}.jsonl").write_text(lines, encoding="utf-8", newline="\n")


def row(language: str, name: str, number: int, draw: random.Random) -> str:
    people, label = NAMES[language], LABELS[language][number % len(LABELS[language])]
    head, tail = people[number % 2], people[2 + number // 2 % 2]
    words = [draw.choice(WORDS[language]) for _ in range(draw.randrange(4, 14))]
    words[1], words[-1] = f"<e1>{head}</e1>", f"<e2>{tail}</e2>"
    if draw.random() < 0.3:
        words.reverse()
    return f"{name}\t{head}\t{tail}\t{label}\t{' '.join(words)} {number}.\t{language}\n"


def write_shards(corpus: str = "corpus", out: str = "shards") -> None:
    """The corpus' shards with the smallest `tiny`."""
    from mere_ds.encoders.sources import TinySize
    from mere_ds.shards.writing import shard_corpus

    size = TinySize(hidden=16, layers=1, heads=2, vocabulary=300)
    shard_corpus(corpus, out, encoder="tiny", tiny=size, sentences_per_shard=30, sentences_per_member=8)


def _make(place: Path) -> None:
    write_corpus(place / "corpus")
    write_lines(place / "corpus", place / "lines")
    (place / "ds.json").write_text(json.dumps(DEEPSPEED))
    _done(place, write_shards)
    _done(place, [*PRETRAIN, "--out=mtmb"])
    _done(place, ["train", *KNOBS, EPOCHS, *FEATURES, "--run=run"])
    _done(place, ["train", *KNOBS, EPOCHS, "--run=run_b", "--seed=1"])
    for run in ("run", "run_b"):
        _done(place, ["evaluate", run, "--shards=shards"])
    shutil.copytree(place / "run", place / "halfway_one", symlinks=True)
    shutil.rmtree(place / "halfway_one/checkpoints/stage2")
    _go_back(place / "halfway_one/checkpoints/stage1")
    shutil.copytree(place / "run", place / "halfway_two", symlinks=True)
    _go_back(place / "halfway_two/checkpoints/stage2")
    died = child(place, partial(_die_in_second_save, [*PRETRAIN, "--out=halfway_mtmb"]))
    assert died.code == 9 and (place / "halfway_mtmb").is_dir(), died


def _done(place: Path, work: list[str] | Callable[[], None]) -> None:
    outcome = child(place, work) if callable(work) else command(place, work)
    assert outcome.code == 0, outcome.err.decode()[-4000:]


def _go_back(stage: Path) -> None:
    """To the checkpoint after the first epoch's end, as if a crash had come before the next."""
    names = sorted(path.name for path in stage.glob("step-*"))
    best = next(name for name in names if name.endswith("-epoch-1"))
    latest = names[names.index(best) + 1]
    for name in names[names.index(latest) + 1 :]:
        shutil.rmtree(stage / name)
    for link, name in (("latest", latest), ("best", best)):
        (stage / link).unlink()
        (stage / link).symlink_to(name)


def _die_in_second_save(argv: list[str]) -> None:
    from mere_ds.runs.checkpoint import Checkpoints

    write, written = Checkpoints.write, []

    def write_once(self, *what) -> None:
        if written:
            os._exit(9)
        written.append(write(self, *what))

    Checkpoints.write = write_once
    from mere_ds.cli import main

    sys.argv = ["mere-ds", *argv]
    main()
