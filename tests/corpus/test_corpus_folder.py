"""A corpus folder of either format, seen through one front."""

import json
from dataclasses import fields

import pytest

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.inspection import format_table, inspect_corpus
from mere_ds.corpus.reading import COLUMNS
from mere_ds.errors import UserError

HEADER = "\t".join(COLUMNS) + "\n"
ROWS = [("born-in", "1"), ("no_relation", "2"), ("NA", "3"), ("born-in", "4")]


@pytest.fixture
def tables(tmp_path):
    """Two German files in SMiLER's format."""
    for split in ("train", "test"):
        rows = [f"{n}\tA\tB\t{label}\t<e1>A</e1> or <e2>B</e2>\tde\n" for label, n in ROWS]
        (tmp_path / f"de_corpora_{split}.tsv").write_text(HEADER + "".join(rows))
    return tmp_path


def json_lines(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        triples = [{"head": [0, 1], "relation": label, "tail": [5, 6]} for label in ("x", "NA")]
        row = {"id": name, "lang": name[:2], "text": "A or B", "triples": triples}
        (folder / name).write_text(json.dumps(row) + "\n")
    return folder


def names(corpus):
    return [file.path.name for file in corpus.files]


def labels(corpus):
    return [[t.relation for t in e.triples] for file in corpus.files[:1] for e in corpus.read(file)]


def test_tables_have_one_triple_and_json_lines_many(tables, tmp_path):
    one, many = open_corpus(tables), open_corpus(json_lines(tmp_path / "lines", "fr.train.jsonl"))
    assert (one.triples, many.triples) == ("one", "many")
    assert labels(one) == [["born-in"], ["no_relation"], ["NA"], ["born-in"]] and labels(many) == [["x", "NA"]]


def test_negative_labels_make_sentences_without_triples(tables, tmp_path):
    corpus = open_corpus(tables, triples="many", negative_labels=["NA", "no_relation", "Other", "NA"])
    assert corpus.negative_labels == ("NA", "no_relation", "Other")
    assert labels(corpus) == [["born-in"], [], [], ["born-in"]]
    lines = json_lines(tmp_path / "lines", "fr.train.jsonl")
    assert labels(open_corpus(lines, negative_labels=("NA",))) == [["x"]]
    for folder, options in ((tables, {}), (lines, {"triples": "one"})):
        with pytest.raises(UserError, match="--negative_label=NA makes sentences without triples: add --triples=many"):
            open_corpus(folder, negative_labels=("NA",), **options)
    with pytest.raises(UserError, match="--negative_label has an empty name"):
        open_corpus(lines, negative_labels=["NA", " "])


def test_json_lines_files_in_the_languages_order(tmp_path):
    there = ["fr.train.jsonl", "de.test.jsonl", "de.train.jsonl", "de.dev.jsonl", "xx.train.jsonl", "fr.test.jsonl"]
    folder = json_lines(tmp_path / "lines", *there)
    for other in ("rejects.jsonl", "notes.txt", "._de.train.jsonl"):
        (folder / other).write_text("{")
    ordered = [f"de.{split}.jsonl" for split in ("train", "dev", "test")]
    corpus = open_corpus(folder)
    assert names(corpus) == ["fr.train.jsonl", "fr.test.jsonl", *ordered, "xx.train.jsonl"]
    assert corpus.languages == ["fr", "de", "xx"] and corpus.has("dev")
    assert names(open_corpus(folder, "de")) == ordered and not open_corpus(folder, "fr,xx").has("dev")
    with pytest.raises(UserError, match="contains no row for it, pt"):
        open_corpus(folder, "EURO")
    with pytest.raises(UserError, match="--english=small: .* has no sizes of English"):
        open_corpus(folder, english="small")


GIVEN = {
    **{"lang": "fr", "split": "dev", "cut": "sentence", "map": ("text=a",)},
    **{"offsets": "utf16", "end": "inclusive", "ambiguous": "all"},
}
"""A value of every option that says how another tool's files are read."""


@pytest.mark.parametrize("option", GIVEN)
def test_what_is_said_of_other_tools_files_is_refused_for_ours_and_not_passed_over(tables, tmp_path, option):
    assert GIVEN.keys() == {field.name for field in fields(SourceOptions)} - {"format"}
    for format, folder in (("smiler", tables), ("jsonl", json_lines(tmp_path / "lines", "fr.train.jsonl"))):
        for given in {format, "auto"} if option != "map" else {format}:
            with pytest.raises(UserError, match=f"--{option}=.*: format {format} has no use for it: omit it"):
                open_corpus(folder, options=SourceOptions(format=given, **{option: GIVEN[option]}))


def test_what_is_for_smiler_s_files_is_refused_for_others(tmp_path):
    lines = json_lines(tmp_path / "lines", "fr.train.jsonl")
    other = tmp_path / "train.csv"
    other.write_text("text,head,relation,tail\nA or B,A,x,B\n")
    for folder in (lines, other):
        for option, reason in ({"cut_marks": "reject"}, "no marks"), ({"english": "mid"}, "no sizes of English"):
            with pytest.raises(UserError, match=f"{reason}, as SMiLER's files have: omit it"):
                open_corpus(folder, options=SourceOptions(lang="de" if folder is other else None), **option)


def test_unusable_folders(tables, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        open_corpus(tmp_path / "absent")
    mixed = json_lines(tables, "fr.train.jsonl")
    both = "de_corpora_test.tsv, de_corpora_train.tsv, fr.train.jsonl"
    with pytest.raises(UserError, match=rf"corpus files in two formats \({both}\): move those of one format away"):
        open_corpus(mixed)
    for name in ("german.train.jsonl", "de-.test.jsonl", "de.x.dev.jsonl"):
        with pytest.raises(UserError, match=f"{name}: rename it to LANGUAGE.train.jsonl"):
            open_corpus(json_lines(tmp_path / name, name))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        UserError, match=r"contains no corpus files \(\*_corpora_\*\.tsv or \*\.train\.jsonl\), and is of no"
    ):
        open_corpus(empty)
    (empty / "de.train.jsonl").mkdir()
    with pytest.raises(UserError, match="is not a regular file"):
        open_corpus(empty)
    for options in ({"triples": "two"}, {"cut_marks": "drop"}):
        with pytest.raises(UserError, match="must be one of"):
            open_corpus(json_lines(tmp_path / "lines", "de.train.jsonl"), **options)


def test_inspect_shows_triples_a_sentence_where_not_each_has_one(tables, tmp_path):
    assert "sentences with" not in format_table(inspect_corpus(open_corpus(tables)))
    folder = json_lines(tmp_path / "lines", "de.train.jsonl", "fr.train.jsonl")
    more = [{"head": [0, 1], "relation": f"r{n}", "tail": [5, 6]} for n in range(7)]
    rows = [{"id": "1", "text": "A or B", "triples": more[:n]} for n in (0, 0, 3, 5, 7)]
    with (folder / "de.train.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    report = json.loads(json.dumps(inspect_corpus(open_corpus(folder))))
    assert report["total"]["triples"] == {"0": 2, "2": 2, "3": 1, "5": 1, "7": 1}
    assert report["incomplete"] == ["fr", "de"]
    lines = [line.split() for line in format_table(report).splitlines()]
    assert ["de.train.jsonl", "17", "2", "0", "1", "1", "0", "2"] in lines
    assert ["total", "19", "2", "0", "2", "1", "0", "2"] in lines
    assert report["total"]["overlaps"] == {"same pair": 19}
    assert ["triples", "by", "overlap", "normal", "same", "pair", "same", "entity", "nested"] in lines
    assert ["de", "0", "17", "0", "0"] in lines and ["all", "0", "19", "0", "0"] in lines
    assert ["label", "fr", "de", "all"] in lines and ["r0", "-", "3", "3"] in lines and ["NA", "1", "1", "2"] in lines
