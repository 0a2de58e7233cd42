"""A small synthetic corpus and its shards, made once by the command line."""

from pathlib import Path

import pytest
from launching import mere_ds, succeeded

SENTENCES = 1500


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("street") / "corpus"
    succeeded(mere_ds("synthesize", folder, f"--sentences={SENTENCES}", "--seed=3"))
    return folder


@pytest.fixture(scope="session")
def shards(corpus) -> Path:
    folder = corpus.parent / "shards"
    succeeded(mere_ds("shard", corpus, folder, "--encoder=tiny"))
    return folder
