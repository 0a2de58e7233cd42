"""Tables for a terminal."""

from collections.abc import Collection, Sequence

_GAP = "  "


def align(lines: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Lines of cells as text: each column as wide as its widest cell, with two spaces between columns.

    Columns whose index is in `left` are left-aligned, the others right-aligned; all lines have as many cells.
    """
    formats = [
        f"{{:{'<' if place in left else '>'}{max(map(len, cells))}}}"
        for place, cells in enumerate(zip(*lines, strict=True))
    ]
    return "\n".join(_GAP.join(formats).format(*line).rstrip() for line in lines)
