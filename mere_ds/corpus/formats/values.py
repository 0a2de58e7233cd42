"""Values of JSON of unknown types: those named after a type return their argument, or raise Rejected("wrong_keys")."""

from typing import Any, TypeGuard

from mere_ds.corpus.rows import Rejected


def is_int(value: object) -> TypeGuard[int]:
    """Whether it is a whole number; `true`, which Python counts as one, isn't."""
    return type(value) is int


def is_strings(value: object) -> TypeGuard[list[str]]:
    """Whether it is a list of strings, such as the tokens of a sentence."""
    return type(value) is list and all(type(item) is str for item in value)


def integer(value: Any) -> int:
    """A whole number, see `is_int`."""
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


def objects(value: Any) -> list[Any]:
    """An array of objects; an object of arrays, as Hugging Face's `datasets` stores it, becomes one.

    Items of an array are not checked.
    """
    if type(value) is list:
        return value
    columns = [items(column) for column in fields(value).values()]
    if len({len(column) for column in columns}) > 1:
        raise Rejected("wrong_keys")
    return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]


def spans_and_label(value: Any) -> tuple[int, int, int, int, str]:
    """A relation as an array that begins with start and end of the head, those of the tail, and the label."""
    a, b, c, d, label, *_ = [*items(value), None, None, None, None, None]
    return integer(a), integer(b), integer(c), integer(d), string(label)


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise Rejected("wrong_keys")
    return value
