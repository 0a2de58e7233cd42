"""Repeated texts: with different triples they contradict one-triple training; in both splits they leak into test.

Texts are compared in composed form (Unicode's NFC) with white space folded. 16 bytes per row stay in memory: hashes of
this process, which for ten million texts collide with a probability below 1 in 300,000.
"""

import unicodedata
from array import array
from collections.abc import Sequence

import numpy as np

from mere_ds.corpus.example import Example
from mere_ds.corpus.languages import shared_id
from mere_ds.corpus.rows import SPLITS


class ReadRows:
    """What is kept of every row that was read, in reading order; `keep_ids` adds the rows' shared ids."""

    def __init__(self, languages: Sequence[str] = (), keep_ids: bool = False):
        """Languages of rows that are not among `languages` follow these."""
        self._numbers = {language: i for i, language in enumerate(languages)}
        self._texts, self._triples, self._of, self._splits = array("q"), array("q"), array("h"), array("b")
        self.ids: list[str] | None = [] if keep_ids else None
        """What a sentence and its translations have in common, see `shared_id`."""

    def add(self, example: Example, split: str) -> None:
        """`split` is the one of the row's file."""
        text = example.text
        triples = [(relation, text[a:b], text[c:d]) for (a, b), relation, (c, d) in example.triples]
        if not _is_folded(text):
            text, triples = fold(text), [(relation, fold(head), fold(tail)) for relation, head, tail in triples]
        self._texts.append(hash(text))
        self._triples.append(hash(triples[0] if len(triples) == 1 else frozenset(triples)))
        self._of.append(self._numbers.setdefault(example.language, len(self._numbers)))
        self._splits.append(SPLITS.index(split))
        if self.ids is not None:
            self.ids.append(shared_id(example.id, example.language))

    @property
    def languages(self) -> list[str]:
        return list(self._numbers)

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def texts(self) -> np.ndarray:
        """int64 [n]; the same for equal texts."""
        return np.array(self._texts, np.int64)

    @property
    def language_ids(self) -> np.ndarray:
        """int16 [n]; indices into `languages`."""
        return np.array(self._of, np.int16)

    def is_of(self, split: str) -> np.ndarray:
        """bool [n]; whether a row is from a file of this split."""
        return np.array(self._splits, np.int8) == SPLITS.index(split)

    def leaks(self) -> np.ndarray:
        """bool [n]; the rows of train and dev files whose text is in a test file too, in any language."""
        is_test, texts = self.is_of("test"), self.texts
        return ~is_test & np.isin(texts, texts[is_test])

    def repeats(self) -> dict:
        """`{"train", "test": {"texts_with_several_triples", "rows_with_them", "exact_duplicates"}, "train_and_test":
        {"texts", "test_rows"}}`; exact duplicates are rows with the same text and triples as an earlier row."""
        texts, triples = self.texts, np.array(self._triples, np.int64)
        by_split = {name: self.is_of(name) for name in ("train", "test")}
        found = {name: _repeats(texts[rows], triples[rows]) for name, rows in by_split.items()}
        train, test = (np.unique(texts[rows]) for rows in by_split.values())
        shared = np.intersect1d(train, test, assume_unique=True)
        test_rows = int(np.isin(texts[by_split["test"]], shared).sum())
        return {**found, "train_and_test": {"texts": len(shared), "test_rows": test_rows}}


def fold(text: str) -> str:
    """The text in NFC, with one blank for any white space and none at its ends."""
    folded = " ".join(text.split())
    return folded if folded.isascii() else unicodedata.normalize("NFC", folded)


def _is_folded(text: str) -> bool:
    """Whether `fold` would certainly leave a text unchanged; the blank is the only printable white space."""
    single = text.isprintable() and "  " not in text and text[:1] != " " != text[-1:]
    return single and unicodedata.is_normalized("NFC", text)


def _repeats(texts: np.ndarray, triples: np.ndarray) -> dict[str, int]:
    order = np.lexsort((triples, texts))
    texts, triples = texts[order], triples[order]
    first = np.ones(len(texts), bool)
    first[1:] = texts[1:] != texts[:-1]
    other = first.copy()
    other[1:] |= triples[1:] != triples[:-1]
    starts = np.flatnonzero(first)
    several = np.add.reduceat(other, starts, dtype=np.int64) > 1 if len(starts) else np.zeros(0, bool)
    rows = np.diff(starts, append=len(texts))
    return {
        "texts_with_several_triples": int(several.sum()),
        "rows_with_them": int(rows[several].sum()),
        "exact_duplicates": int((~other).sum()),
    }


def describe_repeats(repeats: dict) -> list[str]:
    """`ReadRows.repeats` in words, one line each; shared texts make test scores too optimistic."""
    lines = []
    for name in ("train", "test"):
        counts = repeats[name]
        lines.append(
            f"{name}: {counts['texts_with_several_triples']:,} texts occur with different triples "
            f"({counts['rows_with_them']:,} rows), {counts['exact_duplicates']:,} rows repeat another one exactly"
        )
    shared = repeats["train_and_test"]
    lines.append(f"train and test share {shared['texts']:,} texts ({shared['test_rows']:,} rows of test)")
    return lines
