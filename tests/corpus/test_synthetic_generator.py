"""The synthetic corpus as files: totals, shares, labels, disjoint entities, determinism, quirks."""

import re
from collections import Counter

import pytest

from mere_ds.corpus.languages import SMILER_LANGUAGES
from mere_ds.corpus.reading import read_file
from mere_ds.corpus.smiler import ENGLISH_SENTENCES, SENTENCES
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.corpus.synthetic.parts import is_test_name
from mere_ds.corpus.synthetic.quirks import RATES
from mere_ds.corpus.synthetic.shares import LABELS
from mere_ds.errors import UserError
from tests.full_disk import files_of_at_most

TOTAL = 42_000
MARKED = re.compile(r"<(e[12])>(.*?)</\1>")


def rows_of(folder, pattern="*.tsv"):
    """{file name: rows as lists of six columns}."""
    return {path.name: [columns(line) for line in lines_of(path)] for path in sorted(folder.glob(pattern))}


def lines_of(path):
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")[1:]


def columns(line):
    first, last = line.split("\t", 4), line.rsplit("\t", 1)
    return [*first[:4], first[4].rsplit("\t", 1)[0], last[1]]


def plain(text):
    return MARKED.sub(r"\2", text)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return folder, synthesize(folder, TOTAL, seed=5, processes=1)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    return folder, synthesize(folder, 14_000, seed=5, quirks=False, processes=1)


def test_exact_totals_and_files(corpus):
    folder, counts = corpus
    stems = ["en-small" if code == "en" else code for code in SMILER_LANGUAGES]
    assert {path.name for path in folder.iterdir()} == {
        f"{stem}_corpora_{split}.tsv" for stem in stems for split in ("train", "test")
    }
    rows = [row for of_file in rows_of(folder).values() for row in of_file]
    assert sum(bool(row[4]) for row in rows) == TOTAL == counts["sentences"] == counts["train"] + counts["test"]
    assert len(rows) == TOTAL + counts["quirks"]["empty_text"]


def test_shares_of_table_1_and_two_percent_test(corpus):
    _, counts = corpus
    table = SENTENCES | {"en-small": ENGLISH_SENTENCES["small"]}
    for stem, sentences in table.items():
        train, test = (counts["files"][f"{stem}_corpora_{split}.tsv"]["sentences"] for split in ("train", "test"))
        assert train + test == pytest.approx(TOTAL * sentences / sum(table.values()), rel=0.01, abs=1)
        assert test == max(20, round(0.02 * (train + test)))


def test_no_language_gets_fewer_than_asked(tmp_path):
    counts = synthesize(tmp_path, 3000, seed=5, at_least=150, processes=1)
    sizes = Counter()
    for name, file in counts["files"].items():
        sizes[name.split("_")[0]] += file["sentences"]
    assert min(sizes.values()) == sizes["uk"] == 150 and sizes["it"] > 300 and sum(sizes.values()) == 3000
    with pytest.raises(UserError, match="at_least"):
        synthesize(tmp_path, 3000, at_least=-1)


@pytest.mark.parametrize(
    ("sentences", "seed", "says"), [(10**23, 0, "--sentences=1.*at most 10"), (300, -1, "--seed=-1")]
)
def test_numbers_out_of_bounds_are_refused_before_anything_is_written(tmp_path, sentences, seed, says):
    with pytest.raises(UserError, match=says):
        synthesize(tmp_path / "out", sentences, seed=seed)
    assert not list(tmp_path.iterdir())


def test_every_label_of_a_language_and_no_other(corpus):
    folder, counts = corpus
    for name, rows in rows_of(folder).items():
        assert {row[5] for row in rows} == {name[:2]}
        labels = Counter(row[3] for row in rows if row[4])
        assert dict(labels) == {label: n for label, n in counts["files"][name]["labels"].items() if n}
        assert set(labels) <= set(LABELS[name[:2]])
        if "train" in name:
            assert set(labels) == set(LABELS[name[:2]]) and min(labels.values()) >= 3


