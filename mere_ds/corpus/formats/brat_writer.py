"""Example -> brat: folders of documents, each of which has several sentences, a line or more each.

Beside `name.txt` and `name.ann` lies `name.sentences.jsonl`, which brat passes over and `mere_ds.corpus.formats.brat`
reads: where each sentence is, its id and its language; and `labels.json` for labels that brat can't have. With them
sentences are read as they were written.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from mere_ds.corpus.example import Example, Span
from mere_ds.corpus.formats.brat import LABELS, SENTENCES
from mere_ds.errors import UserError
from mere_ds.files import json_line, write_json

_MOST_SENTENCES = 50  # of a document, which brat draws as a whole
_MOST_CHARACTERS = 20_000  # of a document of several sentences

_NO_NAME = re.compile(r"^-|[^A-Za-z0-9_-]")  # brat's server renames what is of other characters
_NO_DISPLAY = re.compile(r"[|<>\t\r\n]")  # these mean something in visual.conf
_ANNOTATION = "[entities]\nEntity\n\n[relations]\n{relations}\n\n[events]\n\n[attributes]\n"
_TOOLS = "[options]\nSentences\tsplitter:newline\nTokens\ttokenizer:whitespace\n"


class Brat:
    """`{language}.{split}/0001.txt` and so on, with the configuration that brat needs to show and edit them."""

    def __init__(self, folder: Path, shown: Path):
        """`shown` is the folder's name in messages."""
        self._folder, self._shown = folder, shown
        self._collections: dict[str, _Collection] = {}

    def __enter__(self) -> "Brat":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for collection in self._collections.values():
                collection.finish()

    def write(self, example: Example, split: str) -> None:
        """Raises UserError for a folder that is there already."""
        name = f"{example.language}.{split}"
        if name not in self._collections:
            self._collections[name] = _Collection(self._new_folder(name))
        self._collections[name].add(example)

    def _new_folder(self, name: str) -> Path:
        try:
            (self._folder / name).mkdir()
        except FileExistsError:
            raise UserError(
                f"{self._shown}: has {name} already: convert to another folder, or give both sources in one folder"
            ) from None
        return self._folder / name


class _Collection:
    """A folder of documents."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._labels: dict[str, str] = {}
        """By the name that brat has for them."""
        self._names: dict[str, str] = {}
        self._document = _Document()
        self._number = 0

    def add(self, example: Example) -> None:
        if not self._document.has_room_for(example):
            self._flush()
        self._document.add(example, {label: self._name(label) for _, label, _ in example.triples})

    def finish(self) -> None:
        self._flush()
        self._write("annotation.conf", _ANNOTATION.format(relations="\n".join(map(_relation, sorted(self._labels)))))
        self._write("tools.conf", _TOOLS)
        if others := {name: label for name, label in sorted(self._labels.items()) if name != label}:
            shown = [f"{name} | {label}\n" for name, label in others.items() if not _NO_DISPLAY.search(label)]
            self._write("visual.conf", "".join(["[labels]\n", *shown]))
            write_json(self._folder / LABELS, others)

    def _name(self, label: str) -> str:
        """A name for brat that no other label has."""
        if label not in self._names:
            name = base = _NO_NAME.sub("_", label)
            number = 1
            while name in self._labels:
                number += 1
                name = f"{base}_{number}"
            self._names[label], self._labels[name] = name, label
        return self._names[label]

    def _flush(self) -> None:
        self._number += 1
        for suffix, content in self._document.files().items():
            self._write(f"{self._number:04}{suffix}", content)
        self._document = _Document()

    def _write(self, name: str, content: str) -> None:
        (self._folder / name).write_bytes(content.encode())


def _relation(name: str) -> str:
    return f"{name}\tArg1:Entity, Arg2:Entity"


class _Document:
    def __init__(self) -> None:
        self._texts: list[str] = []
        self._rows: list[str] = []
        self._entities: list[str] = []
        self._relations: list[str] = []
        self._at = 0

    def has_room_for(self, example: Example) -> bool:
        return not self._texts or (
            len(self._texts) < _MOST_SENTENCES and self._at + len(example.text) <= _MOST_CHARACTERS
        )

    def add(self, example: Example, names: Mapping[str, str]) -> None:
        """`names` are brat's for the labels."""
        end = self._at + len(example.text)
        self._rows.append(
            json_line({"id": example.id, "lang": example.language, "start": self._at, "end": end}).decode()
        )
        self._texts.append(example.text)
        ids: dict[Span, str] = {}
        for head, label, tail in example.triples:
            for span in (head, tail):
                if span not in ids:
                    ids[span] = f"T{len(self._entities) + 1}"
                    self._entities.append(f"{ids[span]}\tEntity {self._stated(example.text, span)}\n")
            self._relations.append(f"R{len(self._relations) + 1}\t{names[label]} Arg1:{ids[head]} Arg2:{ids[tail]}\n")
        self._at = end + 1

    def _stated(self, text: str, span: Span) -> str:
        """An entity's places in the document, and what stands there."""
        pieces = list(_pieces(text, span))
        places = ";".join(f"{self._at + start} {self._at + end}" for start, end in pieces)
        return f"{places}\t{' '.join(text[start:end] for start, end in pieces)}"

    def files(self) -> dict[str, str]:
        """Contents by suffix."""
        return {
            ".txt": "\n".join(self._texts) + "\n",
            ".ann": "".join([*self._entities, *self._relations]),
            SENTENCES: "".join(self._rows),
        }


def _pieces(text: str, span: Span) -> Iterator[Span]:
    """A piece a line: brat reads no record of several lines, and ends a line at everything that `splitlines` does."""
    at = span[0]
    for line in text[slice(*span)].splitlines(keepends=True):
        bare = line.strip()
        start = at + len(line) - len(line.lstrip())
        if bare:
            yield start, start + len(bare)
        at += len(line)
