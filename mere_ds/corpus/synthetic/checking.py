"""Checks a language file: `python -m mere_ds.corpus.synthetic.checking de [--samples=20] [--triples=many]`."""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from math import prod
from random import Random

from mere_ds.corpus.synthetic.grammar import LANGUAGES_DIR, Facts, Language, parse_language
from mere_ds.corpus.synthetic.many import OVERLAPS, ManySentence, ManyWriter, Stated, lines, overlaps
from mere_ds.corpus.synthetic.parts import (
    Aside,
    Choice,
    Digits,
    Edge,
    Entity,
    Name,
    Names,
    Number,
    Part,
    Parts,
    is_test_name,
)
from mere_ds.corpus.synthetic.roles import (
    FEWEST_CLAUSES,
    FEWEST_FACTS,
    FEWEST_JOINS,
    FEWEST_OF_OWN_KIND,
    FEWEST_PATTERNS,
    FEWEST_SURFACES,
)
from mere_ds.corpus.synthetic.sentences import CONTINUATIONS, Writer
from mere_ds.corpus.synthetic.shares import LABELS

_DRAWS = 3000
_FEWEST_OF_A_SIDE = 3
_FEWEST_TAIL_FIRST = 0.25
_MOST_TRIPLES = 5
_INSIDE_WORD = re.compile(r"\w<e[12]>\w|\w</e[12]>\w")


def problems(code: str, language: Language) -> list[str]:
    """The problems of a compiled language, one line each."""
    cycle = _cycle(language)
    if cycle:
        return [cycle]
    found = _label_problems(code, language) + _clause_problems(language) + _fact_problems(language)
    return found + _kind_problems(language)


def _label_problems(code: str, language: Language) -> list[str]:
    found = [f"label {label} is missing" for label in LABELS[code] if label not in language.labels]
    found += [f"label {label} is not one of this language" for label in language.labels if label not in LABELS[code]]
    patterns = [pattern for of_label in language.labels.values() for pattern in of_label]
    for label, of_label in language.labels.items():
        if len(set(of_label)) < FEWEST_PATTERNS:
            found.append(f"label {label} has fewer than {FEWEST_PATTERNS} patterns")
        found += [f"label {label}: a pattern ends without a full stop" for p in of_label if not _stops(p.parts)]
        if len({pattern.head_first for pattern in of_label}) == 1:
            found.append(f"label {label}: head and tail are in the same order in all patterns")
    share = sum(not pattern.head_first for pattern in patterns) / max(1, len(patterns))
    if share < _FEWEST_TAIL_FIRST:
        found.append(f"the tail comes first in only {share:.0%} of the patterns")
    return found


def _clause_problems(language: Language) -> list[str]:
    found = []
    for where, clauses in language.clauses.items():
        if len(set(clauses)) < FEWEST_CLAUSES[where]:
            found.append(f"[{where}] has fewer than {FEWEST_CLAUSES[where]} lines")
        named = sum(any(isinstance(p, Name) and p.kind in language.entity_kinds for p in parts) for parts in clauses)
        if named < len(clauses) / 2:
            found.append(f"[{where}]: fewer than half of the lines hold a name of an entity kind")
    found += ["[after]: a line ends without a full stop" for parts in language.clauses["after"] if not _stops(parts)]
    if not any(isinstance(p[0], str) and p[0].startswith(CONTINUATIONS) for p in language.clauses["after"]):
        found.append(f"[after]: no line starts with one of {' '.join(CONTINUATIONS)}")
    return found


def _fact_problems(language: Language) -> list[str]:
    found = []
    if len(set(language.facts)) < FEWEST_FACTS:
        found.append(f"[facts] has fewer than {FEWEST_FACTS} lines")
    if len(set(language.joins)) < FEWEST_JOINS:
        found.append(f"[join] has fewer than {FEWEST_JOINS} lines")
    found += ["[facts]: a line ends without a full stop" for facts in language.facts if not _stops(facts.parts)]
    stated: dict[tuple, set] = {}
    for line in lines(language):
        reading, triples = _as_read(line)
        stated.setdefault(reading, set()).add(triples)
    return found + [f"{''.join(text)}: states different triples" for text, of in stated.items() if len(of) > 1]


