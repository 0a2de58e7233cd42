"""INCEpTION's relation layers, in either format that it exports: which are read, and which feature is the label."""

from collections.abc import Sequence
from pathlib import Path

from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.errors import UserError

LOSSES = {"other_layer": "the relation is of another layer than --map layer=NAME says"}

_LABELS = ("label", "value", "DependencyType")


class Layers:
    """What `--map` says of a document's relation layers."""

    def __init__(self, options: SourceOptions, keys: Sequence[str]):
        """`keys` are what may be on the left side of --map. Raises UserError for another one."""
        self._given = options.columns
        if other := next((key for key in self._given if key not in keys), None):
            raise UserError(f"--map={other}=...: must be one of {', '.join(keys)}, each with =NAME")

    def of(self, key: str) -> str | None:
        """What is given for a key."""
        return self._given.get(key)

    def wants(self, layer: str) -> bool:
        """Whether a layer is to be read; --map may have its whole name, or what follows the last dot."""
        return self.of("layer") in (None, layer, short_name(layer))

    def label(self, layer: str, features: Sequence[str]) -> str | None:
        """The feature that holds the label; None if the layer has no feature. Raises UserError if it isn't clear."""
        chosen = self.of("relation")
        if chosen in features:
            return chosen
        if len(features) <= 1:
            return next(iter(features), None)
        for name in _LABELS:
            if name in features:
                return name
        raise UserError(
            f"{layer}: its relations have several features: pass --map relation=NAME, one of {', '.join(features)}"
        )


def short_name(layer: str) -> str:
    """What follows the last dot of a layer's name."""
    return layer.rsplit(".", 1)[-1]


def document_name(path: Path) -> str:
    """Of an exported file; in a project's export it is named after the annotator, and its folder after the document."""
    return path.parent.name if path.parent.suffix else path.stem
