"""Validation of the arrays and texts of a shards folder whenever they are read, in a few passes over each.

A digest shows that a file is as it was written; these checks show that it can be trained on.

Shape suffixes: n sentences, t triples of these, 4 positions (head start, head end, tail start, tail end).
"""

from collections.abc import Iterable, Sequence
from typing import TypeGuard

import numpy as np

from mere_ds.errors import UserError, first_line
from mere_ds.shards.array_files import read_npy, read_npz
from mere_ds.shards.packing import ADVICE, Sentences

_LENGTHS = 1 << 15  # that an int16 can have
_MOST = 1 << 40  # sentences
_BEFORE, _AFTER = 2, 1  # [CLS] and the language symbol before the words, [SEP] after them


def read_index(content: bytes, path: str, splits: Sequence[str], languages: int) -> dict[str, np.ndarray]:
    """The arrays of an `index.npz`: `{split}_counts`, int64 [shards, languages], and `{split}_lengths`, int64
    [languages, lengths]; of one of before version 5 `{split}_lengths` and `{split}_languages`, both int16 [n].

    Raises UserError that names `path`.
    """
    try:
        index = read_npz(content)
    except Exception as error:  # zipfile raises many kinds for an invalid archive
        raise UserError(f"{path}: not a valid index ({first_line(error)}): {ADVICE}") from error
    by_shard = f"{splits[0]}_counts" in index
    names = ("counts", "lengths") if by_shard else ("lengths", "languages")
    if set(index) != {f"{split}_{name}" for split in splits for name in names}:
        raise UserError(f"{path}: its arrays are not those of an index: {ADVICE}")
    check = _check_counts if by_shard else _check_columns
    for split in splits:
        first, second = (index[f"{split}_{name}"] for name in names)
        check(first, second, languages, path, f"{split} sentences")
    return index


def read_columns(content: bytes, path: str, languages: int) -> np.ndarray:
    """Lengths and languages of a shard's n sentences, int16 [2, n]. Raises UserError that names `path`."""
    try:
        columns = read_npy(content)
    except ValueError as error:
        raise UserError(f"{path}: not a valid index ({first_line(error)}): {ADVICE}") from error
    if columns.shape[:1] != (2,):
        raise UserError(f"{path}: its arrays are not those of an index: {ADVICE}")
    _check_columns(columns[0], columns[1], languages, path, "sentences")
    return columns


def _check_columns(lengths: np.ndarray, numbers: np.ndarray, languages: int, path: str, what: str) -> None:
    if any(array.dtype != np.int16 or array.ndim != 1 for array in (lengths, numbers)):
        raise UserError(f"{path}: its arrays are not those of an index: {ADVICE}")
    words = lengths.min(initial=_BEFORE + _AFTER) >= _BEFORE + _AFTER
    if len(lengths) != len(numbers) or not words or not _within(numbers, languages):
        raise UserError(f"{path}: its {what} have invalid lengths or languages: {ADVICE}")


def _check_counts(counts_HU: np.ndarray, lengths_UL: np.ndarray, languages: int, path: str, what: str) -> None:
    tables = (counts_HU, lengths_UL)
    if any(table.dtype != np.int64 or table.ndim != 2 for table in tables):
        raise UserError(f"{path}: its arrays are not those of an index: {ADVICE}")
    fits = (counts_HU.shape[1], len(lengths_UL)) == (languages, languages) and lengths_UL.shape[1] <= _LENGTHS
    fits = fits and all(_within(table, _MOST) for table in tables) and not lengths_UL[:, : _BEFORE + _AFTER].any()
    if not fits or not np.array_equal(counts_HU.sum(axis=0), lengths_UL.sum(axis=1)):
        raise UserError(f"{path}: its {what} have invalid lengths or languages: {ADVICE}")