def _as_read(line: Facts) -> tuple[tuple[str, ...], frozenset]:
    """What a reader who doesn't know the names sees of a line, and the triples by the places of their entities in it.

    From the same text the same triples must follow; so no two lines may read the same and state different triples.
    """
    text: list[str] = []
    places: dict[str, int] = {}
    for part in line.parts:
        if isinstance(part, Entity | Edge) and (not isinstance(part, Edge) or part.closes):
            places[part.slot] = len(text)
        if not isinstance(part, Aside | Edge):
            text.append("{}" if isinstance(part, Entity | Name) else part if isinstance(part, str) else str(part))
    return tuple(text), frozenset((places[head], label, places[tail]) for head, label, tail in line.triples)


def _stops(parts: tuple[Part, ...]) -> bool:
    return isinstance(parts[-1], str) and parts[-1].endswith(".")


def _kind_problems(language: Language) -> list[str]:
    found, rng = [], Random(0)
    for kind in sorted(language.entity_kinds):
        fewest = FEWEST_SURFACES.get(kind, FEWEST_OF_OWN_KIND)
        if combinations(language, kind) < fewest:
            found.append(f"kind {kind} has {combinations(language, kind)} names, fewer than {fewest}")
        streams = [Names(language.kinds, set(), rng, test) for test in (False, True)]  # years are always of one side
        surfaces = sorted({stream.surface(kind) for stream in streams for _ in range(_DRAWS)})
        tests = sum(map(is_test_name, surfaces))
        if min(tests, len(surfaces) - tests) < _FEWEST_OF_A_SIDE:
            found.append(f"kind {kind}: {tests} of {len(surfaces)} names are test names; write more or other names")
        odd = [s for s in surfaces if s != s.strip(" .,;:!?()|،؛") or "<" in s or ">" in s or "  " in s]
        if odd:
            found.append(f"kind {kind}: odd edges or spaces in {odd[:3]}")
    years = {part for parts in _all_parts(language) for part in parts if isinstance(part, Number) and part.is_year}
    for year in sorted(years, key=str):
        tests = sum(is_test_name(year.written(value)) for value in range(year.low, year.high + 1))
        if min(tests, year.high - year.low + 1 - tests) < _FEWEST_OF_A_SIDE:
            found.append(f"{{{year.low}..{year.high}}}: too few test or training years; widen the range")
    used = {part.kind for parts in _all_parts(language) for part in parts if isinstance(part, Name)}
    idle = sorted(set(language.kinds) - used - language.entity_kinds)
    choices = [part for parts in _all_parts(language) for part in parts if isinstance(part, Choice)]
    literal = {text for choice in choices for text in choice.texts} & set(language.kinds)
    found += [f"{{...|{kind}|...}} is the text itself, not the kind {kind}" for kind in sorted(literal)]
    return found + [f"kind {kind} is not used" for kind in idle]


def _all_parts(language: Language) -> Iterator[Parts]:
    for alternatives in (*language.kinds.values(), *language.clauses.values()):
        yield from alternatives
    for patterns in language.labels.values():
        yield from (pattern.parts for pattern in patterns)
    yield from (facts.parts for facts in language.facts)


def _cycle(language: Language) -> str | None:
    """An error message if a kind is part of itself."""
    inside = {
        kind: {part.kind for parts in alternatives for part in parts if isinstance(part, Name)}
        for kind, alternatives in language.kinds.items()
    }
    while any(leaves := [kind for kind, parts in inside.items() if not parts]):
        for kind in leaves:
            del inside[kind]
        for parts in inside.values():
            parts.difference_update(leaves)
    return f"these kinds are parts of themselves or have no names: {sorted(inside)}" if inside else None


def combinations(language: Language, kind: str) -> int:
    """How many ways there are to compose a name of this kind."""
    return sum(prod(_ways(language, part) for part in parts) for parts in language.kinds[kind])


