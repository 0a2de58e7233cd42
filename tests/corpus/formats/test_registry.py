"""Which format a source is of, and what its files are for."""

import json
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

from mere_ds.corpus import formats
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats import registry
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import FORMATS, open_source, recognised
from mere_ds.errors import UserError

CROSSRE = {"doc_key": "d", "sentence": ["A", "B"], "ner": [], "relations": [[0, 0, 1, 1, "x"]]}
DOCRED = {"title": "t", "sents": [["A"]], "vertexSet": [], "labels": []}


def written(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def splits(source, **options):
    options = SourceOptions(format="crossre", lang="de", **options)
    return [(file.path.name, file.split) for file in open_source(source, options)[1]]


def test_every_module_s_formats_are_listed():
    modules = [import_module(f"{formats.__name__}.{found.name}") for found in pkgutil.iter_modules(formats.__path__)]
    stated = [format.name for module in modules if module is not registry for format in vars(module).get("FORMATS", ())]
    assert list(FORMATS) == sorted(stated)


def test_only_the_module_of_the_format_that_is_read_is_imported(tmp_path):
    written(tmp_path / "train.json", CROSSRE)
    program = (
        "import sys; from mere_ds.corpus.folder import open_corpus; import mere_ds.corpus.inspection;"
        "from mere_ds.corpus.formats.options import SourceOptions;"
        f"open_corpus({str(tmp_path)!r}, options=SourceOptions(format='crossre', lang='de'));"
        "print(*(name.rpartition('.')[2] for name in sys.modules if name.startswith('mere_ds.corpus.formats.')))"
    )
    imported = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "crossre" in imported
    assert not {"brat", "tables", "xmi", "strings", "doccano"} & {*imported}


def test_each_format_says_what_it_is_and_what_its_reasons_mean():
    for name, format in FORMATS.items():
        assert format.name == name and format.about and "\n" not in format.about
        assert all(meaning for own in (format.losses, format.repairs, format.notes) for meaning in own.values())


def test_a_source_of_two_formats_is_an_error_that_lists_them_with_reasons(tmp_path):
    path = written(tmp_path / "train.json", CROSSRE | DOCRED)
    assert list(recognised(path)) == ["crossre", "docred"]
    with pytest.raises(UserError) as error:
        open_corpus(path, options=SourceOptions(lang="de"))
    assert str(error.value) == (
        f"{path}: may be of several formats: pass --format=crossre (doc_key and sentence); "
        "--format=docred (vertexSet and sents)"
    )
    for name in ("crossre", "docred"):
        corpus = open_corpus(path, options=SourceOptions(lang="de", format=name))
        assert corpus.source and corpus.source.format.name == name


def test_a_table_beside_a_text_without_annotations_may_be_of_either_format(tmp_path):
    (tmp_path / "train.csv").write_text("text,head,relation,tail\nAda runs X,Ada,runs,X\n")
    for end in (".ann", ".txt"):
        (tmp_path / f"a{end}").write_text("")
    answers = r"--format=brat \(an empty .ann beside .txt\); --format=table \(a column text\)"
    with pytest.raises(UserError, match=f"may be of several formats: pass {answers}"):
        open_corpus(tmp_path, options=SourceOptions(lang="de", split="train"))
    (tmp_path / "b.txt").write_text("Ada")
    (tmp_path / "b.ann").write_text("T1\tName 0 3\tAda\n")
    assert list(recognised(tmp_path)) == ["brat"]
    (tmp_path / "b.ann").write_text("a list\n")
    assert list(recognised(tmp_path)) == ["table"]
    (tmp_path / "b.ann").write_text("")
    (tmp_path / "train.csv").unlink()
    assert recognised(tmp_path) == {"brat": "an empty .ann beside .txt"}


def test_what_was_recognised_is_named_with_the_reason_and_what_was_given_is_not(tmp_path, caplog):
    path = written(tmp_path / "train.json", CROSSRE)
    open_corpus(path, options=SourceOptions(lang="de", format="crossre"))
    assert not caplog.messages
    open_corpus(path, options=SourceOptions(lang="de"))
    assert caplog.messages == [f"{path}: read as --format=crossre, recognised by: doc_key and sentence"]


def test_a_folder_is_of_a_format_only_if_all_of_its_files_are(tmp_path):
    written(tmp_path / "train.json", CROSSRE)
    assert list(recognised(tmp_path)) == ["crossre"]
    written(tmp_path / "test.json", DOCRED)
    assert not recognised(tmp_path)
    with pytest.raises(UserError) as error:
        open_corpus(tmp_path, options=SourceOptions(lang="de"))
    assert str(error.value) == (
        f"{tmp_path}: has files of several formats, or of none: move others away (--format=crossre fits all but "
        "test.json; --format=docred fits all but train.json)"
    )


def test_a_file_that_only_lies_beside_the_data_is_named(tmp_path):
    lines = '1\t"<e1>Rain</e1> on <e2>Monday</e2>"\nOther\n\n'
    (tmp_path / "train.txt").write_text(lines)
    (tmp_path / "README.txt").write_text("About it.\n")
    with pytest.raises(UserError, match=r"move others away \(--format=marked-text fits all but README.txt\)"):
        open_corpus(tmp_path, options=SourceOptions(lang="de"))


def test_files_named_like_our_json_lines_are_not_taken_for_these_because_of_a_file_beside_them(tmp_path):
    written(tmp_path / "de.train.jsonl", CROSSRE)
    written(tmp_path / "infos.json", {"splits": [{"name": "train"}]})
    with pytest.raises(UserError, match=r"--format=crossre fits all but infos.json"):
        open_corpus(tmp_path, options=SourceOptions(lang="de"))


def test_an_empty_file_says_nothing_of_the_format_and_is_named_when_it_is_read(tmp_path):
    written(tmp_path / "train.json", CROSSRE)
    empty = written(tmp_path / "a_test.json")
    assert list(recognised(tmp_path)) == ["crossre"]
    corpus = open_corpus(tmp_path, options=SourceOptions(lang="de"))
    with pytest.raises(UserError, match=f"{empty}: must be JSON lines"):
        for file in corpus.files:
            list(corpus.read(file))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.json", "train"),
        ("de-TRAIN_2.json", "train"),
        ("x.validation.json", "dev"),
        ("ai-dev.jsonl", "dev"),
        ("develop/a.json", "dev"),
        ("testing/more/a.json", "test"),
        ("train/eval.json", "test"),
        ("train/a.json", "train"),
    ],
)
def test_the_nearest_name_that_says_so_tells_what_a_file_is_for(tmp_path, name, split):
    path = written(tmp_path / "corpus" / name, CROSSRE)
    assert splits(tmp_path / "corpus") == [(path.name, split)]
    assert splits(tmp_path / "corpus", split="test") == [(path.name, "test")]


def test_files_are_read_in_the_order_of_train_dev_and_test(tmp_path):
    for name in ("b-test", "a-dev", "c-train", "a-train"):
        written(tmp_path / f"{name}.json", CROSSRE)
    names = [name for name, _ in splits(tmp_path)]
    assert names == ["a-train.json", "c-train.json", "a-dev.json", "b-test.json"]


@pytest.mark.parametrize("name", ["train_dev.json", "a.json", "latest.json", "trainer.json", "train/dev_test.json"])
def test_a_name_that_says_nothing_or_two_things_is_refused(tmp_path, name):
    written(tmp_path / "corpus" / name, CROSSRE)
    with pytest.raises(UserError, match="its name doesn't say whether it is for train, dev or test: pass --split"):
        splits(tmp_path / "corpus")


def test_a_source_that_is_not_there_or_has_nothing_of_its_format_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder or file"):
        splits(tmp_path / "nowhere")
    written(tmp_path / "a" / "train.txt")
    written(tmp_path / "a" / ".train.json", CROSSRE)
    with pytest.raises(UserError, match="contains nothing of --format=crossre"):
        splits(tmp_path / "a")
    with pytest.raises(UserError, match="--format=other: must be one of"):
        open_source(tmp_path, SourceOptions(format="other"))
