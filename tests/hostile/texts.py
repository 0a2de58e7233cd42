"""Texts that people and programs really send, to `mere-ds extract`."""

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.hostile.cases import Case, Use
from tests.hostile.children import Outcome

GOOD = "Anna Berg kannte Köln kaum."
FILE = Use("extract --file", ("extract", "run", "--lang=de", "--file=texts.txt"), ("run",))
STDIN = Use("extract stdin", ("extract", "run", "--lang=de"), ("run",))

TEXTS: dict[str, bytes] = {
    "empty": b"",
    "empty lines": b"\n\n\n",
    "blanks": " \t \u00a0\u3000\n".encode(),
    "NUL": b"Anna\0 in\0 Berlin\n",
    "invalid bytes": b"Anna in K\xf6ln\n",
    "invalid bytes between good lines": b"Anna in Lindau\nAnna in K\xf6ln\nAnna in Lindau\n",
    "surrogate": b"Anna \xed\xa0\x80 in Berlin\n",
    "noise": bytes((7 * n * n + n // 3) % 256 for n in range(5000)),
    "UTF-16": GOOD.encode("utf-16"),
    "BOM": b"\xef\xbb\xbf" + GOOD.encode() + b"\n",
    "BOM alone": b"\xef\xbb\xbf",
    "lone CR": b"Anna\rBerg in Lindau\rkaum\n",
    "CRLF": GOOD.encode() + b"\r\n" + GOOD.encode() + b"\r\n",
    "line separators": f"Anna{chr(0x2028)}Berg{chr(0x85)}in{chr(0x0B)}Lindau{chr(0x0C)}\n".encode(),
    "decomposed": unicodedata.normalize("NFD", "Jörg Weiß kannte Köln. 김민수 는 서울\n").encode(),
    "combining marks": b"a" + chr(0x301).encode() * 5000 + b" in Lindau\n",
    "combining marks alone": chr(0x301).encode() * 20 + b"\n",
    "joiners": "Anna\u200d\u200dBerg \u200b\u200c\ufeff in \U0001f468\u200d\U0001f469\u200d\U0001f467\n".encode(),
    "flags": "\U0001f1e9\U0001f1ea \U0001f1eb\U0001f1f7 \U0001f3f4\U000e0067\U000e007f\n".encode(),
    "direction marks": "\u202eAnna\u202c \u2067Köln\u2069 \u200f\n".encode(),
    "private use": "\ue000\U0010ffff\ufffe \U000f0000\n".encode(),
    "a long word": "ä".encode() * 300_000 + b"\n",
    "a long line": b"Wort " * 2_000_000 + b"\n",
    "a long line, then a good one": b"Wort " * 200_000 + b"\n" + GOOD.encode() + b"\n",
    "no last newline": GOOD.encode(),
    "a dash": b"-\n--\n--help\n-x Anna in Lindau\n",
    "special tokens": b"[CLS] [SEP] [PAD] [MASK] [de] [fr] [UNK]\n",
    "marks": b"<e1>Anna</e1> in <e2>Lindau</e2>\n",
    "JSON": b'{"text": "Anna", "NaN": NaN}\n',
    "punctuation": b"....,,,,;;;;!!!!\n",
    "many lines": GOOD.encode() * 3 + b"\n" + b"x\n" * 2000,
}

WORDS = ["-", "--", "--help me", "-5", "- Anna in Lindau", "--text", "None", "none", "True", "1e5", "[1, 2]", "(a,",
         "{}", "@texts", "a,b", "'", '"', "\\", "\n", "\t", "\u202e", "a\nb", "*", "--lang=fr", "\udcff",
         "e\u0301"]  # fmt: skip
"""TEXT on the command line, bare and after `--`."""


def cases() -> Iterator[Case]:
    for name, content in TEXTS.items():
        yield Case("texts", name, FILE, partial(_write, content), False, partial(_answers, content))
        yield Case("texts", name, STDIN, lambda place, content=content: content, False, partial(_answers, content))
    for word in WORDS:
        for form in ((word,), ("--", word), (f"--text={word}",)):
            use = replace(STDIN, name=f"extract {' '.join(form)!r}", argv=(*STDIN.argv, *form))
            yield Case("texts", "words", use, lambda place: b"Anna in Lindau\n", False, _one)
    yield Case("texts", "a folder", FILE, lambda place: (place / "texts.txt").mkdir(), False)
    yield Case("texts", "no file", FILE, same=False)


def _write(content: bytes, place: Path) -> None:
    (place / "texts.txt").write_bytes(content)


def _answers(content: bytes, place: Path, outcome: Outcome) -> str | None:
    """An answer a line, with spans that say what they point at."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    wanted = len(lines) - (lines[-1] == b"")
    answers = outcome.out.split(b"\n")[:-1]
    if len(answers) != wanted:
        return f"{len(answers)} answers to {wanted} lines"
    return next(filter(None, map(_wrong, answers)), None)


def _one(place: Path, outcome: Outcome) -> str | None:
    if b"Usage" in outcome.err or b"SYNOPSIS" in outcome.out:  # --help
        return None
    return _answers(b"\n", place, outcome)


def _wrong(line: bytes) -> str | None:
    answer = json.loads(line)
    for triple in answer.get("triples", ()):
        for side in ("head", "tail"):
            span = triple[side]
            if answer["text"][span["start"] : span["end"]] != span["text"] or not span["text"].strip():
                return f"{side} is not what it points at: {span}"
    return None
