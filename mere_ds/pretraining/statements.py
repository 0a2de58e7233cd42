"""Marked sentences of a corpus -> relation statements: word pieces, the two entities' positions and identities.

A relation statement (Baldini Soares et al., ACL 2019) is a sentence with two marked entities.
"""

import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from mere_ds.corpus.example import Example, Span
from mere_ds.corpus.folder import is_json_lines
from mere_ds.corpus.graphemes import compose
from mere_ds.corpus.languages import shared_id
from mere_ds.corpus.reading import TsvFile, read_file, split_files
from mere_ds.corpus.rows import FileCounts
from mere_ds.errors import UserError

FRAME = 6
"""Number of tokens of a sequence that aren't words: `[CLS]`, `[SEP]` and the four marks."""

NOTES = {
    "rejected": "rows that the reader rejected; mere-ds inspect shows why",
    "repeated": "rows skipped as duplicates: the same sentence with the same marks came before",
    "shortened": "sentences truncated to --max_length",
    "unmarked": "sentences used for masked words only: an entity lies beyond --max_length, has no word piece, or "
    "shares one with the other entity",
}
"""What happened to rows that are not used unchanged."""

_BATCH = 2048  # sentences tokenised at a time


@dataclass(frozen=True)
class Statements:
    """All n sentences of a corpus' training files."""

    pieces: np.ndarray
    """int32 [sum of lengths]; token ids of all words, one sentence after the other."""
    ends: np.ndarray
    """int64 [n + 1]; sentence i is `pieces[ends[i] : ends[i + 1]]`."""
    spans: np.ndarray
    """int32 [n, 4]; head's start and end, tail's start and end in the sentence's pieces, half-open; -1 if unmarked."""
    languages: np.ndarray
    """int32 [n]; indices into `codes`."""
    codes: list[str]
    entities: np.ndarray
    """int64 [n, 2]; ids of head and tail, equal if the surface strings are (NFKC, case folded)."""
    groups: np.ndarray
    """int64 [n]; equal if the pair (head, tail) is the same."""
    notes: Counter
    """Number of rows for each reason of `NOTES`."""

    def __len__(self) -> int:
        return len(self.ends) - 1

    @property
    def marked(self) -> np.ndarray:
        """bool [n]"""
        return self.spans[:, 0] >= 0

    def words(self, row: int) -> list[int]:
        """A sentence's token ids, without special tokens."""
        return self.pieces[self.ends[row] : self.ends[row + 1]].tolist()


def train_files(tsv_dir: str | Path, languages: str | Sequence[str], english: str) -> list[TsvFile]:
    """The corpus' training files only: test sentences must stay unseen. Raises UserError if there are none."""
    if is_json_lines(tsv_dir):
        raise UserError(f"{tsv_dir}: contains JSON lines, but pretraining reads *_corpora_train.tsv files: pass those")
    files = [file for file in split_files(tsv_dir, languages, english) if file.split == "train"]
    if not files:
        raise UserError(f"{tsv_dir}: contains no training files (*_corpora_train.tsv); test files are not used")
    return files


def read_statements(
    files: list[TsvFile], tokenizer: PreTrainedTokenizerFast, max_length: int, cut_marks: str, parallel_ids: bool
) -> Statements:
    """Read and tokenise the files.

    `max_length` limits a sentence's tokens, including special tokens and marks. With `parallel_ids`, rows with the same
    id (ignoring a language code in front, as in `de-12`) are translations of one sentence: they have the same entity
    pair, whatever the entities are called in each language.
    """
    codes = list(dict.fromkeys(file.language for file in files))
    reader = _Reader(codes, tokenizer, max_length - FRAME, parallel_ids)
    total = sum(file.path.stat().st_size for file in files)
    with tqdm(total=total, desc="reading", unit="B", unit_scale=True, disable=None) as bar:
        for file in files:
            counts, done = FileCounts.of(file), bar.n
            examples = read_file(file.path, cut_marks, counts=counts)
            while batch := list(islice(examples, _BATCH)):
                reader.add(batch)
                bar.update(done + counts.bytes - bar.n)
            reader.notes["rejected"] += sum(counts.rejected.values())
    return reader.finish()


