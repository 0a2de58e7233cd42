"""What a program reads and writes: UTF-8 whatever the locale, and lines in bounded memory, however long they are."""

import codecs
import io
import locale
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial

BOM = b"\xef\xbb\xbf"
"""What some programs put in front of a UTF-8 file; no part of its text."""

LINES_AT_ONCE = 1024
"""Texts that are sorted by length together, so that little is padded; 32 batches."""
MOST_LINE_BYTES = 1 << 20
"""What is kept of a line, however long it is."""
MOST_BYTES_AT_ONCE = 1 << 22
"""Lines of more bytes together aren't held at once."""

_BLOCK = 1 << 16  # what a pipe holds
_AHEAD = 16  # blocks that are read ahead

Line = tuple[bytes, int, bool]
"""A line: its content without the line feed, or the beginning of that; the bytes of the whole line, its line feed
included; whether it has a line feed."""


def use_utf8() -> None:
    """Make everything that this process reads, writes and is given UTF-8, whatever the locale says.

    Only Python's start decides how it reads its arguments, file names and files, so that under another locale this
    process restarts in Python's UTF-8 mode. What can't be written as UTF-8 is written as an escape.
    """
    encodings = {codecs.lookup(name).name for name in (sys.getfilesystemencoding(), locale.getpreferredencoding(False))}
    if encodings != {"utf-8"} and not sys.flags.utf8_mode and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where who started us closed it
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def split_lines(blocks: Iterable[bytes], most: int) -> Iterator[list[Line]]:
    """The lines of a stream, cut at line feeds alone: after each block those that end in it, maybe none.

    Of a line longer than `most` bytes, these are kept.
    """
    begun, length = b"", 0
    for block in blocks:
        first, *others = block.split(b"\n")
        begun, length = begun + first[: most - len(begun)], length + len(first)
        if not others:
            yield []
            continue
        last = others.pop()
        yield [(begun, length + 1, True), *[(line[:most], len(line) + 1, True) for line in others]]
        begun, length = last[:most], len(last)
    if length:
        yield [(begun, length, False)]


def blocks_of(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """All that `read(bytes)` brings, until it brings nothing."""
    return iter(partial(read, _BLOCK), b"")


def batches_of_lines(
    read: Callable[[int], bytes], size: int, most: int, most_bytes: int, at_once: bool
) -> Iterator[list[Line]]:
    """The lines that `read(bytes)` brings (see `split_lines`), in lists of `size`, or fewer where they are of more
    than `most_bytes` together.

    With `at_once` a list is also as short as the lines that are there: whoever writes a line and waits for its answer
    before writing the next one gets it. A thread then reads ahead, so that lists are long where lines come fast.
    """
    ahead = _Ahead(read) if at_once else None
    held: list[Line] = []
    held_bytes = 0
    for lines in split_lines(ahead or blocks_of(read), most):
        for line in lines:
            held.append(line)
            held_bytes += len(line[0])
            if len(held) == size or held_bytes > most_bytes:
                yield held
                held, held_bytes = [], 0
        if held and ahead and ahead.would_wait():
            yield held
            held, held_bytes = [], 0
    if held:
        yield held


class _Ahead:
    """An iterator over the blocks of a stream that a thread reads ahead."""

    def __init__(self, read: Callable[[int], bytes]):
        self._queue: queue.Queue[bytes | Exception] = queue.Queue(_AHEAD)
        threading.Thread(target=self._fill, args=(read,), name="line-reader", daemon=True).start()

    def _fill(self, read: Callable[[int], bytes]) -> None:
        try:
            for block in blocks_of(read):
                self._queue.put(block)
            self._queue.put(b"")
        except Exception as error:  # the consumer raises it
            self._queue.put(error)

    def would_wait(self) -> bool:
        return self._queue.empty()

    def __iter__(self) -> "_Ahead":
        return self

    def __next__(self) -> bytes:
        block = self._queue.get()
        if isinstance(block, Exception):
            raise block
        if not block:
            raise StopIteration
        return block
