"""Sentences as the rival is given them: words, entities and relations; only the standard library.

Corpora here name heads and tails alone, so a rival that wants entities gets these, all of one type, "entity".
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

ENTITY = "entity"
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|\S"
)
"""A character of a script without blanks, a run of letters and digits of any other, or a mark."""


def words(text: str) -> Iterator[tuple[str, int, int]]:
    """The words of a text with their first character and the one after their last."""
    for match in _WORD.finditer(text):
        yield match.group(), match.start(), match.end()


def read(folder: str | Path, split: str) -> list[dict]:
    """The rows of a corpus' split, by language."""
    paths = sorted(Path(folder).glob(f"*.{split}.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").split("\n") if line]


def labels_of(rows: list[dict]) -> list[str]:
    """The relations of some rows, sorted."""
    return sorted({triple["relation"] for row in rows for triple in row["triples"]})


def example(row: dict, labels: list[str]) -> dict:
    """A row in the form that gliner trains on: words, entities `[first, last, type]`, relations `[head, tail, label]`.

    An entity takes the words that it shares characters with. Every label is shown with every sentence, as in use.
    """
    found = list(words(row["text"]))
    spans = {side: [_words_of(found, triple[side]) for triple in row["triples"]] for side in ("head", "tail")}
    entities = sorted({span for side in spans.values() for span in side})
    relations = {
        (entities.index(head), entities.index(tail), triple["relation"])
        for triple, head, tail in zip(row["triples"], spans["head"], spans["tail"], strict=True)
    }
    return {
        "tokenized_text": [word for word, _, _ in found],
        "ner": [[first, last, ENTITY] for first, last in entities],
        "relations": [list(relation) for relation in sorted(relations)],
        "ner_labels": [ENTITY],
        "rel_labels": labels,
    }


def widest(examples: list[dict], share: float = 0.99) -> int:
    """The number of words that `share` of the entities have at most."""
    widths = sorted(last - first + 1 for one in examples for first, last, _ in one["ner"])
    return widths[min(len(widths) - 1, int(share * len(widths)))]


def _words_of(found: list[tuple[str, int, int]], span: list[int]) -> tuple[int, int]:
    inside = [i for i, (_, start, end) in enumerate(found) if start < span[1] and span[0] < end]
    return inside[0], inside[-1]
