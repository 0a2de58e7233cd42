"""Corpora of JSON lines as they come: damaged rows, damaged files."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.hostile.cases import STDOUT, Case, Use
from tests.hostile.corpora import FILES, WHOLE, act_on, append, counts_add_up, edit, whole_rejects

FILE, TEST = "lines/de.train.jsonl", "lines/de.test.jsonl"
INSPECT = Use("inspect", ("inspect", "lines", "--rejects=rejects.jsonl"), ("lines",), (STDOUT,), ("rejects.jsonl",))
SHARD = Use("shard", ("shard", "lines", "out", "--encoder=tiny"), ("lines",), (STDOUT,), ("out", "out/*"))

_TEXT = "Anna Berg kannte Köln."
_GOOD = {"head": [0, 9], "relation": "born-in", "tail": [17, 21]}


def _row(**changes: object) -> bytes:
    row = {"id": "1", "lang": "de", "text": _TEXT, "triples": [_GOOD]} | changes
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


ROWS: dict[str, bytes] = {
    "no triple": _row(triples=[]),
    "a triple twice": _row(triples=[_GOOD, _GOOD]),
    "1,024 triples": _row(triples=[_GOOD | {"relation": f"r{n}"} for n in range(1024)]),
    "1,025 triples": _row(triples=[_GOOD] * 1025),
    "nested spans": _row(triples=[_GOOD, {"head": [0, 4], "relation": "x", "tail": [0, 22]}]),
    "a span outside": _row(triples=[_GOOD | {"tail": [17, 23]}]),
    "a span below 0": _row(triples=[_GOOD | {"head": [-1, 4]}]),
    "a span backwards": _row(triples=[_GOOD | {"head": [4, 0]}]),
    "a span of a blank": _row(triples=[_GOOD | {"head": [4, 5]}]),
    "a span of a float": _row(triples=[_GOOD | {"head": [0.0, 4.0]}]),
    "a span of truth": _row(triples=[_GOOD | {"head": [False, True]}]),
    "a span of a huge number": _row(triples=[_GOOD | {"tail": [17, 10**400]}]),
    "a number of many digits": b'{"id": 1' + b"0" * 9000 + b"}\n",
    "an empty relation": _row(triples=[_GOOD | {"relation": " "}]),
    "an odd relation": _row(triples=[_GOOD | {"relation": "../\u202e\t\n\0"}]),
    "a negative zero": _row(text="-0", triples=[]),
    "an empty text": _row(text="\u200b ", triples=[]),
    "NUL": _row(text="A\0na B", triples=[_GOOD | {"head": [0, 4], "tail": [5, 6]}]),
    "half a surrogate": _row().replace(b"Anna", b"A\\ud800"),
    "a surrogate in UTF-8": _row().replace(b"Anna", b"A\xed\xa0\x80"),
    "invalid UTF-8": _row().replace("ö".encode(), b"\xf6"),
    "another language": _row(lang="xx"),
    "no text": b'{"id": "1", "triples": []}\n',
    "a list": b"[1, 2]\n",
    "null": b"null\n",
    "NaN": b'{"id": NaN}\n',
    "infinity": _row(more=1).replace(b"1}", b"1e999}"),
    "a key twice": b'{"id": "1", "id": "2", "text": "a", "triples": []}\n',
    "lists in lists": b"[" * 300_000 + b"\n",
    "objects in objects": b'{"a":' * 100_000 + b"\n",
    "half a row": _row()[:50] + b"\n",
    "half a row at the end": _row()[:50],
    "two rows in one": _row()[:-1] + _row(),
    "no last newline": _row()[:-1],
    "CRLF": _row()[:-1] + b"\r\n",
    "blank lines": b"\n \n\t\n",
    "line separators": _row(text=_TEXT + "\u2028\x85\x0b\x0c"),
    "a long line": _row(text=_TEXT + "Wort " * 400_000),
    "a long word": _row(text=_TEXT + "ä" * 200_000),
    "an entity far away": _row(text=_TEXT + " Wort" * 2_000, triples=[_GOOD | {"tail": [9_000, 9_900]}]),
    "combining marks": _row(
        text="a" + "\u0301" * 5000 + " B", triples=[_GOOD | {"head": [0, 5001], "tail": [5002, 5003]}]
    ),
    "half a grapheme": _row(text="Jo\u0308rg B", triples=[_GOOD | {"head": [0, 2], "tail": [6, 7]}]),
}  # fmt: skip
"""Rows that are put behind those of a good file."""

NAMES = {
    "another name": "german.train.jsonl",
    "a name in capitals": "DE.TRAIN.JSONL",
    "a name without a language": "train.jsonl",
    "a table beside it": "de_corpora_train.tsv",
    "a name of no split": "de.valid.jsonl",
}


def cases() -> Iterator[Case]:
    for use, check in ((INSPECT, counts_add_up), (SHARD, whole_rejects)):
        case = partial(Case, "json lines", use=use, same=False, check=check)
        for file in (FILE, TEST):
            split = file.split(".")[1]
            for how, content in ROWS.items():
                yield case(f"{split} {how}", change=partial(append, file, content))
            for how, change in WHOLE.items():
                yield case(f"{split} {how}", change=partial(edit, file, change))
        for how, act in FILES.items():
            yield case(f"file {how}", change=partial(act_on, FILE, act))
        for how, name in NAMES.items():
            yield case(f"file {how}", change=partial(_rename, name))


def _rename(name: str, place: Path) -> None:
    (place / FILE).rename(place / "lines" / name)
