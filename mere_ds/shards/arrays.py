"""Validation of the arrays and texts of a shards folder whenever they are read, in a few passes over each.

A digest shows that a file is as it was written; these checks show that it can be trained on.

Shape suffixes: T tokens of all sentences, n sentences, 4 positions (head start, head end, tail start, tail end).
"""

import io
from collections.abc import Iterable, Sequence

import numpy as np

from mere_ds.encoders.tokens import first_line
from mere_ds.errors import UserError
from mere_ds.shards.packing import ADVICE, Sentences

_BEFORE, _AFTER = 2, 1  # [CLS] and the language symbol before the words, [SEP] after them


def read_index(content: bytes, path: str, splits: Sequence[str], languages: int) -> dict[str, np.ndarray]:
    """`{split}_lengths` and `{split}_languages` (both int16 [n], the latter below `languages`) of an `index.npz`.

    Raises UserError that names `path`.
    """
    names = [f"{split}_{what}" for split in splits for what in ("lengths", "languages")]
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            index = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile and numpy raise many kinds for an invalid .npz
        raise UserError(f"{path}: not a valid index ({first_line(error)}): {ADVICE}") from error
    if set(index) != set(names) or any(array.dtype != np.int16 or array.ndim != 1 for array in index.values()):
        raise UserError(f"{path}: its arrays are not those of an index: {ADVICE}")
    for split in splits:
        lengths, numbers = index[f"{split}_lengths"], index[f"{split}_languages"]
        words = lengths.min(initial=_BEFORE + _AFTER) >= _BEFORE + _AFTER
        if len(lengths) != len(numbers) or not words or not _within(numbers, languages):
            raise UserError(f"{path}: its {split} sentences have invalid lengths or languages: {ADVICE}")
    return index


def check_sentences(s: Sentences, path: str, words: int, languages: int, labels: int, cuts: bool, whole: bool) -> None:
    """Raises UserError that names `path` unless every number in a shard is within its range.

    `words`, `languages` and `labels` are the numbers of tokens, languages and labels; `cuts` is whether the shards
    contain `Sentences.cuts`, `whole` whether all entities must have tokens, as in training.
    """
    found = {
        "tokens": _within(s.tokens, words),
        "languages": _within(s.languages, languages),
        "labels": _within(s.labels, labels),
        "positions": _are_inside(s.positions, s.lengths) and (not whole or s.positions.min(initial=0) >= 0),
        "cuts": np.array_equal(s.cuts >= 0, (s.positions >= 0) & cuts) and s.cuts.min(initial=0) >= -1,
    }
    if wrong := [name for name, holds in found.items() if not holds]:
        raise UserError(f"{path}: values of {', '.join(wrong)} are out of range: {ADVICE}")


def check_rows(s: Sentences, path: str, lengths: np.ndarray, languages: np.ndarray) -> None:
    """Raises UserError that names `path` unless the sentences match the index at their rows."""
    if not (np.array_equal(s.lengths, lengths) and np.array_equal(s.languages, languages)):
        raise UserError(f"{path}: its sentences do not match the index: {ADVICE}")


def read_texts(members: Iterable[object], path: str, labels: Sequence[str]) -> list[dict]:
    """The records of a shard's decoded `.json` members, as `TextReader.texts_of` gives them.

    Raises UserError that names `path` for an invalid record or a label that is not in `labels`.
    """
    known, records = set(labels), []
    for member in members:
        if type(member) is not list or not all(_is_record(record, known) for record in member):
            raise UserError(f"{path}: its texts are not those of a shard: {ADVICE}")
        records += member
    return records


def check_texts(records: Sequence[dict], s: Sentences, path: str, languages: list[str], labels: list[str]) -> None:
    """Raises UserError that names `path` unless languages and labels are the same in texts and arrays."""
    stored = [(record["lang"], record["label"]) for record in records]
    if stored != [(languages[i], labels[j]) for i, j in zip(s.languages.tolist(), s.labels.tolist(), strict=True)]:
        raise UserError(f"{path}: languages or labels of its texts do not match its arrays: {ADVICE}")


def _is_record(record: object, labels: set[str]) -> bool:
    if type(record) is not dict or any(type(record.get(name)) is not str for name in ("id", "text", "label", "lang")):
        return False
    return record["label"] in labels and _is_span(record, "head") and _is_span(record, "tail")


def _is_span(record: dict, name: str) -> bool:
    span = record.get(name)
    if type(span) is not list or len(span) != 2 or any(type(end) is not int for end in span):
        return False
    return 0 <= span[0] < span[1] <= len(record["text"])


def _are_inside(positions_n4: np.ndarray, lengths_n: np.ndarray) -> bool:
    """Whether every span covers words of its sentence or is absent (-1 at both ends)."""
    head_start_n, head_end_n, tail_start_n, tail_end_n = np.ascontiguousarray(positions_n4.T)
    behind_n = lengths_n - np.int16(_AFTER)
    for start_n, end_n in ((head_start_n, head_end_n), (tail_start_n, tail_end_n)):
        outside_n = (start_n < _BEFORE) | (start_n > end_n) | (end_n >= behind_n)
        if outside_n.any() and not ((start_n[outside_n] == -1) & (end_n[outside_n] == -1)).all():
            return False
    return True


def _within(numbers: np.ndarray, end: int) -> bool:
    """Whether all are at least 0 and below `end`, in one pass: as unsigned numbers, negative ones are large."""
    return not numbers.size or int(numbers.view(f"u{numbers.itemsize}").max()) < end
