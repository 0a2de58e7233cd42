"""Labels that are renamed, merged or dropped while a corpus is read, whatever its format."""

import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.converting import convert_corpus
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.inspection import format_table, inspect_corpus
from mere_ds.corpus.labels import LabelMap
from mere_ds.corpus.reading import COLUMNS
from mere_ds.corpus.rows import Tally
from mere_ds.errors import UserError
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.summary import summary
from tests.shards.toy_corpus import LABELS, make_shards, write_corpus, write_json_lines

MAP = {"born": "birth-place", "birth": "birth-place", "bad": None, "empty": ""}


@pytest.fixture
def mapped(tmp_path):
    """The path of a map with this content."""

    def make(content):
        path = tmp_path / "labels.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return make


def triple(label: str, at: int = 0) -> dict:
    return {"head": [at, at + 1], "relation": label, "tail": [5, 6]}


def json_lines(folder, *rows):
    """A file with a sentence for each list of labels."""
    folder.mkdir(exist_ok=True)
    lines = [{"id": str(n), "text": "A or B", "triples": [triple(x) for x in labels]} for n, labels in enumerate(rows)]
    (folder / "de.train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    return folder


def tables(folder, *labels):
    folder.mkdir(exist_ok=True)
    rows = [f"{n}\tA\tB\t{label}\t<e1>A</e1> or <e2>B</e2>\tde\n" for n, label in enumerate(labels)]
    (folder / "de_corpora_train.tsv").write_text("\t".join(COLUMNS) + "\n" + "".join(rows))
    return folder


def crossre(folder, *rows):
    """The same as `json_lines` in another tool's format."""
    folder.mkdir(exist_ok=True)
    lines = [
        {
            **{"doc_key": "d", "sentence": ["A", "or", "B"], "ner": []},
            "relations": [[0, 0, 2, 2, x, "", False, False] for x in labels],
        }
        for labels in rows
    ]
    (folder / "news-train.json").write_text("".join(json.dumps(row) + "\n" for row in lines))
    return folder


def read(folder, **options):
    """Labels by sentence, reasons of rejects, and the counts, which must add up."""
    corpus = open_corpus(folder, **options)
    [file] = corpus.files
    rejects, tally = [], Tally(file)
    examples = list(corpus.read(file, rejects.append, tally))
    [counts] = tally.counts
    labels = [[t.relation for t in example.triples] for example in examples]
    assert counts.kept == len(examples) and counts.rows == counts.kept + counts.rejected.total()
    assert sorted(r.reason for r in rejects if not r.kept) == sorted(counts.rejected.elements())
    if not corpus.negative_labels:
        assert +counts.labels == counts.labels and sorted(counts.labels.elements()) == sorted(sum(labels, []))
    return labels, [r.reason for r in rejects], counts


@pytest.mark.parametrize("write", [json_lines, crossre])
def test_labels_are_renamed_merged_and_dropped_and_all_is_counted(write, tmp_path, mapped):
    from mere_ds.corpus.formats.options import SourceOptions

    rows = [["born", "other"], ["born", "birth"], ["bad"], [], ["empty", "birth-place", "birth", "born"]]
    folder = write(tmp_path / "corpus", *rows)
    options = SourceOptions(lang="de") if write is crossre else SourceOptions()
    labels, rejects, counts = read(folder, label_map=mapped(MAP), options=options)
    assert labels == [["birth-place", "other"], ["birth-place"], [], [], ["birth-place"]] and not rejects
    assert counts.left_out == {"dropped_label": 2, "double_triple": 3}
    assert counts.relabelled == {"born": 3, "birth": 2, "bad": 1, "empty": 1}
    assert counts.labels.total() + counts.left_out.total() == sum(map(len, rows))


def test_a_new_name_is_not_renamed_again_and_blanks_at_the_ends_do_not_count(tmp_path, mapped):
    folder = json_lines(tmp_path / "corpus", ["a"], ["b"], [" c "])
    assert read(folder, label_map=mapped({"a": "b", " b": "c ", "c": "a"}))[0] == [["b"], ["c"], ["a"]]
    assert read(folder, label_map=mapped({}))[0] == [["a"], ["b"], ["c"]]


def test_with_one_triple_a_sentence_what_is_left_decides(tmp_path, mapped):
    folder = json_lines(tmp_path / "corpus", ["born", "bad"], ["bad"], ["born", "birth"], ["born", "x"], [], ["x"])
    labels, rejects, counts = read(folder, label_map=mapped(MAP), triples="one")
    assert labels == [["birth-place"], ["birth-place"], ["x"]]
    assert rejects == ["dropped_label", "not_one_triple", "not_one_triple"]
    assert counts.left_out == {"dropped_label": 2, "double_triple": 1, "not_one_triple": 2}
    assert read(folder, triples="one")[1] == ["not_one_triple"] * 4


def test_rows_of_a_table_with_a_dropped_label_are_rejected_or_without_triples(tmp_path, mapped):
    folder = tables(tmp_path / "corpus", "born", "bad", "x")
    labels, rejects, counts = read(folder, label_map=mapped(MAP))
    assert labels == [["birth-place"], ["x"]] and rejects == ["dropped_label"] and counts.rejected.total() == 1
    assert read(folder, label_map=mapped(MAP), triples="many")[0] == [["birth-place"], [], ["x"]]


def test_negative_labels_are_those_of_the_map(tmp_path, mapped):
    folder = json_lines(tmp_path / "corpus", ["NA", "x"], ["none"])
    options = {"label_map": mapped({"NA": "none"}), "negative_labels": ["none"]}
    assert read(folder, **options)[0] == [["x"], []]


labels = st.sampled_from(["a", "b", "c", "d"])


@given(
    st.lists(st.lists(labels, max_size=5, unique=True), max_size=6),
    st.dictionaries(labels, st.sampled_from(["a", "b", "x", "", None])),
    st.sampled_from(["one", "many"]),
)
@settings(deadline=None, max_examples=60)
def test_every_triple_is_kept_or_counted(tmp_path_factory, rows, new, triples):
    folder = tmp_path_factory.mktemp("corpus")
    path = folder / "labels.json"
    path.write_text(json.dumps(new))
    found, rejects, counts = read(json_lines(folder / "in", *rows), label_map=path, triples=triples)
    wanted = [list(dict.fromkeys(name for x in row if (name := new.get(x, x)))) for row in rows]
    assert found == [row for row in wanted if triples == "many" or len(row) == 1]
    assert counts.labels.total() + counts.left_out.total() == sum(map(len, rows))
    assert counts.relabelled.total() == sum(x in new for row in rows for x in row)


@pytest.mark.parametrize(
    "content, message",
    [
        *(("[]", "labels.json"), ("{", "labels.json"), ('{"a": 1}', "is not a label and its new name")),
        *(('{"": "a"}', "is not a label"), ('{"a": "b", " a": "c"}', "or it is there twice")),
        *(('{"a": ["b"]}', "is not a label"), ('{"a": "\\ud800"}', "half of a surrogate pair")),
        *(('{"a": "b", "a": "c"}', "labels.json"), ('{"a": {}}', '{"old": "new", "unwanted": null}')),
    ],
)
def test_maps_that_are_none_are_refused_in_one_line(content, message, tmp_path, mapped):
    with pytest.raises(UserError) as error:
        open_corpus(json_lines(tmp_path / "corpus", ["a"]), label_map=mapped(content))
    assert message in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="absent.json"):
        LabelMap.load(tmp_path / "absent.json")


