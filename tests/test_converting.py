"""A corpus of another tool becomes JSON lines, and every row and relation of it is accounted for."""

import json
from collections import Counter
from hashlib import sha256

import pytest

from mere_ds import lease
from mere_ds.converting import convert_corpus
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.writer_registry import WRITERS
from mere_ds.errors import MachineError, UserError
from tests.full_disk import files_of_at_most

TOKENS = ["Ada", "Vik", "runs", "Polar", "Tea"]
RUNS, SELF, DOUBLE, OUT = [0, 1, 3, 4, "runs"], [3, 4, 3, 4, "same"], [0, 1, 3, 4, "runs"], [0, 1, 3, 9, "runs"]
OPTIONS = SourceOptions(lang="de")


def row(*relations, **changes):
    return json.dumps({"doc_key": "d", "sentence": TOKENS, "ner": [], "relations": relations} | changes) + "\n"


@pytest.fixture
def source(tmp_path):
    """Three files of CrossRE with 11 relations, of which 5 can be kept."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "train.json").write_text(row(RUNS, SELF, DOUBLE, OUT) + row() + '{"doc_key": \n' + row(RUNS, sentence=7))
    (folder / "dev.json").write_text(row(RUNS, [0, 0, 1, 1, "no_relation"], [True, 1, 3, 4, "runs"]))
    (folder / "test.json").write_text(row(RUNS, OUT, 7))
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_relation_of_the_source_is_a_label_or_left_out_with_its_reason(tmp_path, source):
    report = convert_corpus(source, tmp_path / "out", OPTIONS)
    assert sorted(contents(tmp_path / "out")) == [
        *("conversion.json", "de.dev.jsonl", "de.test.jsonl", "de.train.jsonl", "rejects.jsonl"),
    ]
    total = report["total"]
    assert total["labels"] == {"runs": 3, "same": 1, "no_relation": 1}
    assert total["left_out"] == {"double_triple": 1, "span_out_of_text": 2, "wrong_keys": 3}
    assert (total["rows"], total["kept"], total["rejected"]) == (6, 4, {"invalid_json": 1, "wrong_keys": 1})
    assert sum(total["labels"].values()) + sum(total["left_out"].values()) == 11


def test_what_is_not_kept_is_told_with_its_file_line_and_reason(tmp_path, source):
    convert_corpus(source, tmp_path / "out", OPTIONS)
    told = [(r["file"], r["line"], r["reason"], r["kept"]) for r in lines(tmp_path / "out" / "rejects.jsonl")]
    assert told == [
        ("train.json", 1, "double_triple", True),
        ("train.json", 1, "span_out_of_text", True),
        ("train.json", 3, "invalid_json", False),
        ("train.json", 4, "wrong_keys", False),
        ("dev.json", 1, "wrong_keys", True),
        ("test.json", 1, "span_out_of_text", True),
        ("test.json", 1, "wrong_keys", True),
    ]


def test_what_was_written_is_read_back_as_it_was_read(tmp_path, source):
    convert_corpus(source, tmp_path / "out", OPTIONS)
    there, back = open_corpus(source, options=OPTIONS), open_corpus(tmp_path / "out")
    for split in ("train", "dev", "test"):
        found = [
            [
                (e.id, e.language, e.text, e.triples)
                for file in corpus.files
                if file.split == split
                for e in corpus.read(file)
            ]
            for corpus in (there, back)
        ]
        assert found[0] == found[1] and found[0]
    assert back.triples == "many"


def test_the_record_says_what_was_converted_and_how(tmp_path, source):
    report = convert_corpus(source, tmp_path / "out", OPTIONS, negative_labels=["no_relation"])
    [record] = json.loads((tmp_path / "out" / "conversion.json").read_text())["conversions"]
    assert record["source_sha256"] == {
        f"source/{name}": sha256(content).hexdigest() for name, content in contents(source).items()
    }
    assert record["options"]["lang"] == "de" and record["options"]["negative_label"] == ["no_relation"]
    assert record["options"]["to"] == "jsonl" and record["versions"]["python"]
    assert {key: record[key] for key in report} == json.loads(json.dumps(report)) and report["format"] == "crossre"
    assert [row["triples"] for row in lines(tmp_path / "out" / "de.dev.jsonl")] == [
        [{"head": [0, 7], "relation": "runs", "tail": [13, 22]}]
    ]


def test_a_table_that_gives_labels_their_names_is_in_the_record(tmp_path):
    (tmp_path / "meta").mkdir()
    mentions = [[{"name": name, "sent_id": 0, "pos": [n, n + 1]}] for n, name in enumerate(("Ada", "Oslo"))]
    document = {
        "title": "t",
        "sents": [["Ada", "Oslo"]],
        "vertexSet": mentions,
        "labels": [{"h": 0, "t": 1, "r": "P1"}],
    }
    (tmp_path / "train.json").write_text(json.dumps([document]))
    table = tmp_path / "meta" / "rel_info.json"
    table.write_text('{"P1": "residence"}')
    report = convert_corpus(tmp_path / "train.json", tmp_path / "out", OPTIONS)
    [record] = json.loads((tmp_path / "out" / "conversion.json").read_text())["conversions"]
    assert report["total"]["labels"] == {"residence": 1}
    assert list(record["source_sha256"]) == ["train.json", "meta/rel_info.json"]
    assert record["source_sha256"]["meta/rel_info.json"] == sha256(table.read_bytes()).hexdigest()


def test_an_output_that_exists_is_kept_unless_it_may_be_overwritten(tmp_path, source):
    out = tmp_path / "out"
    convert_corpus(source, out, OPTIONS)
    before = contents(out)
    with pytest.raises(UserError, match="exists already: choose another folder or pass --overwrite"):
        convert_corpus(source, out, SourceOptions(lang="fr"))
    assert contents(out) == before
    convert_corpus(source, out, SourceOptions(lang="fr"), overwrite=True)
    assert {name for name in contents(out) if name.startswith("de")} == set()
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="is not a converted corpus folder, so it is not overwritten"):
        convert_corpus(source, tmp_path / "mine", OPTIONS, overwrite=True)


def test_a_second_source_comes_beside_the_first(tmp_path, source):
    out = tmp_path / "out"
    convert_corpus(source, out, OPTIONS)
    before = contents(out)
    convert_corpus(source / "train.json", out, SourceOptions(lang="fr"), add=True)
    after = contents(out)
    assert {name: after[name] for name in before if name.startswith("de.")} == {
        name: content for name, content in before.items() if name.startswith("de.")
    }
    assert after["rejects.jsonl"].startswith(before["rejects.jsonl"])
    assert Counter(r["file"] for r in lines(out / "rejects.jsonl"))["train.json"] == 8
    first, second = json.loads((out / "conversion.json").read_text())["conversions"]
    assert list(second["source_sha256"]) == ["train.json"] and len(first["source_sha256"]) == 3
    assert [file.path.name for file in open_corpus(out).files] == [
        *("fr.train.jsonl", "de.train.jsonl", "de.dev.jsonl", "de.test.jsonl"),
    ]


def test_a_source_whose_file_is_there_already_changes_nothing(tmp_path, source):
    out = tmp_path / "out"
    convert_corpus(source, out, OPTIONS)
    before = contents(out)
    with pytest.raises(UserError, match=r"out: has de\.train\.jsonl already: convert to another folder"):
        convert_corpus(source / "train.json", out, OPTIONS, add=True)
    assert contents(out) == before and sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


@pytest.mark.parametrize("to", WRITERS)
def test_what_is_added_in_another_language_is_read_with_the_rest(tmp_path, source, to):
    out = tmp_path / "out"
    for lang in ("de", "fr"):
        convert_corpus(source, out, SourceOptions(lang=lang), to=to, add=lang == "fr")
    corpus = open_corpus(out)
    found = Counter((file.split, e.language, len(e.triples)) for file in corpus.files for e in corpus.read(file))
    rows = {("train", 2): 1, ("train", 0): 1, ("dev", 2): 1, ("test", 1): 1}
    assert found == {(split, lang, n): count for (split, n), count in rows.items() for lang in ("de", "fr")}


def test_two_formats_are_not_mixed_in_one_folder(tmp_path, source):
    """Who reads the folder would get the sentences of one of them alone."""
    out = tmp_path / "out"
    convert_corpus(source, out, OPTIONS, to="parquet")
    before = contents(out)
    with pytest.raises(UserError, match="out was made with --to=parquet: pass the same, or choose another folder"):
        convert_corpus(source, out, SourceOptions(lang="fr"), add=True)
    assert contents(out) == before and sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_adding_to_what_was_not_converted_is_refused(tmp_path, source):
    for out in (tmp_path / "nowhere", source.parent / "other"):
        with pytest.raises(UserError, match="was not made by mere-ds convert: omit --add"):
            convert_corpus(source, out, OPTIONS, add=True)
        out.mkdir()


def test_source_and_output_are_kept_apart_and_unknown_formats_refused(tmp_path, source):
    for out in (source, source / "out", tmp_path):
        with pytest.raises(UserError, match=r"OUT .* and SOURCE .* choose another folder for OUT"):
            convert_corpus(source, out, OPTIONS)
    with pytest.raises(UserError, match=r"--to=xml: must be one of .*\bjsonl\b"):
        convert_corpus(source, tmp_path / "out", OPTIONS, to="xml")


@pytest.mark.parametrize("to", sorted(WRITERS.keys() - {"brat"}))  # which writes many small files
def test_a_full_disk_leaves_no_half_of_a_corpus_and_an_earlier_one_as_it_was(tmp_path, source, to):
    rows = [row([0, 0, 1, 1, f"label {n}"], doc_key=str(n)) for n in range(400)]
    (source / "train.json").write_text("".join(rows))
    out = tmp_path / "out"
    convert_corpus(source / "dev.json", out, OPTIONS, to=to)
    before = contents(out)
    for options, how in ((OPTIONS, {"overwrite": True}), (SourceOptions(lang="fr"), {"add": True})):
        with files_of_at_most(3000), pytest.raises(OSError, match="File too large") as full:
            convert_corpus(source / "train.json", out, options, to=to, **how)
        assert full.value.filename == str(out)
        assert contents(out) == before and sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_an_interrupted_conversion_leaves_nothing(tmp_path, source, monkeypatch):
    def interrupted(self, example, split):
        raise KeyboardInterrupt

    monkeypatch.setattr(WRITERS["jsonl"], "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_corpus(source, tmp_path / "out", OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_of_two_conversions_at_once_the_second_is_told_who_writes(tmp_path, source, monkeypatch):
    write = WRITERS["jsonl"].write

    def meanwhile(self, example, split):
        monkeypatch.setattr(WRITERS["jsonl"], "write", write)
        with pytest.raises(MachineError, match="is writing here: wait for it, stop it or choose another OUT"):
            convert_corpus(source, tmp_path / "out", SourceOptions(lang="fr"))
        write(self, example, split)

    monkeypatch.setattr(lease, "BEAT", 0.1)  # the second one waits for it to see whether the first is alive
    monkeypatch.setattr(WRITERS["jsonl"], "write", meanwhile)
    convert_corpus(source, tmp_path / "out", OPTIONS)
    assert {name for name in contents(tmp_path / "out") if name.startswith("fr")} == set()


def test_an_error_in_the_middle_leaves_no_output(tmp_path, source):
    (source / "test.json").write_text("[")
    with pytest.raises(UserError, match=r"test\.json: is not valid JSON"):
        convert_corpus(source, tmp_path / "out", SourceOptions(format="crossre", lang="de"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