def test_entities_of_the_test_files_are_in_no_training_file(corpus):
    folder, _ = corpus
    marked = {"train": set(), "test": set()}
    column = {"train": set(), "test": set()}
    for name, rows in rows_of(folder).items():
        split = "test" if "test" in name else "train"
        marked[split] |= {surface.casefold() for row in rows for _, surface in MARKED.findall(row[4])}
        column[split] |= {surface.casefold() for row in rows for surface in row[1:3]}
    assert not marked["train"] & marked["test"]
    assert not column["train"] & column["test"]
    assert not any(is_test_name(surface) for surface in marked["train"] - {""})
    assert all(is_test_name(surface) for surface in marked["test"] - {""})


def test_clean_rows_carry_what_their_columns_say_and_all_are_kept(clean):
    folder, counts = clean
    assert counts["quirks"] == {}
    for name, rows in rows_of(folder).items():
        examples = list(read_file(folder / name))
        assert len(examples) == len(rows) == counts["files"][name]["sentences"]
        for (row_id, head, tail, label, text, language), example in zip(rows, examples, strict=True):
            assert sorted(MARKED.findall(text)) == [("e1", head), ("e2", tail)]
            assert (example.id, example.triples[0].relation, example.language) == (row_id, label, language)
            assert example.text == plain(text)
            assert example.text[slice(*example.triples[0].head)] == head
            assert example.text[slice(*example.triples[0].tail)] == tail
            assert head.casefold() != tail.casefold() and "{" not in text and "  " not in text


def test_the_reader_keeps_all_but_what_quirks_spoil(corpus):
    folder, counts = corpus
    kept, rejected, repaired = 0, Counter(), Counter()

    def note(reject):
        (repaired if reject.kept else rejected)[reject.reason] += 1

    for path in folder.iterdir():
        kept += sum(1 for _ in read_file(path, on_reject=note))
    quirks = counts["quirks"]
    assert repaired == {"cut_mark": quirks["cut_mark"]}
    assert rejected["empty_text"] == quirks["empty_text"]
    assert sum(rejected.values()) == quirks["empty_text"] + quirks.get("empty_pair", 0) + quirks.get("repeated_mark", 0)
    assert kept == TOTAL - quirks.get("empty_pair", 0) - quirks.get("repeated_mark", 0)


def test_quirk_rates(corpus):
    _, counts = corpus
    for quirk, rate in RATES.items():
        expected = TOTAL * rate
        assert abs(counts["quirks"].get(quirk, 0) - expected) <= 5 * expected**0.5 + 1, quirk


def test_quirks_are_in_the_rows_as_often_as_counted(corpus):
    folder, counts = corpus
    rows = [row for of_file in rows_of(folder).values() for row in of_file]
    texts = [row[4] for row in rows]
    assert sum("nbsp" in text for text in texts) == counts["quirks"]["nbsp"]
    assert sum(text.startswith("Koordinaten: ") for text in texts) == counts["quirks"]["koordinaten"]
    assert sum(text.startswith("Coordinates: ") for text in texts) == counts["quirks"]["coordinates"]
    assert sum(text.startswith("|") for text in texts) == counts["quirks"]["leading_bar"]
    assert sum(" () " in text for text in texts) == counts["quirks"]["empty_brackets"]
    assert sum("\t" in text for text in texts) == counts["quirks"]["tab_in_text"]
    assert sum('"' in text for text in texts) == counts["quirks"]["literal_quotes"]
    assert sum(not row[0].isdigit() for row in rows) == counts["quirks"]["odd_id"]
    nulls = sum(row[1].casefold() in ("na", "nan", "null", "none", "n/a") for row in rows)
    assert nulls == counts["quirks"]["null_name"]
    assert sum(bool(re.search(r"<e[12]>\w\.$", text)) for text in texts) == counts["quirks"]["cut_mark"]
    pairs = [(row, dict(MARKED.findall(row[4]))) for row in rows]
    sound = [(row, pair) for row, pair in pairs if len(pair) == 2 and all(pair.values()) and "<e2><e2>" not in row[4]]
    differing = sum((pair["e1"], pair["e2"]) != (row[1], row[2]) for row, pair in sound)
    assert differing == counts["quirks"]["entity_column_differs"]
    same = [row for row in rows if row[4] and row[1].casefold() == row[2].casefold()]
    assert len(same) == counts["quirks"]["same_surface"]


