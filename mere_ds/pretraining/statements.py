"""Sentences of a corpus -> relation statements: word pieces, the two entities' positions and identities.

A relation statement (Baldini Soares et al., ACL 2019) is a sentence with two marked entities: one for each of its
triples. A sentence without triples is one without marks.
"""

import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from mere_ds.corpus.example import Example, Span, Triple
from mere_ds.corpus.folder import Corpus, open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.graphemes import compose
from mere_ds.corpus.languages import shared_id
from mere_ds.corpus.rows import Tally
from mere_ds.errors import UserError

FRAME = 6
"""Number of tokens of a sequence that aren't words: `[CLS]`, `[SEP]` and the four marks."""

NOTES = {
    "rejected": "rows that the reader rejected; mere-ds inspect shows why",
    "left_out": "triples that the reader left out; mere-ds inspect shows why",
    "repeated": "rows skipped as duplicates: the same sentence with the same marks came before",
    "shortened": "sentences truncated to --max_length",
    "unmarked": "sentences used for masked words only: there is no triple, or an entity lies beyond --max_length, has "
    "no word piece, or shares one with the other entity",
}
"""What happened to rows that are not used unchanged; a sentence counts once for each of its triples."""

_BATCH = 2048  # sentences tokenised at a time


@dataclass(frozen=True)
class Statements:
    """All n statements of a corpus' training files."""

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


def train_corpus(
    source: str | Path,
    languages: str | Sequence[str] = "all",
    english: str = "auto",
    cut_marks: str = "repair",
    options: SourceOptions = SourceOptions(),  # noqa: B008 (frozen)
) -> Corpus:
    """The corpus with its training files alone: dev and test sentences must stay unseen. The arguments are those of
    `open_corpus`. Raises UserError if there are none."""
    corpus = open_corpus(source, languages, english, cut_marks, options=options)
    files = [file for file in corpus.files if file.split == "train"]
    if not files:
        raise UserError(f"{source}: contains no training files, such as *_corpora_train.tsv; test files are not used")
    there = {file.language for file in files}  # "" where rows say it
    chosen = corpus.chosen and [code for code in corpus.chosen if there & {code, ""}]
    return replace(corpus, files=files, chosen=chosen)


def read_statements(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast, max_length: int, parallel_ids: bool
) -> Statements:
    """Read and tokenise the corpus' files.

    `max_length` limits a sentence's tokens, including special tokens and marks. With `parallel_ids`, rows with the same
    id (ignoring a language code in front, as in `de-12`) are translations of one sentence: they have the same entity
    pair, whatever the entities are called in each language. Where sentences have any number of triples, translations
    share the pair of a relation that each of them has once.
    """
    reader = _Reader(corpus, tokenizer, max_length - FRAME, parallel_ids)
    with tqdm(total=corpus.bytes, desc="reading", unit="B", unit_scale=True, disable=None) as bar:
        for file in corpus.files:
            tally, done = Tally(file), bar.n
            examples = corpus.read(file, tally=tally)
            while batch := list(islice(examples, _BATCH)):
                reader.add(batch)
                bar.update(done + tally.bytes - bar.n)
            reader.notes["rejected"] += sum(counts.rejected.total() for counts in tally.counts)
            reader.notes["left_out"] += sum(counts.left_out.total() for counts in tally.counts)
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
    def __init__(self, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, room: int, parallel_ids: bool):
        self.notes: Counter = Counter({reason: 0 for reason in NOTES})
        self._codes, self._has_one = corpus.languages, corpus.triples == "one"
        self._backend, self._room, self._parallel_ids = tokenizer.backend_tokenizer, room, parallel_ids
        self._seen: set[int] = set()
        self._numbers: dict[object, int] = {}  # of entities, pairs and ids
        self._pieces, self._lengths, self._spans = array("i"), array("q", [0]), array("i")
        self._languages, self._entities = array("i"), array("q")
        self._pairs, self._ids = array("q"), array("q")

    def add(self, batch: list[Example]) -> None:
        new = [(example, marked) for example in batch if (marked := self._new_of(example))]
        texts = [compose(example.text) for example, _ in new]
        encodings = self._backend.encode_batch([text for text, _ in texts], add_special_tokens=False)
        for (example, marked), (_, alignment), encoding in zip(new, texts, encodings, strict=True):
            for triple in marked:
                spans = None
                if triple:
                    spans = _spans(encoding.offsets, *map(alignment.to_composed, (triple.head, triple.tail)))
                self._add(example, triple, encoding.ids, spans)

    def _add(self, example: Example, triple: Triple | None, ids: list[int], spans: Sequence[int] | None) -> None:
        """A statement; without a triple, one that is for masked words alone."""
        if spans and max(spans) > self._room:
            spans = None
        self.notes["shortened"] += len(ids) > self._room
        self.notes["unmarked"] += spans is None
        self._pieces.extend(ids[: self._room])
        self._lengths.append(len(ids[: self._room]))
        self._spans.extend(spans or (-1,) * 4)
        self._languages.append(self._codes.index(example.language))
        names = (
            [entity_key(example.text[slice(*span)]) for span in (triple.head, triple.tail)] if triple else [None] * 2
        )
        entities = [self._number(name) for name in names]
        self._entities.extend(entities)
        self._pairs.append(self._number(tuple(entities)))
        self._ids.append(self._number(self._shared(example, triple)))

    def _shared(self, example: Example, triple: Triple | None) -> object:
        """What the statement has in common with its translations."""
        own = shared_id(example.id, example.language)
        if self._has_one:
            return "id", own
        relation = triple.relation if triple else ""
        is_alone = sum(other.relation == relation for other in example.triples) == 1
        return ("id", own, relation) if is_alone else ("row", len(self._ids))

    def _new_of(self, example: Example) -> list[Triple | None]:
        """Its triples whose entities are not marked in the same sentence before: a pair of duplicates would teach
        nothing. None stands for the sentence where it has none."""
        found: list[Triple | None] = []
        for triple in example.triples or [None]:
            marks = (triple.head, triple.tail) if triple else (None, None)
            key = hash((example.language, example.text, *marks))
            self.notes["repeated"] += key in self._seen
            if key not in self._seen:
                found.append(triple)
            self._seen.add(key)
        return found

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
