"""What a program reads and writes: UTF-8 whatever the locale."""

import codecs
import locale
import os
import sys


def use_utf8() -> None:
    """Make everything that this process reads, writes and is told UTF-8, whatever the locale says.

    Only Python's start decides how it reads its arguments, file names and files, so that under another locale this
    process starts anew in Python's UTF-8 mode. What can't be written as UTF-8 is written as an escape.
    """
    encodings = {codecs.lookup(name).name for name in (sys.getfilesystemencoding(), locale.getpreferredencoding(False))}
    if encodings != {"utf-8"} and not sys.flags.utf8_mode and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by who started us
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
