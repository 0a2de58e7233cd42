"""Example -> our own JSON lines, see `mere_ds.corpus.jsonl`."""

from mere_ds.corpus.example import Example
from mere_ds.corpus.formats.writer import FilesWriter
from mere_ds.files import json_line


class JsonLines(FilesWriter):
    """Files `{language}.{split}.jsonl`."""

    def write(self, example: Example, split: str) -> None:
        self.stream(f"{example.language}.{split}.jsonl").write(json_line(as_row(example)))


def as_row(example: Example) -> dict:
    """A sentence as a row of our JSON lines."""
    triples = [{"head": head, "relation": relation, "tail": tail} for head, relation, tail in example.triples]
    return {"id": example.id, "lang": example.language, "text": example.text, "triples": triples}
