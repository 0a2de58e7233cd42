"""The first pass over a corpus: read and tokenise all sentences and store them for access in any order.

Token ids and texts go to flat files on disk; about 60 bytes per sentence stay in memory.
"""

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from mere_ds.corpus.example import Example
from mere_ds.corpus.reading import COLUMNS, FileCounts, Reject, TsvFile, read_file
from mere_ds.corpus.repeats import ReadRows
from mere_ds.errors import UserError
from mere_ds.shards.encoding import EncodedExample, SentenceEncoder
from mere_ds.shards.packing import Sentences

_BATCH = 2048  # sentences per tokeniser call
_BATCH_CHARACTERS = 1 << 22  # the same for sentences of 2,048 characters and more
_NO_SENTENCES = ("empty_text", "empty_row")  # rejected rows that are not sentences and so don't count as misses in test


@dataclass
class Collected:
    """All sentences of a corpus, in file order. Tokens and texts are in files that must outlive this object."""

    sentences: Sentences
    labels: list[str]
    """All labels, sorted; `sentences.labels` are indices into it."""
    is_test: np.ndarray
    """bool [n]; whether a sentence came from a test file."""
    truncated: np.ndarray
    """bool [n]; whether a sentence lost words to the maximum length."""
    unaligned: np.ndarray
    """bool [n]; whether the tokens of one of the sentence's entities cover other characters than the entity's."""
    counts: list[FileCounts]
    is_kept: np.ndarray
    """bool [rows read]; whether a row was kept as a sentence."""
    _texts: np.ndarray
    _text_ends: np.ndarray

    @property
    def missed_test(self) -> dict[str, int]:
        """By language: test sentences that were rejected."""
        missed: Counter[str] = Counter()
        for file in self.counts:
            if file.split == "test":
                missed[file.language] += sum(n for reason, n in file.rejected.items() if reason not in _NO_SENTENCES)
        return {language: n for language, n in missed.items() if n}

    def record(self, row: int) -> bytes:
        """`{"id", "text", "lang", "triples": [{"head", "relation", "tail"}]}` of a sentence as JSON in UTF-8."""
        start = self._text_ends[row - 1] if row else 0
        return self._texts[start : self._text_ends[row]].tobytes()


def collect(
    files: list[TsvFile],
    languages: list[str],
    encoder: SentenceEncoder,
    cut_marks: str,
    on_reject: Callable[[Reject], None],
    folder: Path,
    rows: ReadRows,
) -> Collected:
    """Reads and tokenises the files; the flat files go to `folder`, which exists, the rows that are read into `rows`,
    unless these are there already.

    A training sentence with a span that has no tokens is rejected, a test sentence kept without that span; both are
    shown to `on_reject`. Raises UserError if no sentence is left.
    """
    paths = folder / "tokens", folder / "texts"
    bar = tqdm(
        total=sum(f.path.stat().st_size for f in files), desc="tokenising", unit="B", unit_scale=True, disable=None
    )
    with bar, paths[0].open("wb") as tokens, paths[1].open("wb") as texts:
        collector = _Collector(languages, encoder, on_reject, tokens, texts)
        remember = not len(rows)
        for file in files:
            counts, done = FileCounts.of(file), bar.n
            collector.counts.append(counts)
            examples = read_file(file.path, cut_marks, on_reject, counts)
            for batch in _batches(examples):
                if remember:
                    for example in batch:
                        rows.add(example, file.split == "test")
                collector.add(batch, counts)
                bar.update(done + counts.bytes - bar.n)
    return collector.finish(*paths)


