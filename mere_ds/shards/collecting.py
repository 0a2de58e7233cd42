"""The first pass over a corpus: read and tokenise all sentences and store them for access in any order.

Token ids and texts go to flat files on disk; about 60 bytes per sentence stay in memory. Of a part of the corpus only
its units are tokenised, each some thousand sentences of a file; all rows are read and counted.
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
from mere_ds.parts import WHOLE, Part
from mere_ds.shards.encoding import EncodedExample, SentenceEncoder
from mere_ds.shards.entries import WINDOWS
from mere_ds.shards.packing import Sentences
from mere_ds.shards.windows import training_windows

TOKENS, TEXTS = "tokens", "texts"
"""The flat files."""
OF_TRIPLES = {"labels": 1, "positions": 4, "exact": 2, "cuts": 4}
"""How many numbers of a triple there are in a column of triples; the others have one of each sentence."""

_COLUMNS = ("rows", "lengths", "languages", "counts", "split", "truncated", "text_bytes", *OF_TRIPLES)
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


@dataclass
class Gathered:
    """What was kept of a corpus, or of some of its units, in the order of the files."""

    columns: dict[str, np.ndarray]
    """int32; of each sentence or, see `OF_TRIPLES`, of each triple. "labels" are indices into `labels`."""
    labels: list[str]
    counts: list[FileCounts]
    """What was read of all files."""
    changes: list[FileCounts]
    """What tokenising takes off each of these or adds to them."""
    rows_read: int
    windows: dict[str, Counter]
    units: int
    """Of the whole corpus."""
    sizes: np.ndarray
    """int64 [units that are here, 3]; the number of each, ascending, its sentences and its lines of rejects."""

    def collected(self, folder: Path) -> Collected:
        """All sentences; the flat files, which are in `folder`, are mapped, not read. Raises UserError if no sentence
        or no triple is left."""
        columns = self.columns
        if not self.labels:
            what = "triple" if len(columns["rows"]) else "usable sentence"
            raise UserError(f"the corpus contains no {what}: run mere-ds inspect to see why")
        if len(self.labels) > np.iinfo(np.int16).max:
            raise UserError(f"the corpus has {len(self.labels)} labels: check that these are labels and no texts")
        labels = sorted(self.labels)
        place = {label: i for i, label in enumerate(labels)}
        sentences = Sentences(
            np.memmap(folder / TOKENS, np.int32, "r"),
            columns["lengths"],
            columns["languages"],
            np.array([place[label] for label in self.labels])[columns["labels"]],
            columns["positions"].reshape(-1, 4),
            columns["cuts"].reshape(-1, 4),
            columns["counts"],
        )
        inexact = (columns["exact"].reshape(-1, 2) == 0) & (sentences.positions[:, ::2] >= 0)
        return Collected(
            sentences,
            labels,
            columns["split"],
            columns["truncated"].astype(bool),
            sentences.have(inexact.any(axis=1)),
            list(map(FileCounts.sum, self.counts, self.changes)),
            columns["rows"],
            self.rows_read,
            self.windows,
            np.memmap(folder / TEXTS, np.uint8, "r"),
            np.cumsum(columns["text_bytes"], dtype=np.int64),
        )


def collect(
    corpus: Corpus,
    encoder: SentenceEncoder,
    on_reject: Callable[[Reject], None],
    folder: Path,
    rows: ReadRows,
    divisible: np.ndarray | None = None,
    part: Part = WHOLE,
) -> Gathered:
    """Reads the files and tokenises those units that are of `part`; the flat files go to `folder`, which exists, the
    rows that are read into `rows`, unless these are there already.

    Where a span has no tokens, a sentence of a test or dev file is kept without that span. In a training file the
    triple is left out where sentences have many, else the sentence is rejected. The `divisible` rows (bool [n]; none
    by default), which are of training files with many triples, become several windows where they are too long, and
    triples in none of these are left out. All are shown to `on_reject`, as are the rows of these units that the reader
    repairs or rejects.
    """
    bar = tqdm(total=corpus.bytes, desc="tokenising", unit="B", unit_scale=True, disable=None)
    with bar, (folder / TOKENS).open("wb") as tokens, (folder / TEXTS).open("wb") as texts:
        collector = _Collector(corpus, encoder, on_reject, tokens, texts, divisible, part)
        remember = not len(rows)
        for file in corpus.files:
            tally, changes, done = Tally(file), Tally(file), bar.n
            row = _row if isinstance(file, TsvFile) else _json_row
            for batch in _batches(corpus.read(file, collector.show, tally)):
                if remember:
                    for example in batch:
                        rows.add(example, file.split)
                collector.take(batch, file.split, changes, row)
                bar.update(done + tally.bytes - bar.n)
            collector.count(tally, changes)
    return collector.gathered()


def _batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Lists of sentences to tokenise at once, limited in characters to bound memory; the last one may be empty, and
    what the reader rejects after the list before is of its unit."""
    batch: list[Example] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += len(example.text)
        if len(batch) == _BATCH or characters > _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
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
        part: Part,
    ):
        self._counts: list[FileCounts] = []
        self._changes: list[FileCounts] = []
        self._part, self._unit = part, 0
        self._sizes, self._rejects = array("q"), 0
        self._encoder, self._on_reject, self._tokens, self._texts = encoder, on_reject, tokens, texts
        self._many = corpus.triples == "many"
        self._languages = {language: i for i, language in enumerate(corpus.languages)}
        self._labels: dict[str, int] = {}
        self._divisible = np.zeros(0, bool) if divisible is None else divisible
        self._rows_read = 0
        self._windows: dict[str, Counter] = {name: Counter() for name in WINDOWS}
        self._columns: dict[str, array] = defaultdict(lambda: array("i"))

    @property
    def _is_ours(self) -> bool:
        """Whether the unit that is read is of the part. By rows, for units may be small where files are: so all parts
        get as many sentences."""
        return self._part.has(self._rows_read // _BATCH)

    def show(self, reject: Reject) -> None:
        """A row of the unit that is read."""
        if self._is_ours:
            self._rejects += 1
            self._on_reject(reject)

    def take(self, batch: list[Example], split: str, changes: Tally, row: Callable[[Example], str]) -> None:
        """The sentences of the unit that is read, which ends with them; `row` makes the row of an example again."""
        if self._is_ours:
            self._sizes.extend((self._unit, self._add(batch, split, changes, row), self._rejects))
            self._rejects = 0
        self._rows_read += len(batch)
        self._unit += 1

    def count(self, tally: Tally, changes: Tally) -> None:
        """What was read of a file, and what tokenising has changed in that."""
        counts = tally.counts
        self._counts += counts
        self._changes += [changes.of(its.language) for its in counts]

    def _add(self, batch: list[Example], split: str, changes: Tally, row: Callable[[Example], str]) -> int:
        """Tokenises a batch of one file and appends what is kept of it; how many sentences that are."""
        kept: list[tuple[Example, EncodedExample]] = []
        rows: list[int] = []
        for number, pair in enumerate(zip(batch, self._encoder.encode_examples(batch), strict=True), self._rows_read):
            example, encoded = pair
            if encoded.truncated and self._divisible[number : number + 1].any():
                found = self._divided(example, changes.of(example.language), row)
            elif encoded.is_whole:
                found = [pair]
            else:
                found = self._repaired(example, encoded, split, changes.of(example.language), row)
            kept += found
            rows += [number] * len(found)
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
        return len(kept)

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
            self.show(Reject(example.file, example.line, problem, kept, row(example)))

    def gathered(self) -> Gathered:
        """What was taken."""
        return Gathered(
            {name: np.frombuffer(self._columns[name], np.int32) for name in _COLUMNS},
            list(self._labels),
            self._counts,
            self._changes,
            self._rows_read,
            self._windows,
            self._unit,
            np.frombuffer(self._sizes, np.int64).reshape(-1, 3),
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
