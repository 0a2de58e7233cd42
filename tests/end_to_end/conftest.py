"""A small synthetic corpus and its shards, made once by the command line."""

from pathlib import Path

import pytest
from launching import mere_ds, succeeded

from mere_ds.corpus.reading import read_file
from mere_ds.encoders.sources import TinySize, build_encoder

SENTENCES = 1500


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("street") / "corpus"
    succeeded(mere_ds("synthesize", folder, f"--sentences={SENTENCES}", "--seed=3"))
    return folder


@pytest.fixture(scope="session")
def shards(corpus) -> Path:
    """With an encoder thinner than `tiny`: no test here depends on its width, and a step costs a quarter."""
    encoder, folder = corpus.with_name("encoder"), corpus.with_name("shards")
    texts = [example.text for file in sorted(corpus.glob("*_train.tsv")) for example in read_file(file)]
    build_encoder("tiny", encoder, lambda: texts, [], tiny=TinySize(hidden=32, heads=2))
    succeeded(mere_ds("shard", corpus, folder, f"--encoder={encoder}"))
    return folder