def check_sentences(
    s: Sentences, path: str, words: int, languages: int, labels: int, cuts: bool, whole: bool, one_triple: bool
) -> None:
    """Raises UserError that names `path` unless every number in a shard is within its range.

    `words`, `languages` and `labels` are the numbers of tokens, languages and labels; `cuts` is whether the shards
    contain `Sentences.cuts`, `whole` whether all entities must have tokens, as in training, `one_triple` whether each
    sentence must have exactly one triple.
    """
    found = {
        "tokens": _within(s.tokens, words),
        "languages": _within(s.languages, languages),
        "counts": not one_triple or bool((s.counts == 1).all()),
        "labels": _within(s.labels, labels),
        "positions": _are_inside(s.positions, np.repeat(s.lengths, s.counts))
        and (not whole or s.positions.min(initial=0) >= 0),
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
    known, records = set(labels), list[dict]()
    for member in members:
        of_member = list(map(_with_triples, member)) if type(member) is list else [None]
        found = [record for record in of_member if _is_record(record, known)]
        if len(found) < len(of_member):
            raise UserError(f"{path}: its texts are not those of a shard: {ADVICE}")
        records += found
    return records


def check_texts(records: Sequence[dict], s: Sentences, path: str, languages: list[str], labels: list[str]) -> None:
    """Raises UserError that names `path` unless languages and labels are the same in texts and arrays."""
    of_texts = [(record["lang"], [triple["relation"] for triple in record["triples"]]) for record in records]
    ends = np.cumsum(s.counts).tolist()
    names = [labels[j] for j in s.labels.tolist()]
    of_arrays = [(languages[i], names[end - n : end]) for i, n, end in zip(s.languages, s.counts, ends, strict=True)]
    if of_texts != of_arrays:
        raise UserError(f"{path}: languages or labels of its texts do not match its arrays: {ADVICE}")


def _with_triples(record: object) -> object:
    """A record in today's form, also if it is of a version in which a sentence had one triple."""
    if type(record) is not dict or not record.keys() >= {"label", "head", "tail"}:
        return record
    triple = {"head": record["head"], "relation": record["label"], "tail": record["tail"]}
    return {name: record.get(name) for name in ("id", "text", "lang")} | {"triples": [triple]}


def _is_record(record: object, labels: set[str]) -> TypeGuard[dict]:
    if type(record) is not dict or any(type(record.get(name)) is not str for name in ("id", "text", "lang")):
        return False
    triples, length = record.get("triples"), len(record["text"])
    return type(triples) is list and all(_is_triple(triple, length, labels) for triple in triples)


def _is_triple(triple: object, length: int, labels: set[str]) -> bool:
    if type(triple) is not dict or type(triple.get("relation")) is not str or triple["relation"] not in labels:
        return False
    return _is_span(triple.get("head"), length) and _is_span(triple.get("tail"), length)


def _is_span(span: object, length: int) -> bool:
    if type(span) is not list or len(span) != 2 or any(type(end) is not int for end in span):
        return False
    return 0 <= span[0] < span[1] <= length


def _are_inside(positions_t4: np.ndarray, lengths_t: np.ndarray) -> bool:
    """Whether every span covers words of its sentence or is absent (-1 at both ends)."""
    head_start_t, head_end_t, tail_start_t, tail_end_t = np.ascontiguousarray(positions_t4.T)
    behind_t = lengths_t - np.int16(_AFTER)
    for start_t, end_t in ((head_start_t, head_end_t), (tail_start_t, tail_end_t)):
        outside_t = (start_t < _BEFORE) | (start_t > end_t) | (end_t >= behind_t)
        if outside_t.any() and not ((start_t[outside_t] == -1) & (end_t[outside_t] == -1)).all():
            return False
    return True


def _within(numbers: np.ndarray, end: int) -> bool:
    """Whether all are at least 0 and below `end`, in one pass: as unsigned numbers, negative ones are large."""
    return not numbers.size or int(numbers.view(f"u{numbers.itemsize}").max()) < end
