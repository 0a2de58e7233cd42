"""Reads a file of a format as `mere-ds convert` does, and holds that everything in it is counted."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.corpus.example import Example
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.checking import LOSSES, NOTES, FormatFile, Source, read_source
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import FORMATS
from mere_ds.corpus.formats.stated import Format, Stated, Unreadable
from mere_ds.corpus.rows import REJECTIONS, FileCounts, Reject, Tally


class Result(NamedTuple):
    """What was read of a file."""

    examples: list[Example]
    rejects: list[Reject]
    counts: FileCounts

    @property
    def triples(self) -> list[list[tuple[str, str, str]]]:
        """Of each example: head, label and tail, as text."""
        return [
            [(example.text[slice(*head)], label, example.text[slice(*tail)]) for head, label, tail in example.triples]
            for example in self.examples
        ]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        """Places and reasons of rejected records."""
        return [(reject.line, reject.reason) for reject in self.rejects if not reject.kept]


def convert(path: Path, format: str = "auto", **options) -> Result:
    """Reads a file, whose name needs not tell what it is for."""
    corpus = open_corpus(path, options=SourceOptions(format=format, split="train", lang="de", **options))
    assert corpus.source
    [file] = corpus.files
    return read_all(corpus.source, file)


def read_all(source: Source, file: FormatFile) -> Result:
    """What `read_source` yields and counts."""
    rejects: list[Reject] = []
    tally = Tally(file)
    relations = 0

    def read(*arguments: Any) -> Iterator[Stated | Unreadable]:
        nonlocal relations
        for item in source.format.read(*arguments):
            relations += item.relations
            yield item

    noted = Source(replace(source.format, read=read), source.options)
    examples = list(read_source(noted, file, False, None, rejects.append, tally))
    [counts] = tally.counts
    check(counts, examples, rejects, source.format)
    assert sum(counts.labels.values()) + sum(counts.left_out.values()) == relations
    if file.path.is_file():
        assert counts.bytes == (file.path.stat().st_size if counts.rows else 0)
    return Result(examples, rejects, counts)


def check(counts: FileCounts, examples: list[Example], rejects: list[Reject], format: Format) -> None:
    """Rows and relations are kept or rejected, and each reason has a meaning."""
    assert counts.rows == counts.kept + sum(counts.rejected.values())
    assert counts.kept == len(examples)
    assert sum(counts.rejected.values()) == sum(not reject.kept for reject in rejects)
    assert set(counts.rejected) | set(counts.left_out) <= {*REJECTIONS, *LOSSES, *format.losses}
    assert set(counts.notes) <= {*NOTES, *format.notes} and set(counts.repaired_triples) <= {*format.repairs}
    assert all(example.text[slice(*span)] for example in examples for a, _, b in example.triples for span in (a, b))


def of_format(name: str, path: Path) -> Result:
    """Reads a file as of a format, even if it isn't recognised as one."""
    options = SourceOptions(format=name, split="train", lang="de")
    return read_all(Source(FORMATS[name], options), FormatFile(path, "train", "de"))
