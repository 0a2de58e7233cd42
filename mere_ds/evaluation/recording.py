"""Converts batches with their predictions into the records that `predictions` writes, in row order.

Shape suffixes: B sentences, 4 positions, 2 entities.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from mere_ds.corpus.example import Span
from mere_ds.corpus.graphemes import trim
from mere_ds.errors import UserError
from mere_ds.evaluation.metrics import right_metrics
from mere_ds.model.triple import MereOutput
from mere_ds.shards.batch import Batch
from mere_ds.shards.encoding import Encoded, SentenceEncoder
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.reading import TextReader

_CHUNK = 1024  # sentences whose texts are in memory at a time

NOT_READ = "rejected when the shards were made; their rejects.jsonl says why"


class Recorder:
    """Collects a split's answers (about 60 bytes per sentence), then looks up their texts, one shard at a time."""

    def __init__(self, manifest: Manifest, split: str, tokenizer: PreTrainedTokenizerFast):
        self._manifest, self._split = manifest, split
        self._encoder = SentenceEncoder(tokenizer, manifest.languages, manifest.max_length)
        self._parts: list[tuple[np.ndarray, ...]] = []

    def add(self, batch: Batch, output: MereOutput) -> None:
        """Add a batch's answers, without padding rows."""
        real_B = batch.weights_B > 0
        # a truncated gold span (-1) is never right
        same_B4 = (output.positions_F4 == batch.positions_T4) & (batch.positions_T4 >= 0)
        columns = (
            batch.rows_B,
            output.relation_F,
            output.positions_F4,
            output.cuts_F4,
            output.relation_probability_F,
            output.score_F,
            same_B4.unflatten(1, (2, 2)).all(2),
        )
        self._parts.append(tuple(_rows_of(column, real_B) for column in columns))

    def records(self) -> Iterator[dict]:
        """`answers`, then a record for each test sentence that was rejected when the shards were made."""
        yield from self.answers()
        for language, times in (self._manifest.missed_test if self._split == "test" else {}).items():
            for _ in range(times):
                nothing: dict[str, Any] = {"text": None, "gold": None, "predicted": None, "right": []}
                yield {"lang": language, **nothing, "reason": NOT_READ}

    def answers(self) -> Iterator[dict]:
        """A record for each added sentence, in row order. Raises UserError if the shards were tokenised differently."""
        if not self._parts:
            return
        rows, *columns = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.argsort(rows)
        lengths = self._manifest.lengths(self._split)
        texts = TextReader(self._manifest, self._split, keep=1)
        for start in range(0, len(order), _CHUNK):
            chosen = order[start : start + _CHUNK]
            sentences = texts.texts_of(rows[chosen])
            encoded = self._encoder.encode_texts([s["text"] for s in sentences], [s["lang"] for s in sentences])
            if [len(tokens.ids) for tokens in encoded] != lengths[rows[chosen]].tolist():
                raise UserError(
                    "the shards' texts and tokens don't match, as an older version made them without normalising texts "
                    "to Unicode NFC: make them again with mere-ds shard"
                )
            answers = zip(*(column[chosen].tolist() for column in columns), strict=True)
            for sentence, tokens, answer in zip(sentences, encoded, answers, strict=True):
                yield self._record(sentence, tokens, *answer)

    def _record(
        self,
        sentence: dict,
        tokens: Encoded,
        relation: int,
        positions: list[int],
        cuts: list[int],
        probability: float,
        score: float,
        right_tokens: list[bool],
    ) -> dict:
        text, label = sentence["text"], self._manifest.labels[relation]
        head, tail = (_span(text, tokens, positions[own], cuts[own]) for own in (slice(2), slice(2, 4)))
        [triple] = sentence["triples"]
        gold = {name: triple[name] for name in ("relation", "head", "tail")}
        right_characters = [span == trim(text, tuple(gold[side])) for side, span in (("head", head), ("tail", tail))]
        return {
            **{name: sentence[name] for name in ("id", "lang", "text")},
            "gold": gold,
            "predicted": {
                "relation": label,
                "probability": round(probability, 6),
                "head": head and list(head),
                "tail": tail and list(tail),
                "score": round(score, 6),
            },
            "right": right_metrics(label == gold["relation"], right_tokens, right_characters),
        }


def _rows_of(column: torch.Tensor | None, real_B: torch.Tensor) -> np.ndarray:
    assert column is not None  # an answer has all columns
    return column[real_B].cpu().numpy()


def _span(text: str, tokens: Encoded, positions: list[int], cuts: list[int]) -> Span | None:
    """The characters of an entity; None if the model found none."""
    first, last = positions
    return tokens.characters(text, first, last, cuts) if min(first, last) >= 0 else None
