"""Converts batches with their predictions into the records that `predictions` writes, in row order.

Shape suffixes: B sentences, T gold triples of these, F triples found in them, 4 positions.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from mere_ds.corpus.example import Span
from mere_ds.corpus.graphemes import trim
from mere_ds.errors import UserError
from mere_ds.evaluation.calibration import Candidates
from mere_ds.evaluation.metrics import right_metrics
from mere_ds.evaluation.triple_sets import Named, right_counts, unequal
from mere_ds.model.calibration import Calibration
from mere_ds.model.parts import Predicted
from mere_ds.shards.batch import Batch
from mere_ds.shards.encoding import Encoded, FramingTokenizer, SentenceEncoder
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.reading import TextReader

if TYPE_CHECKING:  # it loads transformers
    from mere_ds.model.triple import MereOutput

_CHUNK = 1024  # sentences whose texts are in memory at a time

NOT_READ = "rejected when the shards were made; their rejects.jsonl says why"


class _Found(NamedTuple):
    """A triple as the model gave it."""

    label: int
    positions: list[int]
    cuts: list[int]
    probability: float
    score: float


class Recorder:
    """Collects a split's answers, some 80 bytes a triple, and then looks up their texts, a shard at a time.

    Where sentences have any number of triples, the answers are the candidates that are calibrated to `min_score` or
    more by `calibration`, which may be set after the last batch.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        tokenizer: FramingTokenizer,
        calibration: Calibration = Calibration(),  # noqa: B008  # frozen
    ):
        self._manifest, self._split, self.calibration = manifest, split, calibration
        self._encoder = SentenceEncoder(tokenizer, manifest.languages, manifest.max_length)
        self._rows: list[np.ndarray] = []
        self._gold: list[tuple[np.ndarray, ...]] = []
        self._found: list[tuple[np.ndarray, ...]] = []

    def add(self, batch: Batch, output: "Predicted | MereOutput") -> None:
        """Add a batch's answers, without padding rows."""
        assert output.sentence_F is not None  # an answer has all columns
        real_B = batch.weights_B > 0
        self._rows.append(_chosen(batch.rows_B, real_B))
        gold = (batch.rows_B[batch.sentence_T], batch.labels_T, batch.positions_T4)
        self._gold.append(tuple(_chosen(column, real_B[batch.sentence_T]) for column in gold))
        columns = (
            batch.rows_B[output.sentence_F],
            output.relation_F,
            output.positions_F4,
            output.cuts_F4,
            output.relation_probability_F,
            output.score_F,
        )
        self._found.append(tuple(_chosen(column, real_B[output.sentence_F]) for column in columns))

    def candidates(self) -> Candidates:
        """All triples found, whatever their score, and whether they are gold by tokens."""
        if not self._rows:
            return Candidates(np.empty(0), np.empty(0, bool), np.empty(0, int), 0)
        rows_T, labels_T, positions_T4 = _joined(self._gold)
        rows_F, labels_F, positions_F4, *_, scores_F = _joined(self._found)
        gold = set(_keys(rows_T, labels_T, positions_T4))
        right_F = [key in gold and min(key[2:]) >= 0 for key in _keys(rows_F, labels_F, positions_F4)]
        languages_F = self._manifest.language_ids(self._split)[rows_F].astype(int)
        return Candidates(scores_F.astype(float), np.array(right_F, bool), languages_F, len(rows_T))

    def records(self) -> Iterator[dict]:
        """`answers`, then a record for each test sentence that was rejected when the shards were made."""
        yield from self.answers()
        none: dict | list = {} if self._manifest.triples == "many" else []
        for language, times in (self._manifest.missed_test if self._split == "test" else {}).items():
            for _ in range(times):
                nothing: dict[str, Any] = {"text": None, "gold": None, "predicted": None, "right": none}
                yield {"lang": language, **nothing, "reason": NOT_READ}

    def answers(self) -> Iterator[dict]:
        """A record for each added sentence, in row order. Raises UserError if the shards were tokenised differently."""
        if not self._rows:
            return
        rows = np.sort(np.concatenate(self._rows))
        lengths = self._manifest.lengths(self._split)
        texts = TextReader(self._manifest, self._split, keep=1)
        rows_T, _, positions_T4 = _by_row(_joined(self._gold))
        rows_F, *found = self._answered()
        record = self._record_of_many if self._manifest.triples == "many" else self._record
        for start in range(0, len(rows), _CHUNK):
            chosen = rows[start : start + _CHUNK]
            sentences = texts.texts_of(chosen)
            encoded = self._encoder.encode_texts([s["text"] for s in sentences], [s["lang"] for s in sentences])
            if [len(tokens.ids) for tokens in encoded] != lengths[chosen].tolist():
                raise UserError(
                    "the shards' texts and tokens don't match, as an older version made them without normalising texts "
                    "to Unicode NFC: make them again with mere-ds shard"
                )
            gold = _grouped(chosen, rows_T, positions_T4)
            answers = zip(*(_grouped(chosen, rows_F, column) for column in found), strict=True)
            for sentence, tokens, positions, answer in zip(sentences, encoded, gold, answers, strict=True):
                yield record(sentence, tokens, positions, [_Found(*one) for one in zip(*answer, strict=True)])

    def _answered(self) -> list[np.ndarray]:
        """The columns of the triples found that are answers, by row, and there by score from the highest on."""
        rows_F, *columns, scores_F = _joined(self._found)
        if self._manifest.triples == "many":
            scores_F = scores_F.astype(float)
            numbers_F = self._manifest.language_ids(self._split)[rows_F]
            for n, language in enumerate(self._manifest.languages):
                scores_F[numbers_F == n] = self.calibration.calibrated(scores_F[numbers_F == n], language)
            kept_F = np.flatnonzero(scores_F >= self.calibration.min_score)
            kept_F = kept_F[np.argsort(-scores_F[kept_F], kind="stable")]
            rows_F, *columns, scores_F = (column[kept_F] for column in (rows_F, *columns, scores_F))
        return _by_row([rows_F, *columns, scores_F])

    def _record(self, sentence: dict, tokens: Encoded, gold_positions: list[list[int]], found: list[_Found]) -> dict:
        """Of a sentence that has one triple, and got one."""
        [answer], [positions], [triple] = found, gold_positions, sentence["triples"]
        text, label = sentence["text"], self._manifest.labels[answer.label]
        spans = [_span(text, tokens, answer.positions[own], answer.cuts[own]) for own in (slice(2), slice(2, 4))]
        head, tail = spans
        gold = {name: triple[name] for name in ("relation", "head", "tail")}
        # a gold span that was cut off (-1) is never right
        right_tokens = [
            min(positions[own]) >= 0 and positions[own] == answer.positions[own] for own in (slice(2), slice(2, 4))
        ]
        right_characters = [span == trim(text, tuple(gold[side])) for side, span in (("head", head), ("tail", tail))]
        return {
            **{name: sentence[name] for name in ("id", "lang", "text")},
            "gold": gold,
            "predicted": {
                "relation": label,
                "probability": round(answer.probability, 6),
                "head": head and list(head),
                "tail": tail and list(tail),
                "score": round(answer.score, 6),
            },
            "right": right_metrics(label == gold["relation"], right_tokens, right_characters),
        }

    def _record_of_many(
        self, sentence: dict, tokens: Encoded, gold_positions: list[list[int]], found: list[_Found]
    ) -> dict:
        """Of a sentence that has any number of triples, and got any number; equal ones are in it once."""
        text = sentence["text"]
        gold, predicted, scores = [], [], []
        for triple, positions in zip(sentence["triples"], gold_positions, strict=True):
            head, tail = (trim(text, tuple(triple[side])) for side in ("head", "tail"))
            gold.append(Named(triple["relation"], head, tail, *_in_tokens(positions)))
        for answer in found:
            its = [_span(text, tokens, answer.positions[own], answer.cuts[own]) for own in (slice(2), slice(2, 4))]
            if its[0] and its[1]:
                label = self._manifest.labels[answer.label]
                predicted.append(Named(label, its[0], its[1], *_in_tokens(answer.positions)))
                scores.append(round(answer.score, 6))
        kept = unequal(predicted)
        predicted, scores = [predicted[i] for i in kept], [scores[i] for i in kept]
        own = unequal(gold)
        return {
            **{name: sentence[name] for name in ("id", "lang", "text")},
            "gold": [{name: sentence["triples"][i][name] for name in ("relation", "head", "tail")} for i in own],
            "predicted": [
                {"relation": triple.relation, "head": list(triple.head), "tail": list(triple.tail), "score": score}
                for triple, score in zip(predicted, scores, strict=True)
            ],
            "right": right_counts([gold[i] for i in own], predicted),
        }


