import json
import math
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.inspection import (
    MOST_LABELS,
    MOST_LANGUAGES,
    format_table,
    inspect_corpus,
    labels_by_language,
    percentiles,
)
from tests.full_disk import files_of_at_most

HEADER = "id\tentity_1\tentity_2\tlabel\ttext\tlang\n"


def row(text: str, label: str, lang: str) -> str:
    return f"1\tA\tB. C\t{label}\t{text}\t{lang}\n"


@pytest.fixture
def corpus(tmp_path):
    kept, cut, empty = "<e1>A</e1> is <e2>B. C</e2>", "<e1>A</e1> is <e2>B.", ""
    (tmp_path / "de_corpora_train.tsv").write_text(
        HEADER + "".join(row(text, "x", "de") for text in (kept, cut, empty, empty)), encoding="utf-8"
    )
    (tmp_path / "de_corpora_test.tsv").write_text(HEADER + row(kept, "y", "de"), encoding="utf-8")
    (tmp_path / "xx_corpora_train.tsv").write_text(HEADER, encoding="utf-8")
    return tmp_path


def test_report(corpus):
    report = json.loads(json.dumps(inspect_corpus(open_corpus(corpus), rejects=corpus / "rejects.jsonl")))
    train, test, other = report["files"]
    assert (train["rows"], train["kept"], train["repaired"], train["rejected"]) == (
        4,
        2,
        {"cut_mark": 1},
        {"empty_text": 2},
    )
    assert (train["labels"], test["labels"]) == ({"x": 2}, {"y": 1})
    assert train["characters"] == {"p50": 9, "p90": 10, "p99": 10, "max": 10}
    assert train["words"] == {"p50": 4, "p90": 4, "p99": 4, "max": 4}
    assert (other["rows"], other["characters"]["max"]) == (0, None)
    total = report["total"]
    assert (total["rows"], total["kept"], total["labels"]) == (5, 3, {"x": 2, "y": 1})
    assert total["bytes"] == sum(path.stat().st_size for path in corpus.glob("*.tsv"))
    assert report["incomplete"] == ["xx"]
    rejects = [json.loads(line) for line in (corpus / "rejects.jsonl").read_text().splitlines()]
    assert [(r["file"], r["line"], r["reason"], r["kept"]) for r in rejects] == [
        ("de_corpora_train.tsv", 3, "cut_mark", True),
        ("de_corpora_train.tsv", 4, "empty_text", False),
        ("de_corpora_train.tsv", 5, "empty_text", False),
    ]


def test_rejects_are_written_only_on_request(corpus):
    before = sorted(corpus.iterdir())
    report = inspect_corpus(open_corpus(corpus, languages="de", cut_marks="reject"))
    assert report["total"]["rejected"] == {"cut_mark": 1, "empty_text": 2}
    assert sorted(corpus.iterdir()) == before


def test_table(corpus):
    files, labels, reasons, repeats, incomplete = format_table(inspect_corpus(open_corpus(corpus))).split("\n\n")
    assert repeats.splitlines()[0].startswith("train: 0 texts occur with different triples")
    header, train, *_, total = [line.split() for line in files.splitlines()]
    assert header[:6] == ["file", "rows", "kept", "repaired", "rejected", "labels"]
    assert "chars p50" in files and "words max" in files
    assert train == ["de_corpora_train.tsv", "4", "2", "1", "2", "1", "9", "10", "10", "10", "4", "4", "4", "4"]
    assert total == ["total", "5", "3", "1", "2", "2", "9", "10", "10", "10", "4", "4", "4", "4"]
    lines = [line.split(maxsplit=4) for line in reasons.splitlines()[1:]]
    assert ["rejected", "empty_text", "de_corpora_train.tsv", "2"] in lines
    assert ["repaired", "cut_mark", "total", "1"] in [line[:4] for line in lines if len(line) == 5]
    assert [line.split() for line in labels.splitlines()] == [
        *(["label", "de", "all"], ["x", "2", "2"], ["y", "1", "1"], ["all", "3", "3"])
    ]
    assert incomplete == "languages without a train or test file: xx"


def files(counts: dict[str, dict[str, int]]) -> list[dict]:
    """Labels by language as those of a report's files."""
    return [{"language": language, "labels": labels} for language, labels in counts.items()]


def test_labels_by_language_have_the_most_frequent_ones_first():
    counts = {"uk": {"b": 3, "a": 1500}, "de": {"b": 4}, "": {}, "pt-BR": {"c": 4}}
    assert [line.split() for line in labels_by_language(files(counts)).splitlines()] == [
        ["label", "de", "uk", "pt-BR", "all"],
        ["a", "-", "1,500", "-", "1,500"],
        ["b", "4", "3", "-", "7"],
        ["c", "-", "-", "4", "4"],
        ["all", "4", "1,503", "4", "1,511"],
    ]
    assert labels_by_language(files({"de": {}})) == ""


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 99)), max_size=200))
def test_a_shortened_table_of_labels_still_sums_up(triples):
    counts: dict[str, Counter] = {}
    for language, label, n in triples:
        counts.setdefault(f"x{chr(97 + language // 26)}{chr(97 + language % 26)}", Counter())[f"{label:x>50}"] += n
    table = labels_by_language(files(counts))
    rows = [re.split(r"\s{2,}", line) for line in table.splitlines()[1:]]
    assert len(rows) <= MOST_LABELS + 2 and all(len(row) <= MOST_LANGUAGES + 3 for row in rows)
    numbers = [[int(cell.replace(",", "").replace("-", "0")) for cell in row[1:]] for row in rows]
    assert all(sum(row[:-1]) == row[-1] for row in numbers)
    if numbers:
        assert [sum(column) for column in zip(*numbers[:-1], strict=True)] == numbers[-1]
        assert numbers[-1][-1] == sum(n for _, _, n in triples)


def test_table_of_a_clean_corpus_has_no_reasons(corpus):
    (corpus / "de_corpora_train.tsv").unlink()
    (corpus / "xx_corpora_train.tsv").unlink()
    report = inspect_corpus(open_corpus(corpus))
    report["incomplete"] = []
    assert "reason" not in format_table(report)


@given(st.lists(st.integers(0, 50), min_size=1))
def test_percentiles_are_nearest_ranks(lengths):
    found = percentiles(Counter(lengths))
    ranked = sorted(lengths)
    for p in (50, 90, 99):
        assert found[f"p{p}"] == ranked[math.ceil(len(ranked) * p / 100) - 1]
    assert found["max"] == ranked[-1]


def test_a_full_disk_leaves_no_half_of_the_rejects(corpus):
    for index in range(100):
        with (corpus / "de_corpora_train.tsv").open("a", encoding="utf-8") as file:
            file.write(row(f"{index} without a mark", "x", "de"))
    rejects = corpus / "folder" / "rejects.jsonl"
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large") as full:
        inspect_corpus(open_corpus(corpus), rejects=rejects)
    assert full.value.filename == str(rejects) and not rejects.parent.exists()
