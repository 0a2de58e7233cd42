"""Files of arrays: what is written is read back, all else is refused, and it doesn't matter what other threads do."""

import ast
import gc
from contextlib import contextmanager

import numpy as np
import pytest

from mere_ds.shards.array_files import npy, npz, read_npy, read_npz
from mere_ds.shards.packing import read_sentences

ARRAYS = {
    "numbers": np.arange(6, dtype=np.int32).reshape(2, 3),
    "none": np.empty((2, 0), np.int64),
    "many_axes": np.zeros((1, 2, 3), np.uint8),
    "turned": np.arange(6).reshape(3, 2).T,
    "truth": np.array([True, False]),
    "reals": np.array([0.5, np.inf], np.float32),
}


def test_arrays_come_back_as_numpy_reads_them():
    read = read_npz(npz(ARRAYS))
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype and np.array_equal(read[name], array)
        read[name][...] = 0  # not a view of the file's bytes


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        b"\x93NUMPY\x01\x00",
        npy(np.arange(3))[:-1],
        npy(np.arange(3)) + b"x",
        npy(np.arange(3)).replace(b"(3,)", b"(4,)"),
        npy(np.arange(30)).replace(b"(30,)", b"(1e9)"),
        npy(np.arange(3)).replace(b"<i8", b"|O8"),
        npy(np.arange(3)).replace(b"{'descr': '<i8'", b"{'descr': f('')"),
    ],
)
def test_no_other_content_is_taken(content):
    with pytest.raises(ValueError):
        read_npy(content)


@contextmanager
def code_parsed_at_any_moment():
    """As in a process of several threads, where collecting one's garbage lets another parse."""
    busy: list[bool] = []

    def parse(*_):
        if not busy:
            busy.append(True)
            (lambda: ast.parse("1"))()  # deeper in the stack
            busy.clear()

    thresholds = gc.get_threshold()
    gc.callbacks.append(parse)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(parse)


def test_an_intact_shard_is_read_while_other_code_is_parsed(manifest):
    shard = manifest.splits["train"].shards[0]
    with code_parsed_at_any_moment():
        read = read_sentences(manifest.source, shard)
    assert len(read) == shard.sentences
