"""Statistics of a corpus folder, file by file: rows kept, repaired and rejected, labels and sentence lengths."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from tqdm import tqdm

from mere_ds.columns import align
from mere_ds.corpus import jsonl, reading, rows
from mere_ds.corpus.example import Example
from mere_ds.corpus.folder import Corpus
from mere_ds.corpus.formats import checking
from mere_ds.corpus.formats.registry import FORMATS
from mere_ds.corpus.labels import LOSSES, absent_labels
from mere_ds.corpus.languages import sort_languages
from mere_ds.corpus.overlaps import OVERLAPS, overlaps
from mere_ds.corpus.repeats import ReadRows, describe_repeats
from mere_ds.corpus.rows import CorpusFile, FileCounts, RejectsFile, Tally

PERCENTILES = (50, 90, 99)
MOST_FILES = 30
"""Of more files only the total is shown by reason."""
MOST_SHOWN = 5
"""Sentences with so many triples or more are counted together in the table."""
MOST_LABELS, MOST_LANGUAGES, MOST_LETTERS = 40, 15, 40
"""Rows and columns of the table of labels by language, and letters of a label's name in it."""

_ROWS_A_STEP = 1000  # of the progress bar
_REJECTIONS = rows.REJECTIONS | reading.REJECTIONS | jsonl.REJECTIONS | reading.REPAIRS | checking.LOSSES | LOSSES


@dataclass(slots=True)
class _Sizes:
    """Exact histograms of kept sentences; their size is the number of different values."""

    characters: Counter = field(default_factory=Counter)
    words: Counter = field(default_factory=Counter)
    triples: Counter = field(default_factory=Counter)
    overlaps: Counter = field(default_factory=Counter)
    """Triples by kind of overlap; a triple may be of several."""

    def take(self, example: Example) -> None:
        self.characters[len(example.text)] += 1
        self.words[len(example.text.split())] += 1
        self.triples[len(example.triples)] += 1
        for kinds in overlaps(example.triples):
            self.overlaps.update(kinds)

    def add(self, other: "_Sizes") -> None:
        self.characters.update(other.characters)
        self.words.update(other.words)
        self.triples.update(other.triples)
        self.overlaps.update(other.overlaps)

    def as_dict(self) -> dict:
        lengths = {"characters": percentiles(self.characters), "words": percentiles(self.words)}
        kinds = {kind: self.overlaps[kind] for kind in OVERLAPS if self.overlaps[kind]}
        return lengths | {"triples": {str(n): self.triples[n] for n in sorted(self.triples)}, "overlaps": kinds}


def percentiles(histogram: Counter) -> dict[str, int | None]:
    """The 50th, 90th and 99th percentile of the lengths and their maximum; None if empty."""
    total = sum(histogram.values())
    found: dict[str, int | None] = dict.fromkeys(f"p{p}" for p in PERCENTILES)
    found["max"] = max(histogram, default=None)
    seen = 0
    for length in sorted(histogram):
        before, seen = seen, seen + histogram[length]
        found.update({f"p{p}": length for p in PERCENTILES if before < ceil(total * p / 100) <= seen})
    return found


