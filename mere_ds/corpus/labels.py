"""`--label_map`: labels of a corpus that are renamed, merged or dropped while it is read."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from mere_ds.corpus.example import Example, Triple
from mere_ds.corpus.rows import FileCounts, Reject, Tally
from mere_ds.errors import UserError
from mere_ds.files import digest_file, read_json

LOSSES = {"dropped_label": "--label_map drops the label"}
"""Why a triple is left out, or, with one triple a sentence, the sentence is rejected."""

_ADVICE = 'pass a JSON file such as {"old": "new", "unwanted": null}'
_NEAR = 0.6  # how alike names are that may have been meant


@dataclass(frozen=True)
class LabelMap:
    """New labels; several may become one."""

    new: Mapping[str, str]
    """By the label of the corpus; "" drops its triples. Labels that aren't there stay as they are."""
    sha256: str
    """Of the file."""

    @classmethod
    def load(cls, path: str | Path) -> "LabelMap":
        """From a JSON object of labels; an empty text or null drops. Raises UserError."""
        given = read_json(Path(path), _ADVICE, distinct=True)
        new: dict[str, str] = {}
        for label, other in given.items():
            if not label.strip() or not isinstance(other, str | None) or label.strip() in new:
                pair = json.dumps({label: other})
                raise UserError(
                    f"{path}: {pair[:200]} is not a label and its new name, or it is there twice: {_ADVICE}"
                )
            new[label.strip()] = (other or "").strip()
        try:
            "".join([*new, *new.values()]).encode()
        except UnicodeEncodeError:
            raise UserError(f"{path}: a label has half of a surrogate pair, which is not a character") from None
        return cls(new, digest_file(Path(path)))

    def as_dict(self) -> dict:
        """Plain JSON, for a record of what was done."""
        return {"sha256": self.sha256, "labels": dict(sorted(self.new.items()))}

    def relabel(
        self, examples: Iterable[Example], one_triple: bool, tally: Tally, on_reject: Callable[[Reject], None]
    ) -> Iterator[Example]:
        """The sentences with their new labels; what is left out is counted in `tally`, which holds the old labels yet.

        With `one_triple` sentences with another number of triples than one are rejected then, and shown to `on_reject`.
        """
        for example in examples:
            counts, before = tally.of(example.language), example.triples
            if any(triple.relation in self.new for triple in before):
                example = replace(example, triples=self._relabelled(before, counts))
            if one_triple and len(example.triples) != 1:
                reason = "not_one_triple" if example.triples or not before else "dropped_label"
                _reject(example, replace(example, triples=before), reason, counts, on_reject)
                continue
            yield example

    def _relabelled(self, triples: Collection[Triple], counts: FileCounts) -> tuple[Triple, ...]:
        counts.relabelled.update(triple.relation for triple in triples if triple.relation in self.new)
        named = [triple._replace(relation=self.new.get(triple.relation, triple.relation)) for triple in triples]
        left = [triple for triple in named if triple.relation]
        kept = tuple(dict.fromkeys(left))
        _take_off(counts, triples)
        counts.labels.update(triple.relation for triple in kept)
        for reason, lost in (("dropped_label", len(named) - len(left)), ("double_triple", len(left) - len(kept))):
            if lost:
                counts.left_out[reason] += lost
        return kept


def _reject(
    example: Example, before: Example, reason: str, counts: FileCounts, on_reject: Callable[[Reject], None]
) -> None:
    """Counts a sentence that was kept as rejected, `before` is how the corpus has it."""
    counts.kept -= 1
    counts.rejected[reason] += 1
    _take_off(counts, example.triples)
    if example.triples:
        counts.left_out[reason] += len(example.triples)
    row = {
        "id": before.id,
        "lang": before.language,
        "text": before.text,
        "triples": [t._asdict() for t in before.triples],
    }
    on_reject(Reject(before.file, before.line, reason, False, json.dumps(row, ensure_ascii=False)))


def _take_off(counts: FileCounts, triples: Iterable[Triple]) -> None:
    for triple in triples:
        counts.labels[triple.relation] -= 1
        if not counts.labels[triple.relation]:
            del counts.labels[triple.relation]


def absent_labels(label_map: Mapping, negative_labels: Iterable[str], files: Iterable[Mapping]) -> list[str]:
    """Warnings of labels that a user named but no triple has: `label_map` as in `LabelMap.as_dict`, `files` as in
    `FileCounts.as_dict`."""
    found: set[str] = set()
    there: set[str] = set()
    for counts in files:
        found |= counts.get("relabelled", {}).keys()
        there |= counts["labels"].keys()
    lines = []
    if absent := [label for label in negative_labels if label not in there]:
        lines.append(f"warning: no row has the negative label {', '.join(absent)}")
    new = label_map.get("labels", {})
    if unused := [_with_near(label, there - set(new.values())) for label in sorted(new.keys() - found)]:
        lines.append(f"warning: no triple has the label {', '.join(unused)} of --label_map")
    return lines


def _with_near(label: str, others: Collection[str]) -> str:
    near = get_close_matches(label, others, 1, _NEAR)
    return f"{label} (did you mean {near[0]}?)" if near else label
