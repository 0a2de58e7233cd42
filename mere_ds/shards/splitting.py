"""Which training rows become dev. The choice doesn't depend on the encoder or on the rows that it rejects."""

from collections.abc import Iterator

import numpy as np

from mere_ds.corpus.repeats import ReadRows

FEW_DEV = 10
"""With fewer dev sentences in a language, its dev scores mean little."""

_NO_DEV_RATIO = 0.02  # dev's share in a language without a test file
_MOST_DEV = 0.2  # of a language's training sentences


def draw_dev(
    rows: ReadRows, seed: int, dev_share: float | None = None, without: np.ndarray | None = None
) -> np.ndarray:
    """bool [n]: the training rows that become dev, drawn language by language; those `without` (bool [n]) don't count.

    A language's dev is as large as its test split, but at most a fifth of its training rows; 2 % of them if it has no
    test rows; a share of `dev_share` if given; and at least one row if there are two. Training rows with equal text,
    or with the same id if `rows` has ids, form a piece that is either all in dev or all in training; a piece that
    doesn't fit stays in training, so dev may be smaller. Which rows of a language are drawn depends only on the seed
    and that language's rows.
    """
    is_train = rows.is_of("train") if without is None else rows.is_of("train") & ~without
    train = np.flatnonzero(is_train)
    languages = rows.language_ids[train]
    keys = [np.unique(rows.texts[train], return_inverse=True)[1]]
    if rows.ids is not None:
        number = {id: i for i, id in enumerate(sorted({rows.ids[row] for row in train}))}
        keys.append(np.array([number[rows.ids[row]] for row in train], np.int64))
        candidates = _by_id(len(number), keys[-1], seed)
    else:
        candidates = _by_language(languages, rows.languages, seed)
    piece = _joined(keys, len(train))
    by_piece = np.argsort(piece, kind="stable")
    starts = piece[by_piece]
    room, seen = np.array(_dev_sizes(rows, is_train, dev_share)), np.zeros(len(train), bool)
    dev = np.zeros(len(rows), bool)
    for row in candidates:
        if not room[languages[row]] or seen[piece[row]]:
            continue
        seen[piece[row]] = True
        members = by_piece[slice(*np.searchsorted(starts, (piece[row], piece[row] + 1)))]
        left = room - np.bincount(languages[members], minlength=len(room))
        if (left >= 0).all():
            room = left
            dev[train[members]] = True
            if not room.any():
                break
    return dev


def _by_language(language_ids: np.ndarray, languages: list[str], seed: int) -> Iterator[int]:
    """Training rows in random order, one language after the other."""
    for i, language in enumerate(languages):
        yield from (
            np.random.default_rng([seed, *language.encode()]).permutation(np.flatnonzero(language_ids == i)).tolist()
        )


def _by_id(ids: int, id_of: np.ndarray, seed: int) -> Iterator[int]:
    """One training row per id, in random order."""
    first = np.full(ids, len(id_of))
    np.minimum.at(first, id_of, np.arange(len(id_of)))
    yield from first[np.random.default_rng(seed).permutation(ids)].tolist()


def _joined(keys: list[np.ndarray], rows: int) -> np.ndarray:
    """The first row of each row's piece; rows with an equal key belong to one piece, also via other rows."""
    piece = np.arange(rows)
    while True:
        before = piece
        for key in keys:
            first = np.full(rows, rows)
            np.minimum.at(first, key, piece)
            piece = first[key]
        if len(keys) == 1 or (piece == before).all():
            return piece


def _dev_sizes(rows: ReadRows, is_train: np.ndarray, dev_share: float | None) -> list[int]:
    """Target number of dev sentences per language."""
    languages = rows.language_ids
    train, test = (
        np.bincount(languages[rows_of], minlength=len(rows.languages)).tolist()
        for rows_of in (is_train, rows.is_of("test"))
    )
    return [_dev_size(*sizes, dev_share) for sizes in zip(train, test, strict=True)]


def _dev_size(train: int, test: int, dev_share: float | None) -> int:
    if dev_share is not None:
        wanted = round(dev_share * train)
    else:
        wanted = min(test or round(_NO_DEV_RATIO * train), int(_MOST_DEV * train))
    return max(wanted, 1) if train > 1 else 0