def _chosen(column: torch.Tensor | None, kept: torch.Tensor) -> np.ndarray:
    assert column is not None  # an answer has them all
    values = column[kept].cpu().numpy()
    return values.astype(np.int32) if values.ndim == 2 else values


def _joined(parts: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _by_row(columns: list[np.ndarray]) -> list[np.ndarray]:
    """Columns, of which the first are rows, in the order of these; what is of one row keeps its order."""
    order = np.argsort(columns[0], kind="stable")
    return [column[order] for column in columns]


def _grouped(chosen: np.ndarray, rows: np.ndarray, column: np.ndarray) -> list[list]:
    """For each of the `chosen` rows (ascending) what a column has of it, whose `rows` are ascending."""
    starts, ends = (np.searchsorted(rows, chosen, side=side).tolist() for side in ("left", "right"))
    return [column[start:end].tolist() for start, end in zip(starts, ends, strict=True)]


def _keys(rows: np.ndarray, labels: np.ndarray, positions: np.ndarray) -> Iterator[tuple[int, ...]]:
    """A triple's row, label and four positions, to compare by."""
    return map(tuple, np.column_stack((rows, labels, positions)).tolist())


def _in_tokens(positions: list[int]) -> tuple[Span | None, Span | None]:
    """First and last token of head and tail; None for one that has none."""
    spans = (positions[0], positions[1]), (positions[2], positions[3])
    head, tail = (span if min(span) >= 0 else None for span in spans)
    return head, tail


def _span(text: str, tokens: Encoded, positions: list[int], cuts: list[int]) -> Span | None:
    """The characters of an entity; None if the model found none."""
    first, last = positions
    return tokens.characters(text, first, last, cuts) if min(first, last) >= 0 else None
