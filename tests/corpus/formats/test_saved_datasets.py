"""Folders that Hugging Face's `datasets` saved, written by that library itself."""

import json

import pytest

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import recognised
from mere_ds.errors import UserError
from tests.corpus.formats.reading import convert

LABELS, KINDS = ["no_relation", "lives"], ["a", "b"]
TEXT = "Ada lebt in Bonn."


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of two splits, the second one in two files; a row a relation, and the same as lists in a row."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    label, text, number = datasets.ClassLabel(names=LABELS), datasets.Value("string"), datasets.Value("int32")
    place = {"von": number, "bis": number}
    link = {"typ": label, "a": number, "b": number, "c": number, "d": number}
    kinds = datasets.ClassLabel(names=KINDS)
    features = datasets.Features(
        {"satz": text, "typ": label, "kopf": place, "ende": place, "listen": datasets.Sequence(link), "art": kinds}
        | {"structs": [link]}
    )
    links = [{"typ": 1, "a": 0, "b": 3, "c": 12, "d": 16}, {"typ": 0, "a": 12, "b": 16, "c": 0, "d": 3}]
    row = {"satz": TEXT, "typ": 1, "kopf": {"von": 0, "bis": 3}, "ende": {"von": 12, "bis": 16}, "art": 1}
    row |= {"structs": links, "listen": {name: [item[name] for item in links] for name in link}}
    rows = [row, {**row, "satz": "Eva lebt in Bern.", "typ": 0}, {**row, "satz": "Bob lebt in Bern.", "typ": -1}]
    dataset = datasets.Dataset.from_list(rows, features=features)
    folder = tmp_path_factory.mktemp("saved")
    splits = datasets.DatasetDict({"train": dataset.select([2, 0]), "validation": dataset})
    splits.save_to_disk(folder / "all", num_shards={"train": 1, "validation": 2})
    dataset.to_parquet(folder / "x.parquet")
    return folder


FLAT = ("text=satz", "relation=typ", "head_start=kopf.von", "head_end=kopf.bis", "tail_start=ende.von")
FLAT = (*FLAT, "tail_end=ende.bis")
ENDS = ("triples.head_start=a", "triples.head_end=b", "triples.tail_start=c", "triples.tail_end=d")


def read(folder, **options):
    """Of each split the head, label and tail of its relations, as text."""
    corpus = open_corpus(folder, options=SourceOptions(lang="de", end="exclusive", **options))
    return {
        file.split: [
            (example.text[slice(*head)], label, example.text[slice(*tail)])
            for example in corpus.read(file)
            for head, label, tail in example.triples
        ]
        for file in corpus.files
    }


def test_class_labels_become_names_and_minus_one_means_none(saved):
    lives, none = ("Ada", "lives", "Bonn"), ("Eva", "no_relation", "Bern")
    assert read(saved / "all", map=FLAT) == {"train": [lives], "dev": [lives, none]}
    parquet = convert(saved / "x.parquet", map=FLAT, end="exclusive")
    assert parquet.triples == [[lives], [none]] and parquet.reasons == [(3, "missing_value")]


@pytest.mark.parametrize("column", ["listen", "structs"])
def test_a_list_of_structs_may_be_saved_as_a_struct_of_lists(saved, column):
    fields = ("text=satz", f"triples={column}", "triples.relation=typ", *ENDS)
    found = read(saved / "all", map=fields)["train"]
    assert found[:2] == [("Bob", "lives", "Bern"), ("Bern", "no_relation", "Bob")]
    assert found[2:] == [("Ada", "lives", "Bonn"), ("Bonn", "no_relation", "Ada")]


def test_the_folder_is_recognised_and_one_split_is_a_folder_too(saved):
    assert list(recognised(saved / "all")) == ["datasets"]
    assert read(saved / "all" / "train", map=FLAT) == {"train": [("Ada", "lives", "Bonn")]}


def test_a_damaged_folder_is_refused_in_one_line(saved, tmp_path):
    whole = (saved / "all" / "train" / "data-00000-of-00001.arrow").read_bytes()
    folder = tmp_path / "train"
    folder.mkdir()
    for state in ("{", "{}", '{"_data_files": [{"filename": "../x"}]}', '{"_data_files": [{"filename": "absent"}]}'):
        (folder / "state.json").write_text(state)
        with pytest.raises(UserError):
            read(folder, map=FLAT)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "x.arrow"}]}))
    for end in (0, 10, len(whole) // 2, len(whole) - 300):
        (folder / "x.arrow").write_bytes(whole[:end])
        with pytest.raises(UserError, match=r"x.arrow: cannot be read"):
            read(folder, map=FLAT)
