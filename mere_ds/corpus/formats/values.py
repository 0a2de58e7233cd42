"""Values of JSON of unknown types: each function returns its argument, or raises Rejected("wrong_keys")."""

from typing import Any

from mere_ds.corpus.rows import Rejected


def integer(value: Any) -> int:
    """`true` and `false` are none, though Python's booleans are."""
    return _of_type(value, int)


def string(value: Any) -> str:
    """A text."""
    return _of_type(value, str)


def items(value: Any) -> list[Any]:
    """An array."""
    return _of_type(value, list)


def fields(value: Any) -> dict[str, Any]:
    """An object."""
    return _of_type(value, dict)


def strings(value: Any) -> list[str]:
    """An array of texts."""
    return [string(item) for item in items(value)]


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise Rejected("wrong_keys")
    return value
