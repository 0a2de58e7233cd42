"""Lines of any length in bounded memory, and answers to whoever waits for them."""

import os
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.streams import batches_of_lines, split_lines


def reader(content: bytes, sizes=(1 << 16,)):
    """A `read` that brings the content in pieces of these sizes, in turn."""
    places = [0]

    def read(most: int) -> bytes:
        start = places[-1]
        places.append(start + max(1, min(most, sizes[len(places) % len(sizes)])))
        return content[start : places[-1]]

    return read


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b"bcd", b"\xff", b"x" * 20])).map(b"".join),
    st.lists(st.integers(1, 9), min_size=1),
    st.integers(1, 12),
    st.integers(1, 4),
    st.booleans(),
)
def test_lines_are_those_of_the_content_however_it_arrives(content, sizes, most, size, at_once):
    batches = list(batches_of_lines(reader(content, sizes), size, most, most_bytes=30, at_once=at_once))
    *ended, last = content.split(b"\n")
    wanted = [(line[:most], len(line) + 1, True) for line in ended] + [(last[:most], len(last), False)] * bool(last)
    assert list(chain.from_iterable(batches)) == wanted
    assert all(0 < len(batch) <= size for batch in batches)
    assert all(sum(len(line) for line, _, _ in batch[:-1]) <= 30 for batch in batches)


def test_lists_are_full_where_nobody_waits_for_an_answer():
    content = b"".join(b"%d\n" % i for i in range(25_000))
    sizes = [len(batch) for batch in batches_of_lines(reader(content, (7,)), 1024, 100, 1 << 20, at_once=False)]
    assert sizes == [1024] * 24 + [25_000 - 24 * 1024]


def test_a_line_is_there_before_the_next_one_is_written():
    out, into = os.pipe()
    batches = batches_of_lines(lambda most: os.read(out, most), 1024, 100, 1 << 20, at_once=True)
    for line in (b"one", b"two", b"three"):
        os.write(into, line[:1])
        os.write(into, line[1:] + b"\n")
        assert next(batches) == [(line, len(line) + 1, True)]
    os.write(into, b"four")
    os.close(into)
    assert list(batches) == [[(b"four", 4, False)]]
    os.close(out)


def test_what_a_read_raises_arrives():
    def read(most: int) -> bytes:
        raise OSError(5, "broken")

    for at_once in (True, False):
        with pytest.raises(OSError, match="broken"):
            list(batches_of_lines(read, 1, 1, 1, at_once))


def test_a_long_line_keeps_its_beginning_and_its_length():
    blocks = (b"x" * 65536 for _ in range(1600))
    (line,) = (line for lines in split_lines(blocks, 1000) for line in lines)
    assert line == (b"x" * 1000, 1600 * 65536, False)