def _batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Lists of sentences to tokenise at once, limited in characters to bound memory."""
    batch: list[Example] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += len(example.text)
        if len(batch) == _BATCH or characters > _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


_quoted = json.JSONEncoder(ensure_ascii=False).encode  # fast for strings; json.dumps makes a new encoder every time


class _Collector:
    def __init__(
        self,
        languages: list[str],
        encoder: SentenceEncoder,
        on_reject: Callable[[Reject], None],
        tokens: BinaryIO,
        texts: BinaryIO,
    ):
        self.counts: list[FileCounts] = []
        self._encoder, self._on_reject, self._tokens, self._texts = encoder, on_reject, tokens, texts
        self._languages = {language: i for i, language in enumerate(languages)}
        self._labels: dict[str, int] = {}
        self._is_kept = array("b")
        self._columns: dict[str, array] = defaultdict(lambda: array("i"))

    def add(self, batch: list[Example], counts: FileCounts) -> None:
        """Tokenises a batch of one file and appends what is kept of it."""
        kept = []
        for example, encoded in zip(batch, self._encoder.encode_examples(batch), strict=True):
            is_kept = not any(triple.problem for triple in encoded.triples) or self._keeps(example, encoded, counts)
            self._is_kept.append(is_kept)
            if is_kept:
                kept.append((example, encoded))
        texts = [_record(example) for example, _ in kept]
        triples = [triple for _, encoded in kept for triple in encoded.triples]
        new: dict[str, Iterable[int]] = {
            "lengths": [len(encoded.ids) for _, encoded in kept],
            "languages": [self._languages[example.language] for example, _ in kept],
            "counts": [len(example.triples) for example, _ in kept],
            "labels": [
                self._labels.setdefault(relation, len(self._labels))
                for example, _ in kept
                for _, relation, _ in example.triples
            ],
            "positions": chain.from_iterable([triple.positions for triple in triples]),
            "exact": chain.from_iterable([triple.exact for triple in triples]),
            "cuts": chain.from_iterable([triple.cuts for triple in triples]),
            "is_test": [counts.split == "test"] * len(kept),
            "truncated": [encoded.truncated for _, encoded in kept],
            "text_bytes": map(len, texts),
        }
        for name, values in new.items():
            self._columns[name].extend(values)
        array("i", chain.from_iterable(encoded.ids for _, encoded in kept)).tofile(self._tokens)
        self._texts.write(b"".join(texts))

    def _keeps(self, example: Example, encoded: EncodedExample, counts: FileCounts) -> bool:
        """Whether a sentence with a span that has no tokens is kept; if not, it is counted as rejected instead."""
        kept = counts.split == "test"
        problem = next(triple.problem for triple in encoded.triples if triple.problem)
        self._on_reject(Reject(example.file, example.line, problem, kept, _row(example)))
        if not kept:
            counts.kept -= 1
            counts.labels.subtract(triple.relation for triple in example.triples)
            counts.rejected[problem] += 1
        return kept

    def finish(self, tokens: Path, texts: Path) -> Collected:
        """What was added; the flat files are mapped, not read."""
        if not self._labels:
            raise UserError("the corpus contains no usable sentence: run mere-ds inspect to see why")
        if len(self._labels) > np.iinfo(np.int16).max:
            raise UserError(f"the corpus has {len(self._labels)} labels: check that column {COLUMNS[3]!r} is the label")
        columns = {name: np.frombuffer(column, np.int32) for name, column in self._columns.items()}
        labels = sorted(self._labels)
        renumbered = np.argsort([self._labels[label] for label in labels])
        sentences = Sentences(
            np.memmap(tokens, np.int32, "r"),
            columns["lengths"],
            columns["languages"],
            renumbered[columns["labels"]],
            columns["positions"].reshape(-1, 4),
            columns["cuts"].reshape(-1, 4),
            columns["counts"],
        )
        text_ends = np.cumsum(columns["text_bytes"], dtype=np.int64)
        flags = columns["is_test"].astype(bool), columns["truncated"].astype(bool)
        inexact = (columns["exact"].reshape(-1, 2) == 0) & (sentences.positions[:, ::2] >= 0)
        unaligned = sentences.have(inexact.any(axis=1))
        is_kept = np.array(self._is_kept, bool)
        flat = np.memmap(texts, np.uint8, "r")
        return Collected(sentences, labels, *flags, unaligned, self.counts, is_kept, flat, text_ends)


def _record(example: Example) -> bytes:
    """`{"id", "text", "lang", "triples": [{"head", "relation", "tail"}]}`; json.dumps would take four times as long."""
    triples = ", ".join(
        f'{{"head": {[*head]}, "relation": {_quoted(relation)}, "tail": {[*tail]}}}'
        for head, relation, tail in example.triples
    )
    return (
        f'{{"id": {_quoted(example.id)}, "text": {_quoted(example.text)}, "lang": {_quoted(example.language)}, '
        f'"triples": [{triples}]}}'
    ).encode()


def _row(example: Example) -> str:
    """An example with one triple as a TSV row."""
    text, [(head, relation, tail)] = example.text, example.triples
    names = {"e1": head, "e2": tail}
    for name, (start, end) in sorted(names.items(), key=lambda item: item[1], reverse=True):
        text = f"{text[:start]}<{name}>{text[start:end]}</{name}>{text[end:]}"
    entities = [example.text[slice(*span)] for span in names.values()]
    return "\t".join([example.id, *entities, relation, text, example.language])
