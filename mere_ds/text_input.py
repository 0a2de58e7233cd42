"""The texts that `mere-ds extract` reads, from a file or from standard input."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from mere_ds.errors import UserError
from mere_ds.files import naming
from mere_ds.streams import LINES_AT_ONCE, MOST_BYTES_AT_ONCE, MOST_LINE_BYTES, Line, batches_of_lines


def whole(file: str | None) -> str:
    """All of a file or of standard input, in UTF-8. Raises UserError if it can't be read or isn't UTF-8."""
    if file is None and sys.stdin is None:
        raise UserError("standard input is closed: pass TEXT or --file")
    try:
        content = Path(file).read_bytes() if file else sys.stdin.buffer.read()
    except OSError as error:
        raise UserError(f"--file={file}: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start + 1} is 0x{content[error.start]:02x}"
        raise UserError(f"{file or 'standard input'}: not UTF-8: {wrong}: convert it to UTF-8") from None


def lines_of(file: str | None) -> Iterator[list[Line]]:
    """Batches of a file's or of standard input's lines, see `batches_of_lines`. Raises UserError at once if it can't be
    opened."""
    if file is None and sys.stdin is None:
        raise UserError("standard input is closed: pass TEXT or --file")
    try:
        number = os.open(file, os.O_RDONLY) if file else sys.stdin.fileno()
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise UserError(f"--file={file}: {error.strerror}") from None

    def read(most: int) -> bytes:
        with naming(Path(file or "standard input")):
            return os.read(number, most)

    waits = not stat.S_ISREG(os.fstat(number).st_mode)
    return batches_of_lines(read, LINES_AT_ONCE, MOST_LINE_BYTES, MOST_BYTES_AT_ONCE, at_once=waits)