def test_a_cut_sentence_can_be_repaired(corpus):
    folder, _ = corpus
    at_tail = []
    for name, rows in rows_of(folder).items():
        repairs = []
        read = list(read_file(folder / name, on_reject=lambda reject, found=repairs: found.append(reject)))
        lines = {reject.line for reject in repairs if reject.kept}
        for example in read:
            if example.line in lines:
                row = rows[example.line - 2]
                assert example.text[slice(*example.triples[0].head)] == row[1]
                assert example.text[slice(*example.triples[0].tail)] == row[2]
                at_tail.append(example.triples[0].tail > example.triples[0].head)
    assert sum(at_tail) / len(at_tail) > 0.9


def test_lengths_reach_far_but_never_above_100_words(corpus):
    folder, _ = corpus
    words = [len(plain(row[4]).split()) for of_file in rows_of(folder).values() for row in of_file if row[4]]
    assert max(words) <= 100
    assert sum(count > 60 for count in words) > TOTAL * 0.005
    assert max(words) > 90
    assert 10 <= sorted(words)[len(words) // 2] <= 40


def test_heads_stand_second_in_a_fair_share(clean):
    folder, _ = clean
    for name, rows in rows_of(folder, "*train.tsv").items():
        second = sum(row[4].index("<e2>") < row[4].index("<e1>") for row in rows) / len(rows)
        assert 0.2 < second < 0.8, name


@pytest.mark.parametrize("code", ["ar", "ko", "uk", "nl", "de"])
def test_marks_stand_inside_words(clean, code):
    rows = rows_of(clean[0], f"{code}_corpora_train.tsv")[f"{code}_corpora_train.tsv"]
    inside = [row for row in rows if re.search(r"\w<e[12]>\w|\w</e[12]>\w", row[4])]
    assert len(inside) > len(rows) * 0.05


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_seed_same_bytes_with_one_and_two_processes(tmp_path):
    first = synthesize(tmp_path / "one", 3000, seed=7, processes=1)
    second = synthesize(tmp_path / "two", 3000, seed=7, processes=2)
    synthesize(tmp_path / "other", 3000, seed=8, processes=1)
    assert first == second
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    other = contents(tmp_path / "other")
    assert all(bytes_ != other[name] for name, bytes_ in contents(tmp_path / "one").items())


@pytest.mark.parametrize("english, stem", [("small", "en-small"), ("mid", "en"), ("full", "en-full")])
def test_size_of_english_changes_share_and_file_name_only(tmp_path, english, stem):
    counts = synthesize(tmp_path, 2000, languages=["en", "de"], english=english, processes=1)
    share = ENGLISH_SENTENCES[english] / (ENGLISH_SENTENCES[english] + SENTENCES["de"])
    sentences = sum(counts["files"][f"{stem}_corpora_{split}.tsv"]["sentences"] for split in ("train", "test"))
    assert sentences == pytest.approx(2000 * share, abs=1)
    rows = rows_of(tmp_path, f"{stem}*")
    assert all(row[5] == "en" for of_file in rows.values() for row in of_file)


def test_long_files_go_on_over_chunks(tmp_path):
    synthesize(tmp_path, 10_300, languages="uk", quirks=False, processes=1)
    ids = [row[0] for row in rows_of(tmp_path)["uk_corpora_train.tsv"]]
    assert ids == [str(number) for number in range(len(ids))] and len(ids) > 10_000


@pytest.mark.parametrize(
    "arguments",
    [
        {"sentences": 139},
        {"sentences": 0, "languages": "de"},
        {"sentences": 1000, "languages": "tr"},
        {"sentences": 1000, "english": "large"},
        {"sentences": 1000, "processes": 0},
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments):
    with pytest.raises(UserError, match="--"):
        synthesize(tmp_path, **arguments)


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_no_part_of_a_corpus(tmp_path, there):
    """Of several files the first ones fit."""
    folder = tmp_path / "corpus"
    if there:
        synthesize(folder, 100, seed=1, languages="de,en", processes=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.tsv")}
    with files_of_at_most(8000), pytest.raises(OSError, match="File too large") as full:
        synthesize(folder, 200, seed=2, languages="de,en", processes=1)
    assert full.value.filename.endswith("_corpora_train.tsv")
    assert (
        folder.exists() == there
        and {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    )
