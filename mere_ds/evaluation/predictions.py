"""A run's answers, one JSON object per sentence and line: all scores and figures are computed from these alone.

A line is `{"id", "lang", "text", "gold": {"relation", "head", "tail"}, "predicted": {"relation", "probability", "head",
"tail", "score"}, "right": [...]}`. Spans are half-open character offsets into the text; a predicted one is null if the
model gave none. "right" lists the `METRICS` that are right. A test sentence that could not be read has
`{"lang", "text": null, "gold": null, "predicted": null, "right": [], "reason"}`.

Where sentences have any number of triples, "gold" and "predicted" are lists of these, none of them twice:
`[{"relation", "head", "tail"}]`, the predicted ones with "score", the highest first. "right" is `{METRIC: n}` of all
`METRICS`; {} of a sentence that could not be read.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from mere_ds.errors import UserError
from mere_ds.evaluation.metrics import METRICS
from mere_ds.files import digest_of, json_line, parse_json


def evaluation_name(split: str, k: int | None) -> str:
    """The name of an evaluation's files without suffix: `test`, or `test-k2` if k is given."""
    return split if k is None else f"{split}-k{k}"


class PredictionsWriter:
    """Writes predictions into an open file, and computes the digests that verify them later."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self._lines = file, hashlib.sha256(), 0
        self._asked: dict[str, list[str]] = {}

    def through(self, records: Iterable[dict]) -> Iterator[dict]:
        """Write each record as a line and yield it. Raises UserError for numbers that aren't finite."""
        for record in records:
            try:
                line = json_line(record)
            except ValueError:
                raise UserError(
                    "the model's answers aren't finite numbers, as its weights aren't: train it again (--overwrite)"
                ) from None
            self._file.write(line)
            self._digest.update(line)
            self._lines += 1
            asked = json.dumps([record.get("id"), record["text"], record["gold"]], sort_keys=True)
            self._asked.setdefault(record["lang"], []).append(digest_of(asked.encode()))
            yield record

    def facts(self) -> dict:
        """`{"predictions": {"sha256", "lines"}, "sentences": {"de": {"count", "sha256"}}}`.

        The first is of the file itself; the second is of ids, texts and gold triples in any order, so that it is equal
        for runs that were scored on the same sentences.
        """
        return {
            "predictions": {"sha256": self._digest.hexdigest(), "lines": self._lines},
            "sentences": {
                language: {"count": len(asked), "sha256": digest_of("".join(sorted(asked)).encode())}
                for language, asked in self._asked.items()
            },
        }


def check_predictions(path: Path, proof: dict, advice: str) -> bytes:
    """The content of a file of predictions. Raises UserError with `advice` unless it matches `proof`, the entry
    "predictions" of the writer's facts."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: {advice}") from None
    if not content:
        raise UserError(f"{path}: empty: {advice}")
    lines, cut = content.count(b"\n"), "" if content.endswith(b"\n") else " and an incomplete one"
    if cut or lines != proof["lines"]:
        raise UserError(f"{path}: has {lines} lines{cut}, but the scores were made from {proof['lines']}: {advice}")
    if (now := digest_of(content)) != proof["sha256"]:
        then = f"sha256 was {proof['sha256'][:12]}..., is {now[:12]}..."
        raise UserError(f"{path}: changed since the scores were made from it ({then}): {advice}")
    return content


def read_predictions(path: Path, proof: dict, advice: str) -> Iterator[dict]:
    """The records of a file, one at a time. Raises UserError like `check_predictions`, and for a line that isn't a
    prediction."""
    for number, line in enumerate(check_predictions(path, proof, advice).split(b"\n")[:-1], 1):
        record = parse_json(line, f"{path}, line {number}", advice)
        if wrong := _wrong(record):
            raise UserError(f"{path}, line {number}: {wrong}: {advice}")
        yield record


def _wrong(record: dict) -> str | None:
    """What is wrong with a record (for the format, see above); None if nothing is."""
    text, gold, predicted, right = (record.get(name) for name in ("text", "gold", "predicted", "right"))
    if not isinstance(record.get("lang"), str):
        return '"lang" is not a string'
    if isinstance(right, dict):
        if right and not (right.keys() == {*METRICS} and all(_is_count(n) for n in right.values())):
            return '"right" does not have a number for each metric'
    elif not isinstance(right, list) or not all(isinstance(metric, str) and metric in METRICS for metric in right):
        return '"right" is not a list of metrics'
    if text is None:
        nothing = gold is None and predicted is None and not right and isinstance(record.get("reason"), str)
        return None if nothing else "a sentence that could not be read must have a reason and nothing else"
    if not isinstance(text, str) or not isinstance(record.get("id"), str):
        return '"text" or "id" is not a string'
    if isinstance(right, dict):
        return _wrong_many(gold, predicted, right, len(text))
    if not _is_triple(gold, len(text)) or None in (gold["head"], gold["tail"]):
        return '"gold" is not a triple'
    if predicted is not None and not (
        _is_triple(predicted, len(text)) and all(_is_share(predicted.get(name)) for name in ("probability", "score"))
    ):
        return '"predicted" is not a triple with its probabilities'
    return None


def _wrong_many(gold: Any, predicted: Any, right: dict, length: int) -> str | None:
    """The same of a record with any number of triples."""
    for name, triples in (("gold", gold), ("predicted", predicted)):
        whole = isinstance(triples, list) and all(_is_triple(t, length) and t["head"] and t["tail"] for t in triples)
        if not whole:
            return f'"{name}" is not a list of triples'
    if not all(_is_share(triple.get("score")) for triple in predicted):
        return '"predicted" has a triple without its score'
    if max(right.values(), default=1) > min(len(gold), len(predicted)) or not right:
        return '"right" counts more triples than there are' if right else '"right" is empty'
    return None


def _is_triple(triple: Any, length: int) -> TypeGuard[dict]:
    return (
        isinstance(triple, dict)
        and isinstance(triple.get("relation"), str)
        and all(_is_span(triple[side], length) if triple.get(side) is not None else side in triple for side in _SIDES)
    )


def _is_span(span: Any, length: int) -> bool:
    return isinstance(span, list) and [type(end) for end in span] == [int, int] and 0 <= span[0] <= span[1] <= length


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


_SIDES = ("head", "tail")