def test_labels_that_no_triple_has_are_warned_of_with_similar_ones(tmp_path, mapped):
    folder = json_lines(tmp_path / "corpus", ["birth-place", "x"])
    shown = format_table(
        inspect_corpus(open_corpus(folder, label_map=mapped({"birthplace": "b", "x": "y", "zz": "y"})))
    )
    assert "warning: no triple has the label birthplace (did you mean birth-place?), zz of --label_map" in shown
    shown = format_table(inspect_corpus(open_corpus(folder, label_map=mapped({"x": "y"}), negative_labels=["y", "NA"])))
    assert "warning: no row has the negative label NA" in shown and "of --label_map" not in shown


def test_a_conversion_records_its_map(tmp_path, mapped):
    path = mapped(MAP)
    folder = json_lines(tmp_path / "corpus", ["born", "NA"], ["bad"])
    report = convert_corpus(folder, tmp_path / "out", label_map=path, negative_labels=["NA"])
    assert report["total"]["left_out"] == {"dropped_label": 1}
    [record] = json.loads((tmp_path / "out" / "conversion.json").read_text())["conversions"]
    assert record["label_map"]["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert record["label_map"]["labels"] == {"bad": "", "birth": "birth-place", "born": "birth-place", "empty": ""}
    rows = [json.loads(line) for line in (tmp_path / "out" / "de.train.jsonl").read_text().splitlines()]
    assert [[t["relation"] for t in row["triples"]] for row in rows] == [["birth-place"], []]


def test_shards_have_the_new_labels_and_record_the_map(tmp_path, mapped):
    folder = write_corpus(tmp_path / "corpus", {"de": (60, 9), "fr": (40, 6)})
    plain = make_shards(folder, tmp_path / "plain")
    assert plain.label_map == {} and "label_map" not in json.loads((tmp_path / "plain/manifest.json").read_text())
    path = mapped({"made-of": None, "wrote": "author", "nonesuch": "x"})
    shards = make_shards(folder, tmp_path / "shards", label_map=path)
    assert LABELS["de"] == ["born-in", "wrote", "made-of"] and shards.labels == ["author", "born-in"]
    dropped = sum(file["rejected"].get("dropped_label", 0) for file in shards.files)
    assert dropped == sum(split.counts["de"].get("made-of", 0) for split in plain.splits.values()) > 0
    assert shards.missed_test == {} and shards.label_map["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert Manifest.load(tmp_path / "shards").label_map["labels"]["wrote"] == "author"
    assert "no triple has the label nonesuch of --label_map" in summary(shards)
    many = make_shards(folder, tmp_path / "many", label_map=path, triples="many")
    assert many.labels == shards.labels and many.splits["test"].sentences == plain.splits["test"].sentences
    assert sum(file["left_out"]["dropped_label"] for file in many.files if file["language"] == "de") == dropped


def test_labels_of_json_lines_are_mapped_in_shards(tmp_path, mapped):
    folder = write_json_lines(tmp_path / "lines", {"de": (30, 3, 3)})
    before = make_shards(folder, tmp_path / "before")
    shards = make_shards(folder, tmp_path / "after", label_map=mapped(dict.fromkeys(before.labels, "any")))
    assert shards.labels == ["any"] and len(before.labels) > 1