def entity_key(text: str) -> str:
    """A key that is equal for two names that differ only in compatibility forms, case or white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def merge_groups(first: Sequence[int], second: Sequence[int]) -> np.ndarray:
    """int64 [n]: equal for rows linked by equal values in either sequence, directly or through other rows."""
    parents: dict[tuple[int, int], tuple[int, int]] = {}

    def root(node: tuple[int, int]) -> tuple[int, int]:
        while (parent := parents.setdefault(node, node)) != node:
            parents[node] = parents[parent]
            node = parent
        return node

    for a, b in zip(first, second, strict=True):
        parents[root((0, a))] = root((1, b))
    numbers: dict[tuple[int, int], int] = {}
    return np.array([numbers.setdefault(root((0, a)), len(numbers)) for a in first], np.int64)


class _Reader:
    def __init__(self, codes: list[str], tokenizer: PreTrainedTokenizerFast, room: int, parallel_ids: bool):
        self.notes: Counter = Counter({reason: 0 for reason in NOTES})
        self._codes, self._backend, self._room, self._parallel_ids = (
            codes,
            tokenizer.backend_tokenizer,
            room,
            parallel_ids,
        )
        self._seen: set[int] = set()
        self._numbers: dict[object, int] = {}  # of entities, pairs and ids
        self._pieces, self._lengths, self._spans = array("i"), array("q", [0]), array("i")
        self._languages, self._entities = array("i"), array("q")
        self._pairs, self._ids = array("q"), array("q")

    def add(self, batch: list[Example]) -> None:
        new = [example for example in batch if self._is_new(example)]
        texts = [compose(example.text) for example in new]
        encodings = self._backend.encode_batch([text for text, _ in texts], add_special_tokens=False)
        for example, (_, alignment), encoding in zip(new, texts, encodings, strict=True):
            ids = encoding.ids[: self._room]
            [(head, _, tail)] = example.triples
            spans = _spans(encoding.offsets, *map(alignment.to_composed, (head, tail)))
            if spans and max(spans) > self._room:
                spans = None
            self.notes["shortened"] += len(encoding.ids) > self._room
            self.notes["unmarked"] += spans is None
            self._pieces.extend(ids)
            self._lengths.append(len(ids))
            self._spans.extend(spans or (-1,) * 4)
            self._languages.append(self._codes.index(example.language))
            names = [entity_key(example.text[slice(*span)]) for span in (head, tail)]
            entities = [self._number(name) for name in names]
            self._entities.extend(entities)
            self._pairs.append(self._number(tuple(entities)))
            self._ids.append(self._number(("id", shared_id(example.id, example.language))))

    def _is_new(self, example: Example) -> bool:
        """Whether this sentence with these marks is new: a pair of duplicates would teach nothing."""
        [(head, _, tail)] = example.triples
        key = hash((example.language, example.text, head, tail))
        self.notes["repeated"] += key in self._seen
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new

    def _number(self, key: object) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def finish(self) -> Statements:
        if not self._pairs:
            raise UserError("no sentence of the training files could be used: run mere-ds inspect to see why")
        pairs = np.frombuffer(self._pairs, np.int64)
        return Statements(
            pieces=np.frombuffer(self._pieces, np.int32),
            ends=np.cumsum(np.frombuffer(self._lengths, np.int64)),
            spans=np.frombuffer(self._spans, np.int32).reshape(-1, 4),
            languages=np.frombuffer(self._languages, np.int32),
            codes=self._codes,
            entities=np.frombuffer(self._entities, np.int64).reshape(-1, 2),
            groups=merge_groups(self._pairs, self._ids) if self._parallel_ids else pairs,
            notes=self.notes,
        )


def _spans(offsets: list[Span], head: Span, tail: Span) -> tuple[int, int, int, int] | None:
    """Both entities' positions in pieces, half-open; None if one has no piece or they share one."""
    places = []
    for start, end in (head, tail):
        inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        if not inside:
            return None
        places.append((inside[0], inside[-1] + 1))
    first, second = sorted(places)
    return (*places[0], *places[1]) if first[1] <= second[0] else None
