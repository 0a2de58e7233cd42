"""A run's answers, sentence by sentence, as JSON lines: all scores and figures are made from these alone.

A line: `{"id", "lang", "text", "gold": {"relation", "head", "tail"}, "predicted": {"relation", "probability", "head",
"tail", "score"}, "right": [...]}`. Spans are half-open character offsets into the text; a predicted one is null where
the model gave none. "right" names the `METRICS` that are right. A test sentence that could not be read has
`{"lang", "text": null, "gold": null, "predicted": null, "right": [], "reason"}`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from mere_ds.errors import UserError


def evaluation_name(split: str, k: int | None) -> str:
    """What an evaluation's files are called: `test`, or `test-k2` with k given."""
    return split if k is None else f"{split}-k{k}"


def read_predictions(path: Path) -> Iterator[dict]:
    """The lines of `path`, one at a time. Raises UserError where it is missing or no such file."""
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                if not {"lang", "text", "gold", "predicted", "right"} <= record.keys():
                    raise ValueError("fields are missing")
                yield record
    except FileNotFoundError:
        split, _, k = path.stem.partition("-k")
        how = f"mere-ds evaluate {path.parent.parent} --split={split}" + (f" --k={k}" if k else "")
        raise UserError(f"{path}: not there: run {how} first") from None
    except (ValueError, AttributeError):
        raise UserError(f"{path}: holds no predictions: run mere-ds evaluate again") from None