def inspect_corpus(
    corpus: Corpus,
    rejects: str | Path | None = None,
    each: Callable[[Example, str], None] = lambda example, split: None,
    what: str = "inspect",
) -> dict:
    """Reads a corpus, calls `each` with every sentence and its split, and returns plain JSON for `format_table`.

    Keys: `files` and `total`, each with the fields of `FileCounts`, `characters` and `words` (length percentiles of
    the text without marks; words are separated by white space), `triples` (sentences by their number of triples) and
    `overlaps` (triples by kind of overlap, of which one may have several); a file of several languages comes once for
    each. `format`, "" for SMiLER's files and our JSON lines; `label_map` as in `LabelMap.as_dict`; `repeats` as in
    `ReadRows.repeats`; `incomplete`, the languages with only one of train and test. `rejects` is where repaired and
    rejected rows are written, `what` the name of the progress bar. Raises UserError for unusable input.
    """
    total, sizes = FileCounts("total", "all", "all"), _Sizes()
    read_rows = ReadRows()
    report = []
    with (
        RejectsFile(rejects) if rejects else nullcontext() as sink,
        tqdm(total=corpus.bytes, unit="B", unit_scale=True, desc=what, disable=None) as bar,
    ):
        for file in corpus.files:
            for counts, its_sizes in _measure(corpus, file, sink, bar, read_rows, each):
                report.append(counts.as_dict() | its_sizes.as_dict())
                total.add(counts)
                sizes.add(its_sizes)
    return {
        "source": str(corpus.folder),
        "format": corpus.source.format.name if corpus.source else "",
        "cut_marks": corpus.cut_marks,
        "label_map": corpus.label_map.as_dict() if corpus.label_map else {},
        "negative_labels": list(corpus.negative_labels),
        "files": report,
        "total": total.as_dict() | sizes.as_dict(),
        "repeats": read_rows.repeats(),
        "incomplete": incomplete_languages(report),
    }


def incomplete_languages(report: Sequence[dict]) -> list[str]:
    """The languages of some files that have only one of train and test."""
    splits = {(counts["language"], counts["split"]) for counts in report if counts["language"]}
    languages = sort_languages({language for language, _ in splits})
    return [language for language in languages if not splits >= {(language, "train"), (language, "test")}]


def _measure(
    corpus: Corpus,
    file: CorpusFile,
    sink: RejectsFile | None,
    bar: tqdm,
    read_rows: ReadRows,
    each: Callable[[Example, str], None],
) -> Iterator[tuple[FileCounts, _Sizes]]:
    tally, sizes = Tally(file), defaultdict[str, _Sizes](_Sizes)
    shown = 0
    for number, example in enumerate(corpus.read(file, sink.write if sink else lambda _: None, tally)):
        sizes[example.language].take(example)
        read_rows.add(example, file.split)
        each(example, file.split)
        if number % _ROWS_A_STEP == 0:
            bar.update(tally.bytes - shown)
            shown = tally.bytes
    bar.update(tally.bytes - shown)
    return ((counts, sizes[counts.language]) for counts in tally.counts)


def format_table(report: dict) -> str:
    """The report of `inspect_corpus` as text: one line per file and the total, then the rows by reason and file."""
    measures = [(unit, key) for unit in ("characters", "words") for key in (*(f"p{p}" for p in PERCENTILES), "max")]
    header = [
        "file",
        "rows",
        "kept",
        "repaired",
        "rejected",
        "labels",
        *(f"{unit.replace('character', 'char')} {key}" for unit, key in measures),
    ]
    lines = []
    for counts in (*report["files"], report["total"]):
        sums = [sum(counts[name].values()) for name in ("repaired", "rejected")]
        lengths = ["-" if counts[unit][key] is None else f"{counts[unit][key]:,}" for unit, key in measures]
        numbers = (counts["rows"], counts["kept"], *sums, len(counts["labels"]))
        lines.append([_name(counts), *(f"{number:,}" for number in numbers), *lengths])
    sections = [align([header, *lines]), labels_by_language(report["files"]), _triples(report), _overlaps(report)]
    sections.append(_reasons(report))
    sections.append("\n".join(describe_repeats(report["repeats"])))
    sections += absent_labels(report["label_map"], report["negative_labels"], report["files"])
    if report["incomplete"]:
        sections.append(f"languages without a train or test file: {', '.join(report['incomplete'])}")
    return "\n\n".join(section for section in sections if section)


def _name(counts: dict) -> str:
    """The file, and the language of these rows of it where the file's name doesn't say it."""
    own = counts["file"] not in {f"{split}.jsonl" for split in rows.SPLITS}
    return counts["file"] if own else f"{counts['file']} ({counts['language'] or 'no language'})"


