"""A synthetic corpus whose sentences tell of few entities, again and again, in three languages."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.corpus.reading import read_file
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.encoders.sources import TinySize, build_encoder

PAIRS_OF_LABEL = 3


def retell(path: Path, seed: int) -> None:
    """Gives every row one of its label's few pairs of entities, made from the label's name."""
    draw = random.Random(seed)
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    told = [header]
    for row in rows:
        number, _, _, label, text, language = row.split("\t")
        pair = draw.randrange(PAIRS_OF_LABEL)
        head, tail = f"{label.title()} {'ABC'[pair]}", f"{label[::-1].title()} {'AAB'[pair]}"
        text = re.sub("<e1>.*?</e1>", f"<e1>{head}</e1>", text)
        text = re.sub("<e2>.*?</e2>", f"<e2>{tail}</e2>", text)
        told.append("\t".join([number, head, tail, label, text, language]))
    path.write_text("\n".join(told) + "\n", encoding="utf-8", newline="\n")


@pytest.fixture(scope="session")
def retold(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("retold")
    synthesize(folder, 400, seed=2, languages="de,en,ko", quirks=False, processes=1)
    for path in sorted(folder.glob("*.tsv")):
        retell(path, seed=len(path.name))
    return folder


@pytest.fixture(scope="session")
def wee(retold, tmp_path_factory) -> Path:
    """An encoder's folder for shards of this corpus, smaller than `tiny`."""
    folder = tmp_path_factory.mktemp("wee")
    texts = [example.text for file in sorted(retold.glob("*_train.tsv")) for example in read_file(file)]
    build_encoder("tiny", folder, lambda: texts, [], tiny=TinySize(hidden=32, layers=1, heads=2, vocabulary=600))
    return folder


@pytest.fixture(scope="session")
def pretrain(retold, wee) -> Callable:
    """pretrain(out=..., ...): the command, in this process; on one thread, for so small a model pays for more."""

    def start(**given):
        knobs = {"encoder": wee, "steps": 6, "batch_size": 16, "learning_rate": 3e-3, "max_length": 48} | given
        corpus = knobs.pop("corpus", retold)
        argv = ["pretrain-mtmb", str(corpus), *(f"--{name}={value}" for name, value in knobs.items())]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            flags.run(COMMANDS, argv, "mere-ds")
        finally:
            torch.set_num_threads(threads)

    return start
