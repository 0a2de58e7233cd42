"""Example -> files of a format that other tools read."""

from collections.abc import Callable
from pathlib import Path

from mere_ds.corpus.example import Example
from mere_ds.corpus.formats.brat_writer import Brat
from mere_ds.corpus.formats.label_studio_writer import LabelStudio
from mere_ds.corpus.formats.parquet_writer import ParquetWriter
from mere_ds.corpus.formats.spacy_writer import SpacyFiles
from mere_ds.corpus.formats.writing import FilesWriter, Writer
from mere_ds.files import json_line


class JsonLines(FilesWriter):
    """Our own format: `{language}.{split}.jsonl`, see `mere_ds.corpus.jsonl`."""

    def write(self, example: Example, split: str) -> None:
        self.stream(f"{example.language}.{split}.jsonl").write(json_line(as_row(example)))


def as_row(example: Example) -> dict:
    """A sentence as a row of our JSON lines."""
    triples = [{"head": head, "relation": relation, "tail": tail} for head, relation, tail in example.triples]
    return {"id": example.id, "lang": example.language, "text": example.text, "triples": triples}


WRITERS: dict[str, Callable[[Path, Path], Writer]] = {
    "brat": Brat,
    "jsonl": JsonLines,
    "label-studio": LabelStudio,
    "parquet": ParquetWriter,
    "spacy": SpacyFiles,
}
"""By the name for --to: takes the folder to write to, and its name in messages."""
