"""Every format that is written."""

from collections.abc import Callable
from pathlib import Path

from mere_ds.corpus.formats.brat_writer import Brat
from mere_ds.corpus.formats.jsonl_writer import JsonLines
from mere_ds.corpus.formats.label_studio_writer import LabelStudio
from mere_ds.corpus.formats.parquet_writer import ParquetWriter
from mere_ds.corpus.formats.spacy_writer import SpacyFiles
from mere_ds.corpus.formats.writer import Writer

WRITERS: dict[str, Callable[[Path, Path], Writer]] = {
    "brat": Brat,
    "jsonl": JsonLines,
    "label-studio": LabelStudio,
    "parquet": ParquetWriter,
    "spacy": SpacyFiles,
}
"""By the name for --to: takes the folder to write to, and its name in messages."""
