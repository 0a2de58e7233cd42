"""The first pass over a corpus: read and tokenise all sentences and store them for access in any order.

Token ids and texts go to flat files on disk; about 60 bytes per sentence stay in memory.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from json.encoder import encode_basestring as _quoted
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from mere_ds.corpus.example import Example
from mere_ds.corpus.folder import Corpus
from mere_ds.corpus.labels import LOSSES
from mere_ds.corpus.reading import TsvFile
from mere_ds.corpus.repeats import ReadRows
from mere_ds.corpus.rows import SPLITS, FileCounts, Reject, Tally
from mere_ds.errors import UserError
from mere_ds.shards.encoding import EncodedExample, SentenceEncoder
from mere_ds.shards.entries import WINDOWS
from mere_ds.shards.packing import Sentences
from mere_ds.shards.windows import training_windows

_BATCH = 2048  # sentences per tokeniser call
_BATCH_CHARACTERS = 1 << 22  # the same for sentences of 2,048 characters and more
# rejected rows of test that are not misses: they are no sentences, or the user doesn't want them
_NO_SENTENCES = ("empty_text", "empty_row", *LOSSES)


@dataclass
class Collected:
    """All sentences of a corpus, in file order. Tokens and texts are in files that must outlive this object."""

    sentences: Sentences
    labels: list[str]
    """All labels, sorted; `sentences.labels` are indices into it."""
    splits: np.ndarray
    """int32 [n]; of the file that a sentence came from, an index into `mere_ds.corpus.rows.SPLITS`."""
    truncated: np.ndarray
    """bool [n]; whether a sentence lost words to the maximum length."""
    unaligned: np.ndarray
    """bool [n]; whether the tokens of one of the sentence's entities cover other characters than the entity's."""
    counts: list[FileCounts]
    rows: np.ndarray
    """int32 [n], ascending; the row that a sentence came from, counted from 0; windows of a sentence have the same."""
    rows_read: int
    windows: dict[str, Counter]
    """By language: "sentences" that became several, how many "windows", and "repeated_triples", how many triples that
    are in more than one window were added so."""
    _texts: np.ndarray
    _text_ends: np.ndarray

    def is_of(self, split: str) -> np.ndarray:
        """bool [n]; whether a sentence came from a file of this split."""
        return self.splits == SPLITS.index(split)

    @property
    def missed_test(self) -> dict[str, int]:
        """By language, where that is known: test sentences that were rejected."""
        missed: Counter[str] = Counter()
        for file in self.counts:
            if file.split == "test" and file.language:
                missed[file.language] += sum(n for reason, n in file.rejected.items() if reason not in _NO_SENTENCES)
        return {language: n for language, n in missed.items() if n}

    def forget_other_labels(self, rows: np.ndarray) -> None:
        """Leaves out the labels that no sentence of `rows` has, and renumbers the others."""
        s = self.sentences
        has = np.bincount(s.labels[s.triples_of(rows)], minlength=len(self.labels)) > 0
        self.labels = [label for label, there in zip(self.labels, has, strict=True) if there]
        self.sentences = replace(s, labels=np.cumsum(has)[s.labels] - 1)

    def record(self, row: int) -> bytes:
        """`{"id", "text", "lang", "triples": [{"head", "relation", "tail"}]}` of a sentence as JSON in UTF-8."""
        start = self._text_ends[row - 1] if row else 0
        return self._texts[start : self._text_ends[row]].tobytes()


def collect(
    corpus: Corpus,
    encoder: SentenceEncoder,
    on_reject: Callable[[Reject], None],
    folder: Path,
    rows: ReadRows,
    divisible: np.ndarray | None = None,
) -> Collected:
    """Reads and tokenises the files; the flat files go to `folder`, which exists, the rows that are read into `rows`,
    unless these are there already.

    Where a span has no tokens, a sentence of a test or dev file is kept without that span. In a training file the
    triple is left out where sentences have many, else the sentence is rejected. The `divisible` rows (bool [n]; none
    by default), which are of training files with many triples, become several windows where they are too long, and
    triples in none of these are left out. All are shown to `on_reject`. Raises UserError if no sentence or no triple
    is left.
    """
    paths = folder / "tokens", folder / "texts"
    bar = tqdm(total=corpus.bytes, desc="tokenising", unit="B", unit_scale=True, disable=None)
    with bar, paths[0].open("wb") as tokens, paths[1].open("wb") as texts:
        collector = _Collector(corpus, encoder, on_reject, tokens, texts, divisible)
        remember = not len(rows)
        for file in corpus.files:
            tally, done = Tally(file), bar.n
            for batch in _batches(corpus.read(file, on_reject, tally)):
                if remember:
                    for example in batch:
                        rows.add(example, file.split)
                row = _row if isinstance(file, TsvFile) else _json_row
                collector.add(batch, file.split, tally, row)
                bar.update(done + tally.bytes - bar.n)
            collector.counts += tally.counts
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


class _Collector:
    def __init__(
        self,
        corpus: Corpus,
        encoder: SentenceEncoder,
        on_reject: Callable[[Reject], None],
        tokens: BinaryIO,
        texts: BinaryIO,
        divisible: np.ndarray | None,
    ):
        self.counts: list[FileCounts] = []
        self._encoder, self._on_reject, self._tokens, self._texts = encoder, on_reject, tokens, texts
        self._many = corpus.triples == "many"
        self._languages = {language: i for i, language in enumerate(corpus.languages)}
        self._labels: dict[str, int] = {}
        self._divisible = np.zeros(0, bool) if divisible is None else divisible
        self._rows_read = 0
        self._windows: dict[str, Counter] = {name: Counter() for name in WINDOWS}
        self._columns: dict[str, array] = defaultdict(lambda: array("i"))

    def add(self, batch: list[Example], split: str, tally: Tally, row: Callable[[Example], str]) -> None:
        """Tokenises a batch of one file and appends what is kept of it; `row` makes the row of an example again."""
        kept: list[tuple[Example, EncodedExample]] = []
        rows: list[int] = []
        for number, pair in enumerate(zip(batch, self._encoder.encode_examples(batch), strict=True), self._rows_read):
            example, encoded = pair
            if encoded.truncated and self._divisible[number : number + 1].any():
                found = self._divided(example, tally.of(example.language), row)
            elif encoded.is_whole:
                found = [pair]
            else:
                found = self._repaired(example, encoded, split, tally.of(example.language), row)
            kept += found
            rows += [number] * len(found)
        self._rows_read += len(batch)
        texts = [_record(example) for example, _ in kept]
        triples = [triple for _, encoded in kept for triple in encoded.triples]
        new: dict[str, Iterable[int]] = {
            "rows": rows,
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
            "split": [SPLITS.index(split)] * len(kept),
            "truncated": [encoded.truncated for _, encoded in kept],
            "text_bytes": map(len, texts),
        }
        for name, values in new.items():
            self._columns[name].extend(values)
        np.fromiter(chain.from_iterable(encoded.ids for _, encoded in kept), np.int32).tofile(self._tokens)
        self._texts.write(b"".join(texts))

    def _repaired(
        self,
        example: Example,
        encoded: EncodedExample,
        split: str,
        counts: FileCounts,
        row: Callable[[Example], str],
    ) -> list[tuple[Example, EncodedExample]]:
        """What is kept of a sentence with a span that has no tokens; what isn't is counted."""
        problems = {n: triple.problem for n, triple in enumerate(encoded.triples) if triple.problem}
        in_training = split == "train"
        self._report(example, problems, self._many or not in_training, row)
        if not in_training:
            return [(example, encoded)]
        if not self._many:
            counts.labels.subtract(relation for _, relation, _ in example.triples)
            counts.kept -= 1
            counts.rejected.update(problems.values())
            return []
        _leave_out(example, problems, counts)
        return [_without_problems(example, encoded)]

    def _divided(
        self, example: Example, counts: FileCounts, row: Callable[[Example], str]
    ) -> list[tuple[Example, EncodedExample]]:
        """The windows of a training sentence with many triples; triples that are in none of them are counted."""
        windows = training_windows(self._encoder, example)
        problems = dict.fromkeys(range(len(example.triples)), "between_windows")
        sound: Counter[int] = Counter()  # by triple: in how many windows it has tokens
        for window in windows:
            for number, triple in zip(window.numbers, window.encoded.triples, strict=True):
                if triple.problem:
                    problems[number] = triple.problem
                else:
                    sound[number] += 1
        problems = {number: problem for number, problem in problems.items() if not sound[number]}
        self._report(example, problems, True, row)
        _leave_out(example, problems, counts)
        for name, n in zip(WINDOWS, (1, len(windows), sound.total() - len(sound)), strict=True):
            self._windows[name][example.language] += n
        return [_without_problems(window.example, window.encoded) for window in windows]

    def _report(self, example: Example, problems: dict[int, str], kept: bool, row: Callable[[Example], str]) -> None:
        for problem in dict.fromkeys(problems.values()):
            self._on_reject(Reject(example.file, example.line, problem, kept, row(example)))

    def finish(self, tokens: Path, texts: Path) -> Collected:
        """What was added; the flat files are mapped, not read."""
        if not self._labels:
            what = "triple" if self._columns["rows"] else "usable sentence"
            raise UserError(f"the corpus contains no {what}: run mere-ds inspect to see why")
        if len(self._labels) > np.iinfo(np.int16).max:
            raise UserError(f"the corpus has {len(self._labels)} labels: check that these are labels and no texts")
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
        truncated = columns["truncated"].astype(bool)
        inexact = (columns["exact"].reshape(-1, 2) == 0) & (sentences.positions[:, ::2] >= 0)
        unaligned = sentences.have(inexact.any(axis=1))
        flat = np.memmap(texts, np.uint8, "r")
        return Collected(
            sentences,
            labels,
            columns["split"],
            truncated,
            unaligned,
            self.counts,
            columns["rows"],
            self._rows_read,
            self._windows,
            flat,
            text_ends,
        )


