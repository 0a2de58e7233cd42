from pathlib import Path

import pytest

from mere_ds.shards.manifest import Manifest
from tests.shards.toy_corpus import make_shards, write_corpus, write_json_lines

MANY_SIZES = {"de": (60, 8, 12), "fr": (40, 5, 6), "uk": (21, 3, 0)}
"""Rows in train, dev and test."""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def manifest(corpus, tmp_path_factory) -> Manifest:
    """Shards of 40 sentences; tests do not change them."""
    return make_shards(corpus, tmp_path_factory.mktemp("shards") / "out")


@pytest.fixture(scope="session")
def lines(tmp_path_factory) -> Path:
    """A corpus of JSON lines with any number of triples a sentence."""
    return write_json_lines(tmp_path_factory.mktemp("lines"), MANY_SIZES)


@pytest.fixture(scope="session")
def many(lines, tmp_path_factory) -> Manifest:
    """Its shards; tests do not change them."""
    return make_shards(lines, tmp_path_factory.mktemp("many") / "out", sentences_per_shard=30, sentences_per_member=7)
