"""Input and output: UTF-8 whatever the locale, and lines of any length in bounded memory."""

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
"""Byte order mark, which some programs put at the start of a UTF-8 file; not part of its text."""

LINES_AT_ONCE = 1024
"""Number of texts that are sorted by length together, to reduce padding; 32 batches."""
MOST_LINE_BYTES = 1 << 20
"""Longer lines are cut off here."""
MOST_BYTES_AT_ONCE = 1 << 22
"""Limit on the total size of the lines held at once."""

_BLOCK = 1 << 16  # the size of a pipe's buffer
_AHEAD = 16  # blocks to read ahead

Line = tuple[bytes, int, bool]
"""A line: its content without the line feed (only the beginning if it is too long); the size of the whole line in
bytes, including the line feed; whether it has a line feed."""


def use_utf8() -> None:
    """Make this process use UTF-8 for everything it reads and writes and for its arguments, whatever the locale.

    Python chooses the encoding of arguments, file names and files at startup, so under another locale this process
    restarts itself in Python's UTF-8 mode. Output that can't be encoded as UTF-8 is escaped.
    """
    encodings = {codecs.lookup(name).name for name in (sys.getfilesystemencoding(), locale.getpreferredencoding(False))}
    if encodings != {"utf-8"} and not sys.flags.utf8_mode and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if the parent process closed it
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def split_lines(blocks: Iterable[bytes], most: int) -> Iterator[list[Line]]:
    """The lines of a stream, split at line feeds only: for each block the lines that end in it, possibly none.

    Only the first `most` bytes of a line are kept.
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
    """The blocks that `read(bytes)` returns, until it returns an empty one."""
    return iter(partial(read, _BLOCK), b"")


def batches_of_lines(
    read: Callable[[int], bytes], size: int, most: int, most_bytes: int, at_once: bool
) -> Iterator[list[Line]]:
    """The lines that `read(bytes)` returns (see `split_lines`), in lists of `size`, or shorter ones if they exceed
    `most_bytes` together.

    With `at_once` a list never waits for more input, so that a caller who writes one line at a time gets its answer
    before writing the next. A thread then reads ahead, so that lists are long when lines arrive fast.
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