def _leave_out(example: Example, problems: dict[int, str], counts: FileCounts) -> None:
    """Counts triples as left out, given by number with the reason."""
    counts.labels.subtract(example.triples[number].relation for number in problems)
    counts.left_out.update(problems.values())


def _without_problems(example: Example, encoded: EncodedExample) -> tuple[Example, EncodedExample]:
    left = [pair for pair in zip(example.triples, encoded.triples, strict=True) if not pair[1].problem]
    triples = tuple(triple for triple, _ in left)
    return replace(example, triples=triples), encoded._replace(triples=[its for _, its in left])


def _record(example: Example) -> bytes:
    """`{"id", "text", "lang", "triples": [{"head", "relation", "tail"}]}`; json.dumps would take four times as long."""
    triples = [
        f'{{"head": [{a}, {b}], "relation": {_quoted(relation)}, "tail": [{c}, {d}]}}'
        for (a, b), relation, (c, d) in example.triples
    ]
    return (
        f'{{"id": {_quoted(example.id)}, "text": {_quoted(example.text)}, "lang": {_quoted(example.language)}, '
        f'"triples": [{", ".join(triples)}]}}'
    ).encode()


def _json_row(example: Example) -> str:
    """An example as a row of JSON lines."""
    return _record(example).decode()


def _row(example: Example) -> str:
    """An example with one triple as a TSV row."""
    text, [(head, relation, tail)] = example.text, example.triples
    names = {"e1": head, "e2": tail}
    for name, (start, end) in sorted(names.items(), key=lambda item: item[1], reverse=True):
        text = f"{text[:start]}<{name}>{text[start:end]}</{name}>{text[end:]}"
    entities = [example.text[slice(*span)] for span in names.values()]
    return "\t".join([example.id, *entities, relation, text, example.language])
