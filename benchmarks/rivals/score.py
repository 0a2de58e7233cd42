"""Two models on one corpus, by our evaluation: `python benchmarks/rivals/score.py CORPUS A B OUT`.

CORPUS is a folder made by `triples_corpus`; A and B are folders with {dev,test}.jsonl: of each sentence every candidate
`{"id", "lang", "text", "triples": [{"relation", "head": [start, end], "tail", "score"}]}`. For both alike, a triple is
an answer from the score on that is best for dev's F1, and right if its characters are (the models cut texts
differently). Writes OUT/{a,b}.jsonl, the predictions in the form of `mere-ds evaluate`, and OUT/scores.json; prints
both tables, the paired difference of F1, and the share of sentences without triples that got one at equal recall.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.rivals.words import read
from mere_ds import flags
from mere_ds.corpus.languages import shared_id
from mere_ds.errors import UserError
from mere_ds.evaluation.calibration import best_threshold
from mere_ds.evaluation.comparison import Group, compare
from mere_ds.evaluation.many import scores_of_many
from mere_ds.evaluation.metrics import COLUMNS, counts_of
from mere_ds.evaluation.table import format_scores
from mere_ds.evaluation.triple_sets import Named, from_json, right_counts, unequal
from mere_ds.files import json_line, write_json, write_whole

METRIC = "triple_characters"


class Side:
    """A model's candidates for the sentences of dev and test."""

    def __init__(self, folder: str, gold: dict[str, list[dict]]):
        self.gold = gold
        self.found = {split: _answers(Path(folder, f"{split}.jsonl"), rows) for split, rows in gold.items()}
        scores, right, count = self._columns("dev")
        self.threshold = best_threshold(scores, right, count)

    def records(self, threshold: float) -> list[dict]:
        """Predictions of test, with the triples of `threshold` and more."""
        return [
            _record(row, [t for t in found if t["score"] >= threshold])
            for row, found in zip(self.gold["test"], self.found["test"], strict=True)
        ]

    def recall(self) -> float:
        """Of test, with the own threshold."""
        scores, right, count = self._columns("test")
        return float((right & (scores >= self.threshold)).sum()) / max(1, count)

    def threshold_of(self, recall: float) -> float:
        """The highest threshold with which test has this recall or more; 0 where it has not."""
        scores, right, count = self._columns("test")
        needed = int(np.ceil(recall * count - 1e-9))
        ranked = np.sort(scores[right])[::-1]
        return float(ranked[needed - 1]) if 0 < needed <= len(ranked) else (0.0 if needed else 1.0)

    def _columns(self, split: str) -> tuple[np.ndarray, np.ndarray, int]:
        """Scores of all candidates, whether they are right, and the number of gold triples."""
        scores, right, count = [], [], 0
        for row, found in zip(self.gold[split], self.found[split], strict=True):
            gold = {*from_json(row["text"], row["triples"])}
            count += len(gold)
            scores += [triple["score"] for triple in found]
            right += [triple in gold for triple in from_json(row["text"], found)]
        return np.array(scores, dtype=float), np.array(right, dtype=bool), count


def _answers(path: Path, rows: list[dict]) -> list[list[dict]]:
    """Each row's candidates from the highest score on, equal ones once."""
    found = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line:
            answer = json.loads(line)
            ranked = sorted(answer["triples"], key=lambda triple: -triple["score"])
            kept = unequal(from_json(answer["text"], ranked))
            found[answer["lang"], answer["id"], answer["text"]] = [ranked[i] for i in kept]
    keys = [(row["lang"], row["id"], row["text"]) for row in rows]
    if {*keys} != {*found}:
        raise UserError(f"{path}: answers other sentences than the corpus has: make it again from this corpus")
    return [found[key] for key in keys]


def _record(row: dict, found: list[dict]) -> dict:
    text = row["text"]
    gold = from_json(text, row["triples"])
    own = unequal(gold)
    predicted = from_json(text, found)
    return {
        **{name: row[name] for name in ("id", "lang", "text")},
        "gold": [{name: row["triples"][i][name] for name in ("relation", "head", "tail")} for i in own],
        "predicted": [_plain(triple) | {"score": one["score"]} for triple, one in zip(predicted, found, strict=True)],
        "right": right_counts([gold[i] for i in own], predicted),
    }


def _plain(triple: Named) -> dict:
    return {"relation": triple.relation, "head": list(triple.head), "tail": list(triple.tail)}


def difference(a: list[dict], b: list[dict]) -> dict:
    """`comparison.compare` of the records of two models; a sentence and its translations are drawn together."""
    languages = sorted({record["lang"] for record in a})
    together: dict[str, np.ndarray] = {}
    for one, other in zip(a, b, strict=True):
        (right, predicted, gold), (right_b, predicted_b, _) = (
            counts_of(record)[COLUMNS.index(METRIC)] for record in (one, other)
        )
        place = together.setdefault(shared_id(one["id"], one["lang"]), np.zeros((len(languages), 5), dtype=np.int64))
        place[languages.index(one["lang"])] += (gold, predicted, right, predicted_b, right_b)
    outcomes = Counter(tuple(numbers.ravel().tolist()) for numbers in together.values())
    return compare([Group(tuple(languages), outcomes)], seeds=1)


def at_equal_recall(a: Side, b: Side) -> dict:
    """What share of the sentences without triples gets one, in percent, where both models find as many gold triples as
    the one that finds fewer with its own threshold; with the paired counts `{"only_a", "only_b"}`."""
    recall = min(a.recall(), b.recall())
    wrong = []
    for side in (a, b):
        records = side.records(side.threshold_of(recall))
        wrong.append([bool(record["predicted"]) for record in records if not record["gold"]])
    pairs = list(zip(*wrong, strict=True))
    shares = (100 * sum(one) / max(1, len(one)) for one in wrong)
    return {
        "recall": 100 * recall,
        "sentences": len(pairs),
        **dict(zip(("a", "b"), shares, strict=True)),
        "only_a": sum(x and not y for x, y in pairs),
        "only_b": sum(y and not x for x, y in pairs),
    }


def main(corpus: str, a: str, b: str, out: str) -> None:
    """Score A and B on CORPUS."""
    gold = {split: read(corpus, split) for split in ("dev", "test")}
    sides = {"a": Side(a, gold), "b": Side(b, gold)}
    records = {name: side.records(side.threshold) for name, side in sides.items()}
    Path(out).mkdir(parents=True, exist_ok=True)
    result: dict = {"thresholds": {name: side.threshold for name, side in sides.items()}}
    for name, folder in (("a", a), ("b", b)):
        write_whole(Path(out, f"{name}.jsonl"), b"".join(map(json_line, records[name])))
        result[name] = scores_of_many(records[name])
        print(f"{name}: {folder}, triples of {sides[name].threshold:.4f} and more\n{format_scores(result[name])}\n")
    result["difference"] = difference(records["a"], records["b"])
    result["equal_recall"] = at_equal_recall(sides["a"], sides["b"])
    write_json(Path(out, "scores.json"), result)
    pooled, none = result["difference"]["pooled"], result["equal_recall"]
    low, high = pooled["interval"]
    print(f"F1 of a - b: {pooled['difference']:.2f} ({low:.2f} to {high:.2f}), p = {pooled['p']:.4f}")
    print(
        f"at a recall of {none['recall']:.1f} %, of {none['sentences']} sentences without triples get one: "
        f"{none['a']:.1f} % by a, {none['b']:.1f} % by b"
    )


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "score.py")
