"""Example -> tasks with annotations that Label Studio 1.x imports, and the labelling interface that shows them."""

from collections import defaultdict
from pathlib import Path
from types import TracebackType
from xml.etree import ElementTree

from mere_ds.corpus.example import Example, Span
from mere_ds.corpus.formats.writer import FilesWriter
from mere_ds.errors import UserError
from mere_ds.files import json_line

INTERFACE = "label_config.xml"
"""Set it before importing tasks: a relation loses a label that its project's interface doesn't have."""

_ENTITY = "Entity"


class LabelStudio(FilesWriter):
    """`{language}.{split}.json`, an array of tasks, and `INTERFACE`; a task's data has text, id and lang."""

    def __init__(self, folder: Path, shown: Path):
        super().__init__(folder, shown)
        self._labels: dict[str, None] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for stream in self.streams.values():
                    stream.write(b"]\n")
                self._write_interface()
        finally:
            super().__exit__(kind, error, trace)

    def write(self, example: Example, split: str) -> None:
        name = f"{example.language}.{split}.json"
        before = b"," if name in self.streams else b"["
        self.stream(name).write(before + json_line(as_task(example)))
        for _, relation, _ in example.triples:
            if relation not in self._labels:
                _check(relation)
                self._labels[relation] = None

    def _write_interface(self) -> None:
        path = self.folder / INTERFACE
        if path.exists():  # of an earlier conversion, and perhaps a link to a file that must stay as it is
            self._labels = {**dict.fromkeys(_labels_in(path, self.shown)), **self._labels}
            path.unlink()
        self.stream(INTERFACE).write(_interface(self._labels))


def as_task(example: Example) -> dict:
    """A sentence as a task. A relation of an entity to itself has two regions in one place."""
    regions: dict[tuple[Span, bool], str] = {}
    labels = defaultdict[tuple[str, str], list[str]](list)
    for head, relation, tail in example.triples:
        ends = [regions.setdefault(key, f"e{len(regions) + 1}") for key in ((head, False), (tail, head == tail))]
        labels[ends[0], ends[1]].append(relation)
    result = [_region(own_id, example.text, span) for (span, _), own_id in regions.items()]
    result += [
        {"type": "relation", "from_id": head, "to_id": tail, "direction": "right", "labels": its}
        for (head, tail), its in labels.items()
    ]
    data = {"text": example.text, "id": example.id, "lang": example.language}
    return {"data": data, "annotations": [{"result": result}]}


def _region(own_id: str, text: str, span: Span) -> dict:
    start, end = span
    value = {"start": start, "end": end, "text": text[start:end], "labels": [_ENTITY]}
    return {"id": own_id, "type": "labels", "from_name": "label", "to_name": "text", "value": value}


def _interface(labels: dict[str, None]) -> bytes:
    view = ElementTree.Element("View")
    relations = ElementTree.SubElement(view, "Relations")
    for label in sorted(labels):
        ElementTree.SubElement(relations, "Relation", value=label)
    entities = ElementTree.SubElement(view, "Labels", name="label", toName="text")
    ElementTree.SubElement(entities, "Label", value=_ENTITY)
    ElementTree.SubElement(view, "Text", name="text", value="$text")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="utf-8") + b"\n"


def _labels_in(path: Path, shown: Path) -> list[str]:
    try:
        return [element.get("value", "") for element in ElementTree.parse(path).iter("Relation")]
    except ElementTree.ParseError as error:
        raise UserError(f"{shown / path.name}: is not valid XML ({error}): restore it, or omit --add") from None


def _check(label: str) -> None:
    """Raises UserError if XML can't hold the label."""
    if any((c < " " and c not in "\t\n\r") or c in "\ufffe\uffff" for c in label):
        raise UserError(
            f"the label {label!r} has a character that Label Studio's interface can't hold: rename it in the source, "
            "or convert to another format"
        )
