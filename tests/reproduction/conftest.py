"""Shards of all 14 languages, and `mere-ds reproduce` called in this process."""

from pathlib import Path

import pytest

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.shards.writing import shard_corpus


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reproduction")
    synthesize(str(folder / "corpus"), 600, seed=3, at_least=40)
    shard_corpus(str(folder / "corpus"), str(folder / "shards"), encoder="tiny")
    return folder / "shards"


@pytest.fixture(scope="session")
def many_shards(tmp_path_factory) -> Path:
    """Of any number of triples a sentence, in three languages."""
    folder = tmp_path_factory.mktemp("many")
    synthesize(str(folder / "corpus"), 300, languages=("de", "en", "ko"), seed=3, triples="many")
    shard_corpus(str(folder / "corpus"), str(folder / "shards"), encoder="tiny")
    return folder / "shards"


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "the paper"


@pytest.fixture
def reproduce(shards, out, capsys, monkeypatch):
    """reproduce("--table=2", ...): what the command prints; `code` is how it must end; `on` are other shards."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def reproduce(*argv: str, code: int = 0, on: Path = shards) -> str:
        ended = 0
        try:
            flags.run(COMMANDS, ["reproduce", f"--shards={on}", f"--out={out}", *argv], "mere-ds")
        except SystemExit as error:
            ended = error.code
        said = capsys.readouterr()
        assert ended == code, said.err
        return said.out if code == 0 else said.err

    return reproduce
