"""Why a gold entity's tokens are not its characters: `python benchmarks/characters.py CORPUS ENCODER`.

CORPUS is a folder of TSV files, or of `*.jsonl` files whose lines are `{"id", "lang", "text", "triples": [{"head",
"tail"}]}` with half-open character spans; an entity is counted once a sentence. ENCODER is the folder of a tokenizer,
such as SHARDS/encoder. Prints a table in Markdown.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fire

from mere_ds.corpus.example import Example, Span, Triple
from mere_ds.corpus.graphemes import trim
from mere_ds.corpus.reading import read_file, split_files
from mere_ds.corpus.rows import Reject
from mere_ds.encoders.sources import load_tokenizer
from mere_ds.shards.encoding import SentenceEncoder

KNOWN = 15  # characters that `--characters=15` can cut
HYPHENS = "-\u2010\u2011\u2012\u2013\u2014"
SHARES = {
    "inside": "a mark inside a word",
    "inexact": "inexact",
    "behind": "letters behind",
    "before": "letters before",
    "hyphen": "hyphen",
    "other": "other signs, digits",
    "lost": "nothing to cut",
    "repaired": "in a row with a lost mark",
    "far": f"more than {KNOWN}",
}


def main(corpus: str, encoder: str) -> None:
    tokenizer = load_tokenizer(encoder)
    # one language symbol serves all, for words don't depend on it
    (symbol, *_) = (token for token in tokenizer.get_added_vocab() if token.startswith("[") and token.islower())
    sentence_encoder = SentenceEncoder(tokenizer, [symbol[1:-1]], 512)
    repaired: set[tuple[str, int]] = set()
    table: dict[str, Counter] = {}
    for example in examples(Path(corpus), repaired):
        (encoded,) = sentence_encoder.encode_examples([replace(example, language=symbol[1:-1])])
        lost_mark = (example.file, example.line) in repaired
        [(head, _, tail)], [its] = example.triples, encoded.triples
        for side, span in enumerate(dict.fromkeys((head, tail))):
            if its.positions[2 * side] >= 0:
                cuts = its.cuts[2 * side : 2 * side + 2]
                found = facts(example.text, trim(example.text, span), its.exact[side], cuts, lost_mark)
                table.setdefault(example.language, Counter()).update(found)
    rows = sorted(table.items(), key=lambda row: -row[1]["inexact"] / row[1]["entities"])
    print("| | entities |", " | ".join(SHARES.values()), "|")
    print("|---" * (2 + len(SHARES)) + "|")
    for name, count in [*rows, ("all", sum(table.values(), Counter()))]:
        shares = " | ".join(f"{100 * count[share] / count['entities']:.1f}" for share in SHARES)
        print(f"| {name} | {count['entities']:,} | {shares} |")


def examples(corpus: Path, repaired: set[tuple[str, int]]) -> Iterator[Example]:
    """Every entity of every sentence, two at a time; `repaired` gets file and line of the rows with a lost mark."""

    def note(reject: Reject) -> None:
        if reject.kept and reject.reason == "cut_mark":
            repaired.add((reject.file, reject.line))

    lines = sorted(corpus.glob("*.jsonl"))
    for path in lines:
        for number, line in enumerate(path.open(encoding="utf-8"), 1):
            row = json.loads(line)
            spans = sorted({tuple(triple[side]) for triple in row["triples"] for side in ("head", "tail")})
            for head, tail in zip(spans[::2], [*spans[1::2], spans[-1]] if spans else [], strict=False):
                yield Example(row["id"], row["lang"], row["text"], (Triple(head, "", tail),), path.name, number)
    for file in [] if lines else split_files(corpus):
        yield from read_file(file.path, on_reject=note)


def facts(text: str, gold: Span, exact: bool, cuts: Span, lost_mark: bool) -> Iterator[str]:
    """Which of `SHARES` an entity counts for."""
    yield "entities"
    if any(0 < place < len(text) and _is_letter(text[place - 1]) and _is_letter(text[place]) for place in gold):
        yield "inside"
    if exact:
        return
    yield "inexact"
    if lost_mark:
        yield "repaired"
    if max(cuts) > KNOWN:
        yield "far"
    if not any(cuts):
        yield "lost"
    for cut, place, letters in zip(cuts, (gold[0] - 1, gold[1]), ("before", "behind"), strict=True):
        if cut:
            yield "hyphen" if text[place] in HYPHENS else letters if _is_letter(text[place]) else "other"


def _is_letter(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "LM"


if __name__ == "__main__":
    fire.Fire(main)
