"""What is in a shards folder, as a table with remarks."""

from collections import Counter

import numpy as np

from mere_ds.columns import align
from mere_ds.corpus.labels import absent_labels
from mere_ds.corpus.repeats import describe_repeats
from mere_ds.shards.entries import WINDOWS
from mere_ds.shards.manifest import SPLITS, Manifest, Split, percentiles
from mere_ds.shards.splitting import FEW_DEV


def summary(manifest: Manifest) -> str:
    """A readable table: sentences by language and split, and how many are repaired, rejected, truncated, unaligned.

    With many triples also their number and how many were left out.
    """
    many = manifest.triples == "many"
    columns = ["language", *SPLITS, *(["triples", "without"] if many else []), "repaired", "rejected"]
    columns += [*(["left out"] if many else []), "truncated", "unaligned", "missed in test"]
    rows = {language: _row_of(manifest, language) for language in manifest.languages}
    if any(file["rows"] and not file["language"] for file in manifest.files):
        rows["no language"] = _row_of(manifest, "")
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    cells = [columns, *[[name, *[f"{n:,}" for n in row]] for name, row in rows.items()]]
    lines = [align(cells, left=()), ""]
    for name, split in manifest.splits.items():
        a_sentence = ", ".join(f"{k} {v}" for k, v in split.lengths.items())
        lines.append(
            f"{name}: {split.tokens:,} tokens in {len(split.shards)} shards; tokens per sentence: {a_sentence}"
        )
        if many:
            lines.append(_triples_of(name, split))
    for what in ("repaired", "rejected", *(["left_out"] if many else [])):
        totals: Counter[str] = Counter()
        for file in manifest.files:
            totals.update(file.get(what, {}))
        shown = ", ".join(f"{reason} {totals[reason]:,}" for reason in sorted(totals))
        lines.append(f"{_TITLES.get(what, what)}: {shown or 'none'}")
    lines += _remarks(manifest)
    return "\n".join(lines)


_TITLES = {"left_out": "triples left out"}


def _triples_of(name: str, split: Split) -> str:
    found: Counter[int] = Counter()
    for row in split.by_triples.values():
        found.update({int(n): sentences for n, sentences in row.items()})
    counts = np.zeros(max(found, default=0) + 1, np.int64)
    counts[list(found)] = list(found.values())
    a_sentence = ", ".join(f"{k} {v}" for k, v in percentiles(counts).items())
    total = sum(n * sentences for n, sentences in found.items())
    return f"{name}: {total:,} triples; {found[0]:,} sentences without any; triples per sentence: {a_sentence}"


def _windows_of(manifest: Manifest) -> str:
    counts = manifest.windows or {}
    sentences, windows, repeated = (sum(counts[name].values()) for name in WINDOWS)
    between = sum(file.get("left_out", {}).get("between_windows", 0) for file in manifest.files)
    return (
        f"windows: {sentences:,} training sentences of more than {manifest.max_length} tokens became {windows:,}; "
        f"{repeated:,} triples were added because they are in several windows, {between:,} are in none"
    )


def _remarks(manifest: Manifest) -> list[str]:
    """Notes on labels, repeated texts and dev."""
    lines = []
    if manifest.unseen_labels:
        unseen = ", ".join(f"{label} {count:,}" for label, count in manifest.unseen_labels.items())
        what = "triples" if manifest.triples == "many" else "sentences"
        lines.append(f"labels only in test ({what}): {unseen}")
    lines += absent_labels(manifest.label_map, manifest.negative_labels, manifest.files)
    if manifest.repeats:
        lines += describe_repeats(manifest.repeats)
    if manifest.windows is not None:
        lines.append(_windows_of(manifest))
    for name, leaks in (manifest.dropped_leaks or {}).items():
        shown = ", ".join(f"{n:,} of {language}" for language, n in leaks.items()) or "none"
        lines.append(f"sentences of {name} files taken out because test has their text: {shown}")
    train, dev = (manifest.splits[name].by_language for name in ("train", "dev"))
    few = [f"{dev.get(language, 0):,} of {language}" for language in train if dev.get(language, 0) < FEW_DEV]
    more = "a larger --dev_share, such as 0.1, moves more training sentences to dev"
    if any(file["split"] == "dev" for file in manifest.files):
        more = "add some to the dev files"
    if few:
        lines.append(f"warning: dev has few sentences ({', '.join(few)}), so its scores say little: {more}")
    return lines


def _row_of(manifest: Manifest, language: str) -> list[int]:
    files = [file for file in manifest.files if file["language"] == language]
    splits, many = manifest.splits.values(), manifest.triples == "many"

    def of_files(*names: str) -> list[int]:
        return [sum(sum(file.get(name, {}).values()) for file in files) for name in names]

    triples = sum(sum(split.counts.get(language, {}).values()) for split in splits)
    without = sum(split.by_triples.get(language, {}).get("0", 0) for split in splits)
    return [
        *[manifest.splits[name].by_language.get(language, 0) for name in SPLITS],
        *([triples, without] if many else []),
        *of_files("repaired", "rejected", *(["left_out"] if many else [])),
        *[sum(getattr(split, what).get(language, 0) for split in splits) for what in ("truncated", "unaligned")],
        manifest.missed_test.get(language, 0) + manifest.splits["test"].cut_spans.get(language, 0),
    ]
