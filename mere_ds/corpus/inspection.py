"""Statistics of a corpus folder, file by file: rows kept, repaired and rejected, labels and sentence lengths."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from tqdm import tqdm

from mere_ds.columns import align
from mere_ds.corpus.languages import sort_languages
from mere_ds.corpus.reading import (
    NOTES,
    REJECTIONS,
    REPAIRS,
    SPLITS,
    FileCounts,
    RejectsFile,
    TsvFile,
    read_file,
    split_files,
)
from mere_ds.corpus.repeats import ReadRows, describe_repeats

PERCENTILES = (50, 90, 99)


@dataclass(slots=True)
class _Lengths:
    """Exact histograms of kept sentences by length; their size is the number of different lengths."""

    characters: Counter = field(default_factory=Counter)
    words: Counter = field(default_factory=Counter)

    def add(self, other: "_Lengths") -> None:
        self.characters.update(other.characters)
        self.words.update(other.words)

    def as_dict(self) -> dict:
        return {"characters": percentiles(self.characters), "words": percentiles(self.words)}


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
    tsv_dir: str | Path,
    languages: str | Sequence[str] = "all",
    english: str = "auto",
    cut_marks: str = "repair",
    rejects: str | Path | None = None,
) -> dict:
    """Reads the chosen files (see `split_files`, `read_file`) and returns plain JSON for `format_table`.

    Keys: `files` and `total`, each with the fields of `FileCounts`, `characters` and `words` (length percentiles of
    the text without marks; words are separated by white space); `repeats` as in `ReadRows.repeats`; `incomplete`, the
    languages with only one of train and test. `rejects` is where repaired and rejected rows are written. Raises
    UserError for unusable input.
    """
    files = split_files(tsv_dir, languages, english)
    total, lengths = FileCounts("total", "all", "all"), _Lengths()
    rows = ReadRows(sort_languages({file.language for file in files}))
    report = []
    size = sum(file.path.stat().st_size for file in files)
    with (
        RejectsFile(rejects) if rejects else nullcontext() as sink,
        tqdm(total=size, unit="B", unit_scale=True, desc="inspect", disable=None) as bar,
    ):
        for file in files:
            counts, file_lengths = _measure(file, cut_marks, sink, bar, rows)
            report.append(counts.as_dict() | file_lengths.as_dict())
            total.add(counts)
            lengths.add(file_lengths)
    return {
        "tsv_dir": str(tsv_dir),
        "cut_marks": cut_marks,
        "files": report,
        "total": total.as_dict() | lengths.as_dict(),
        "repeats": rows.repeats(),
        "incomplete": incomplete_languages(files),
    }


def incomplete_languages(files: Sequence[TsvFile]) -> list[str]:
    """The languages that have only one of train and test."""
    splits = Counter(file.language for file in files)
    return sort_languages(language for language, count in splits.items() if count < len(SPLITS))


def _measure(
    file: TsvFile, cut_marks: str, sink: RejectsFile | None, bar: tqdm, rows: ReadRows
) -> tuple[FileCounts, _Lengths]:
    counts, lengths = FileCounts.of(file), _Lengths()
    shown = 0
    for example in read_file(file.path, cut_marks, sink.write if sink else None, counts):
        lengths.characters[len(example.text)] += 1
        lengths.words[len(example.text.split())] += 1
        rows.add(example, file.split == "test")
        bar.update(counts.bytes - shown)
        shown = counts.bytes
    bar.update(counts.bytes - shown)
    return counts, lengths


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
        lines.append([counts["file"], *(f"{number:,}" for number in numbers), *lengths])
    sections = [align([header, *lines]), _reasons(report), "\n".join(describe_repeats(report["repeats"]))]
    if report["incomplete"]:
        sections.append(f"languages without a train or test file: {', '.join(report['incomplete'])}")
    return "\n\n".join(section for section in sections if section)


def _reasons(report: dict) -> str:
    """One table of repaired, rejected and noted rows: a line per reason and file, and a total with its meaning."""
    lines = []
    for name, meanings in (("repaired", REPAIRS), ("rejected", REJECTIONS | REPAIRS), ("notes", NOTES)):
        for reason, count in report["total"][name].items():
            files = [counts for counts in report["files"] if reason in counts[name]]
            lines += [[name, reason, counts["file"], f"{counts[name][reason]:,}", ""] for counts in files]
            lines.append([name, reason, "total", f"{count:,}", meanings[reason]])
    return align([["what", "reason", "file", "rows", "meaning"], *lines], left=(0, 1, 2, 4)) if lines else ""
