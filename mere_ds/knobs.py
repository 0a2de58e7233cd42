"""A knob: a dataclass' field with its help, its default and its bounds in one place, and the check of all of them."""

import math
import operator
from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from typing import Any

from mere_ds.errors import UserError

_LIMITS = {
    "above": (operator.gt, "greater than"),
    "least": (operator.ge, "at least"),
    "below": (operator.lt, "less than"),
    "most": (operator.le, "at most"),
}
"""The bounds that a number may have. A whole number without `most` is at most 2^31 - 1: products of two must not
overflow 64 bits."""


def knob(help: str = "", default: Any = MISSING, **bounds: float) -> Any:
    """A dataclass' field; `bounds` are any of above, least, below and most, and hold for each element of a tuple."""
    assert bounds.keys() <= _LIMITS.keys()
    return field(default=default, metadata={"help": help, "bounds": bounds})


def beyond(value: float, bounds: Mapping[str, float]) -> str | None:
    """What a number must be and isn't, such as "must be greater than 0"; None where it is finite and within bounds."""
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, int) and "most" not in bounds and value >= 2**31:
        bounds = {**bounds, "most": 2**31 - 1}
    limits = [(*_LIMITS[name], bounds[name]) for name in _LIMITS if name in bounds]
    if all(holds(value, limit) for holds, _, limit in limits):
        return None
    return "must be " + " and ".join(f"{words} {limit}" for _, words, limit in limits)


def check_bounds(knobs: Any) -> None:
    """Raises UserError for the first field of a dataclass of knobs that is out of bounds; None and text never are."""
    for f in fields(knobs):
        value = getattr(knobs, f.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and (what := beyond(number, f.metadata["bounds"])):
                shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
                raise UserError(f"--{f.name}={shown}: {what}")
