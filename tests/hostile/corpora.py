"""Corpora as they come: odd bytes, odd rows, odd names, files that are none."""

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.hostile.cases import STDOUT, Case, Use
from tests.hostile.children import Outcome
from tests.hostile.material import HEADER

FILE, TEST = "corpus/de_corpora_train.tsv", "corpus/de_corpora_test.tsv"
INSPECT = Use("inspect", ("inspect", "corpus", "--rejects=rejects.jsonl"), ("corpus",), (STDOUT,), ("rejects.jsonl",))
SHARD = Use("shard", ("shard", "corpus", "out", "--encoder=tiny"), ("corpus",), (STDOUT,), ("out", "out/*"))
PRETRAIN = Use(
    "pretrain",
    (*("pretrain-mtmb", "corpus", "--out=out", "--encoder=shards/encoder", "--steps=1", "--batch_size=4"),
     *("--parallel_ids", "--max_length=64")),
    ("corpus", "shards"),
    (STDOUT,),
    ("out", "out/*"),
)  # fmt: skip

_TEXT = "<e1>Anna</e1> kannte <e2>Köln</e2>."

ROWS: dict[str, bytes] = {
    "NUL": b"1\tA\0nna\tK\0\tborn-in\t<e1>A\0nna</e1> in <e2>K\0</e2>.\tde\n",
    "lone CR": "1\tAnna\tKöln\tborn-in\t<e1>Anna</e1>\r in <e2>Köln</e2>.\tde\n".encode(),
    "CRLF": f"1\tAnna\tKöln\tborn-in\t{_TEXT}\tde\r\n".encode(),
    "invalid UTF-8": b"1\tAnna\tK\xf6ln\tborn-in\t<e1>Anna</e1> in <e2>K\xf6ln</e2>.\tde\n",
    "surrogate": b"1\tAnna\tK\tborn-in\t<e1>Anna</e1> \xed\xa0\x80 <e2>K</e2>.\tde\n",
    "beyond Unicode": b"1\tAnna\tK\tborn-in\t<e1>Anna</e1> \xf7\xbf\xbf\xbf <e2>K</e2>.\tde\n",
    "line separators": "1\tAnna\tKöln\tborn-in\t<e1>Anna</e1>\u2028\x85\x0b\x0c<e2>Köln</e2>.\tde\n".encode(),
    "one column": b"1\n",
    "no columns": b"\n\n\n",
    "tabs alone": b"\t\t\t\t\t\n",
    "too many columns": f"1\tAnna\tKöln\tborn-in\t{_TEXT}\tde\tx\ty\n".encode(),
    "nested marks": b"1\tA\tB\twrote\t<e1>A <e2>B</e2></e1> x.\tde\n",
    "crossed marks": b"1\tA\tB\twrote\t<e1>A <e2>x</e1> B</e2> x.\tde\n",
    "repeated marks": b"1\tA\tB\twrote\t<e1>A</e1><e1>A</e1> <e2>B</e2>.\tde\n",
    "close before open": b"1\tA\tB\twrote\t</e1>A<e1> <e2>B</e2>.\tde\n",
    "empty marks": b"1\tA\tB\twrote\t<e1></e1> <e2> </e2>.\tde\n",
    "marks alone": b"1\tA\tB\twrote\t<e1>A</e1><e2>B</e2>\tde\n",
    "marks of blanks": "1\tA\tB\twrote\t<e1>\u200b</e1> x <e2>\u00a0</e2>.\tde\n".encode(),
    "empty label": f"1\tAnna\tKöln\t\t{_TEXT}\tde\n".encode(),
    "odd label": f'1\tAnna\tKöln\t"../;é\u202e,\t{_TEXT}\tde\n'.encode(),
    "another language": f"1\tAnna\tKöln\tborn-in\t{_TEXT}\txx\n".encode(),
    "a quote": f'"1\tAnna\tKöln\tborn-in\t"{_TEXT}\tde\n'.encode(),
    "a long id": f"{'9' * 100_000}\tAnna\tKöln\tborn-in\t{_TEXT}\tde\n".encode(),
    "a long word": f"1\tAnna\tKöln\tborn-in\t{_TEXT[:-1]} {'ä' * 200_000}\tde\n".encode(),
    "a long line": f"1\tAnna\tKöln\tborn-in\t{_TEXT[:-1]} {'Wort ' * 400_000}\tde\n".encode(),
    "an entity far away": f"1\tAnna\tKöln\tborn-in\t<e1>Anna</e1> {'Wort ' * 2_000}<e2>Köln</e2>\tde\n".encode(),
    "combining marks": f"1\tA\tB\twrote\t<e1>a{chr(0x301) * 5000}</e1> <e2>B</e2>\tde\n".encode(),
    "decomposed": "1\tA\tB\twrote\t<e1>Jo\u0308rg</e1> in <e2>Ko\u0308ln</e2>\tde\n".encode(),
    "a mark in a letter": "1\tA\tB\twrote\t<e1>Jo</e1>\u0308rg in <e2>Köln</e2>\tde\n".encode(),
    "right to left": "1\tA\tB\twrote\t<e1>\u202eAnna\u202c</e1> \u2067<e2>Köln</e2>\u2069\tde\n".encode(),
    "control characters": bytes(range(1, 9)) + b"\tA\tB\twrote\t<e1>A\x1b[2J</e1> <e2>B\x7f</e2>\tde\n",
    "no last newline": f"1\tAnna\tKöln\tborn-in\t{_TEXT}\tde".encode(),
}  # fmt: skip
"""Rows that are put behind those of a good file."""

WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "header alone": lambda content: HEADER.encode(),
    "no header": lambda content: content.split(b"\n", 1)[1],
    "BOM": lambda content: b"\xef\xbb\xbf" + content,
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "NUL": lambda content: bytes(len(content)),
    "noise": lambda content: bytes((7 * n * n + n // 3) % 256 for n in range(20_000)),
    "CR for LF": lambda content: content.replace(b"\n", b"\r"),
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "commas": lambda content: content.replace(b"\t", b","),
    "cut": lambda content: content[: len(content) // 2],
    "equal texts": lambda content: content + b"".join([content.splitlines(True)[1]] * 20),
    "equal texts, other triples": lambda content: (
        content + b"".join(content.splitlines(True)[1].replace(b"\tborn-in\t", b"\tlabel%d\t" % n) for n in range(20))
    ),
    "one sentence": lambda content: b"".join(content.splitlines(True)[:2]),
    "two sentences": lambda content: b"".join(content.splitlines(True)[:3]),
    "gzip": lambda content: b"\x1f\x8b\x08\x00" + content,
    "newlines": lambda content: b"\n" * 10_000,
}
"""What becomes of a whole file."""


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FILES: dict[str, Callable[[Path], object]] = {
    "folder": _folder,
    "loop": _loop,
    "gone": lambda path: path.unlink(),
    "pipe without a writer": _fifo,
    "a name without a language": lambda path: path.rename(path.with_name("_corpora_train.tsv")),
    "a name of bytes": lambda path: os.rename(path, os.fsencode(path.parent) + b"/\xff\xfe_corpora_train.tsv"),
    "a name with a line end": lambda path: path.rename(path.with_name("d\ne_corpora_train.tsv")),
    "a name in capitals": lambda path: path.rename(path.with_name("DE_CORPORA_TRAIN.TSV")),
    "all gone": lambda path: [other.unlink() for other in path.parent.iterdir()],
    "a file for the folder": lambda path: _file_for_folder(path.parent),
    "a loop for the folder": lambda path: _loop_for_folder(path.parent),
}


def _file_for_folder(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))
    folder.write_text("not a folder")


def _loop_for_folder(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))
    folder.symlink_to(folder.name)


def cases() -> Iterator[Case]:
    for use in (INSPECT, SHARD, PRETRAIN):
        check = {INSPECT: counts_add_up, SHARD: whole_rejects}.get(use, lambda place, outcome: None)
        for file in (FILE, TEST) if use is not PRETRAIN else (FILE,):
            split = file.rpartition("_")[2]
            for how, content in ROWS.items():
                yield Case("corpora", f"{split} {how}", use, partial(append, file, content), False, check)
            for how, change in WHOLE.items():
                yield Case("corpora", f"{split} {how}", use, partial(edit, file, change), False, check)
        for how, act in FILES.items():
            yield Case("corpora", f"file {how}", use, partial(act_on, FILE, act), False, check)


def append(file: str, content: bytes, place: Path) -> None:
    with (place / file).open("ab") as rows:
        rows.write(content)


def edit(file: str, change: Callable[[bytes], bytes], place: Path) -> None:
    (place / file).write_bytes(change((place / file).read_bytes()))


def act_on(file: str, act: Callable[[Path], object], place: Path) -> None:
    act(place / file)


def counts_add_up(place: Path, outcome: Outcome) -> str | None:
    """Rows are kept, repaired or rejected, none lost."""
    total = re.search(rb"^total +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)", outcome.out, re.MULTILINE)
    if not total:
        return "no line of totals"
    rows, kept, repaired, rejected = (int(n.replace(b",", b"")) for n in total.groups())
    if rows != kept + rejected and rows != kept + repaired + rejected:
        return f"{rows} rows, but {kept} kept, {repaired} repaired, {rejected} rejected"
    return whole_rejects(place, outcome)


def whole_rejects(place: Path, outcome: Outcome) -> str | None:
    for path in (*place.glob("rejects.jsonl"), *place.glob("out/rejects.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            if not isinstance(json.loads(line), dict):
                return f"{path.name}: a line that is not an object"
    return None