def _ways(language: Language, part: Part) -> int:
    if isinstance(part, Name):
        return combinations(language, part.kind)
    if isinstance(part, Choice):
        return len(part.texts)
    if isinstance(part, Number):
        return part.high - part.low + 1
    return 9 * 10 ** (part.count - 1) if isinstance(part, Digits) else 1


def samples(code: str, language: Language, count: int, seed: int = 0) -> list[str]:
    """Sample training sentences, cycling through the labels, each preceded by its label."""
    writer = Writer(language, Random(seed), test=False)
    written = [writer.sentence(LABELS[code][index % len(LABELS[code])]) for index in range(count)]
    return [f"{sentence.label}: {sentence.text}" for sentence in written]


def many_problems(sentences: Iterable[ManySentence], test: bool) -> list[str]:
    """What is wrong with written sentences: with their spans, names and triples, or with all of them together."""
    found: list[str] = []
    stated: dict[str, tuple[Stated, ...]] = {}
    kinds: Counter = Counter()
    for sentence in sentences:
        text, triples = sentence.text, sentence.triples
        spans = {span for head, _, tail in triples for span in (head, tail)}
        if not spans <= set(sentence.names) or any(text[start:end] != n for (start, end), n in sentence.names.items()):
            found.append(f"a span is not its name's: {text}")
        if any(is_test_name(text[start:end]) != test for start, end in spans):
            found.append(f"a name of the other side: {text}")
        if len(set(triples)) < len(triples) or any(head == tail for head, _, tail in triples):
            found.append(f"a triple twice, or of one span: {text}")
        if stated.setdefault(text, triples) != triples:
            found.append(f"states different triples: {text}")
        kinds.update(overlaps(triples))
        kinds[len(triples)] += 1
    found += [f"no sentence has {kind}" for kind in OVERLAPS if not kinds[kind]]
    return found + [f"no sentence has {n} triples" for n in range(_MOST_TRIPLES + 1) if not kinds[n]]


def many_samples(language: Language, count: int, seed: int = 0, test: bool = False) -> list[ManySentence]:
    """Sample sentences with 0 to 5 triples in turn."""
    writer = ManyWriter(language, Random(seed), test)
    return [writer.sentence(index % (_MOST_TRIPLES + 1)) for index in range(count)]


def _show_many(language: Language, options: argparse.Namespace) -> int:
    written = many_samples(language, max(500, options.samples), options.seed)
    found = many_problems(written, test=False)
    kinds = Counter(kind for sentence in written for kind in overlaps(sentence.triples))
    print("\n".join(found) or "no problem found in the sentences")
    print("; ".join(f"{kind}: {kinds[kind]}" for kind in OVERLAPS))
    for sentence in written[: options.samples]:
        named = [(sentence.names[head], label, sentence.names[tail]) for head, label, tail in sentence.triples]
        print("\n    ".join([sentence.text, *(" | ".join(triple) for triple in named)]))
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a language file of the synthetic corpus.")
    parser.add_argument("code", choices=sorted(LABELS))
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--triples", choices=("one", "many"), default="one")
    options = parser.parse_args()
    text = (LANGUAGES_DIR / f"{options.code}.txt").read_text(encoding="utf-8")
    try:
        language = parse_language(text)
    except ValueError as faults:
        print(faults)
        return 1
    found = problems(options.code, language)
    print("\n".join(found) or "no problem found")
    if any(label not in language.labels for label in LABELS[options.code]) or _cycle(language):
        return 1
    if options.triples == "many":
        return _show_many(language, options) or int(bool(found))
    rows = samples(options.code, language, max(500, options.samples), options.seed)
    inside = sum(bool(_INSIDE_WORD.search(row)) for row in rows) / len(rows)
    words = sorted(len(row.split()) - 1 for row in rows)
    print(f"marks inside words: {inside:.0%}; words: median {words[len(words) // 2]}, most {words[-1]}")
    print("\n".join(rows[: options.samples]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
