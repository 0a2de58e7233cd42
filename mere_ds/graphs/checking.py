"""Do the graphs compute what the model does? Asked of every export before its folder is finished."""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from mere_ds.backends.stated import Backend, Prediction
from mere_ds.backends.with_onnx import OnnxBackend
from mere_ds.backends.with_torch import TorchBackend
from mere_ds.encoders.tokenizer_files import read_tokenizer
from mere_ds.errors import UserError
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.parts import MereParts
from mere_ds.shards.encoding import SentenceEncoder

TOLERANCE = 1e-4
"""Most by which a score in fp32 may differ from torch's."""
_TEXTS = (
    "Anna Berg wurde in Köln geboren.",
    "The novel Night Train was written by Louis Amari in 1987, and filmed in Lisbon.",
    "Le roi a fondé la ville.",
    "홍길동은 서울에서 태어났다.",
    "Иван Петров родился в Москве и живёт в Праге.",
    "ولد أحمد في القاهرة",
    "山田太郎は東京で生まれた。",
    "x",
)
_LENGTHS = ((4,), (5, 33, 4, 12), (17,) * 3)
"""Tokens of the sentences of random batches; one more sentence has as many as the model takes."""


@dataclass(frozen=True)
class Agreement:
    """How the graphs' results compare with torch's."""

    sentences: int
    difference: float
    """The largest between scores, the n-th best of a sentence here with the n-th best there."""
    kept: float
    """Share of torch's best triples, one a sentence, that are the graphs' best ones too."""


def check_graphs(model: MereParts | HerbertaModel, folder: Path, precision: str) -> Agreement:
    """Compare the graphs in a folder, beside config.json and the tokenizer, with the model that they were made of: on
    texts of several languages and on random tokens, one sentence at a time and several.

    Raises UserError if scores aren't finite, or in fp32 differ by more than `TOLERANCE`.
    """
    ours, theirs = OnnxBackend.of_graphs(folder, threads=1), TorchBackend(model)
    least = getattr(model.config, "least_score", 0.0)
    differences, kept = [], []
    for batch in _batches(model, folder):
        here, there = _by_sentence(ours, batch), _by_sentence(theirs, batch)
        for a, b in zip(here, there, strict=True):
            differences.append(_difference(a, b, least))
            if b:
                kept.append(bool(a) and a[0][1] == b[0][1])
    worst = max(differences)
    if not worst < (TOLERANCE if precision == "fp32" else np.inf):
        raise UserError(
            f"the ONNX graph of this model gives other scores than torch (by up to {worst:.2g}): export it without "
            f"--to=onnx{'' if precision == 'fp32' else ', or without --int8'}"
        )
    return Agreement(len(differences), worst, sum(kept) / max(len(kept), 1))


def _batches(model: MereParts | HerbertaModel, folder: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    c, words = model.config, model.config.encoder_config["vocab_size"]
    encoder = SentenceEncoder(read_tokenizer(folder), c.languages, c.max_length)
    random = np.random.default_rng(0)
    texts = _TEXTS * -(-len(c.languages) // len(_TEXTS))  # each language at least once
    languages = [c.languages[i % len(c.languages)] for i in range(len(texts))]
    read = [encoded.ids for encoded in encoder.encode_texts(texts, languages)]
    batches = [(read, [c.languages.index(language) for language in languages])]
    (frame,) = encoder.encode_texts(["x"], c.languages[:1])
    for lengths in (*_LENGTHS, (c.max_length,)):
        sentences, numbers = [], random.integers(len(c.languages), size=len(lengths)).tolist()
        for length, number in zip(lengths, numbers, strict=True):
            ids = random.integers(words, size=min(length, c.max_length))
            ids[[0, 1, -1]] = frame.ids[0], c.language_token_ids[number], frame.ids[-1]
            sentences.append(ids)
        batches.append((sentences, numbers))
    return [(*encoder.padded(sentences), np.array(numbers)) for sentences, numbers in batches]


def _by_sentence(backend: Backend, batch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> list[list[tuple]]:
    """Each sentence's triples, (score, what it is), the highest score first."""
    found: Prediction = backend.predict(*batch)
    sentences: list[list[tuple]] = [[] for _ in batch[0]]
    for sentence, relation, positions, score in zip(
        found.sentence_F, found.relation_F, found.positions_F4, found.score_F, strict=True
    ):
        sentences[sentence].append((float(score), (int(relation), *positions.tolist())))
    return [sorted(its, key=lambda triple: -triple[0]) for its in sentences]


def _difference(a: list[tuple], b: list[tuple], least: float) -> float:
    """The largest of the n-th best scores; what only one side found counts as if the other had just not found it."""
    pairs = zip_longest((score for score, _ in a), (score for score, _ in b), fillvalue=least)
    return max((abs(x - y) for x, y in pairs), default=0.0)