def _triples(report: dict) -> str:
    """A table of sentences by their number of triples, unless each has one."""
    if report["total"]["triples"].keys() <= {"1"}:
        return ""
    groups = [(str(n), range(n, n + 1)) for n in range(MOST_SHOWN)] + [(f"{MOST_SHOWN}+", range(MOST_SHOWN, 1 << 15))]
    lines = []
    for counts in (*report["files"], report["total"]):
        found = {int(n): sentences for n, sentences in counts["triples"].items()}
        numbers = [sum(found[n] for n in found if n in group) for _, group in groups]
        all_triples = sum(n * sentences for n, sentences in found.items())
        lines.append([_name(counts), f"{all_triples:,}", *(f"{number:,}" for number in numbers)])
    return align([["file", "triples", *(f"sentences with {name}" for name, _ in groups)], *lines])


def labels_by_language(files: Sequence[dict]) -> str:
    """A table of triples by label and language, those with the most first; the rest is summed up."""
    of_label: dict[str, Counter] = {}
    for counts in files:
        for label, n in counts["labels"].items():
            of_label.setdefault(label, Counter())[counts["language"]] += n
    all_labels = sum(of_label.values(), Counter())
    languages = [name for name, _ in all_labels.most_common(MOST_LANGUAGES)]
    languages = [name for name in sort_languages(all_labels) if name in languages]
    ordered = sorted(of_label, key=lambda label: (-of_label[label].total(), label))
    lines = [(_shortened(label), of_label[label]) for label in ordered[:MOST_LABELS]]
    if others := ordered[MOST_LABELS:]:
        lines.append((f"{len(others):,} other labels", sum((of_label[label] for label in others), Counter())))
    lines.append(("all", all_labels))
    rest = [f"{len(all_labels) - len(languages)} others"] if len(all_labels) > len(languages) else []
    cells = [["label", *(name or "no language" for name in languages), *rest, "all"]]
    for name, row in lines:
        shown = [row[language] for language in languages]
        shown += [row.total() - sum(shown)] if rest else []
        cells.append([name, *(f"{n:,}" if n else "-" for n in [*shown, row.total()])])
    return align(cells) if of_label else ""


def _shortened(label: str) -> str:
    return label if len(label) <= MOST_LETTERS else f"{label[: MOST_LETTERS - 1]}…"


def _overlaps(report: dict) -> str:
    """A table of triples by language and kind of overlap, unless none overlaps."""
    if report["total"]["overlaps"].keys() <= {"normal"}:
        return ""
    by_language: dict[str, Counter] = {}
    for counts in report["files"]:
        by_language.setdefault(counts["language"], Counter()).update(counts["overlaps"])
    rows = [(name, by_language[name]) for name in sort_languages(by_language) if by_language[name]]
    rows.append(("all", Counter(report["total"]["overlaps"])))
    lines = [[name, *(f"{row[kind]:,}" for kind in OVERLAPS)] for name, row in rows]
    return align([["triples by overlap", *OVERLAPS], *lines])


def _reasons(report: dict) -> str:
    """One table of what was repaired, rejected or noted: a line per reason and file, and a total with its meaning."""
    lines = []
    for name, meanings in _meanings(report["format"]).items():
        for reason, count in report["total"].get(name, {}).items():
            files = [counts for counts in report["files"] if reason in counts.get(name, {})]
            shown = [[name, reason, _name(counts), f"{counts[name][reason]:,}", ""] for counts in files]
            lines += shown if len(shown) <= MOST_FILES else []
            lines.append([name, reason, "total", f"{count:,}", meanings[reason]])
    return align([["what", "reason", "file", "count", "meaning"], *lines], left=(0, 1, 2, 4)) if lines else ""


def _meanings(format: str) -> Mapping[str, Mapping[str, str]]:
    """By the name of a counter of `FileCounts`: what its reasons mean."""
    own = FORMATS.get(format)
    losses = _REJECTIONS | dict(own.losses if own else {})
    return {
        "repaired": reading.REPAIRS | jsonl.REPAIRS,
        "rejected": losses,
        "left_out": losses,
        "repaired_triples": own.repairs if own else {},
        "notes": reading.NOTES | checking.NOTES | dict(own.notes if own else {}),
    }
