import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.converting import convert_corpus
from mere_ds.corpus.example import Example, Triple
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.brat_writer import Brat
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.graphemes import BLANK, trim
from mere_ds.errors import UserError


def write(folder, examples):
    folder.mkdir(exist_ok=True)
    with Brat(folder, folder) as writer:
        for example, split in examples:
            writer.write(example, split)


def read(folder):
    corpus = open_corpus(folder)
    assert corpus.source and corpus.source.format.name == "brat"
    return [(example, file.split) for file in corpus.files for example in corpus.read(file)]


def same(examples):
    """What must survive, in an order of its own."""
    return sorted((split, e.language, e.id, e.text, e.triples) for e, split in examples)


def example(text, *triples, own_id="s1", language="de"):
    return Example(own_id, language, text, tuple(Triple(*triple) for triple in triples), "", 1)


LETTERS = st.sampled_from("ab \n\r\t\u2028\u0085\x1c\u200b\ufeff🜚é́")
WORDS = st.text(LETTERS, min_size=1, max_size=12).filter(lambda text: text.strip(BLANK))
LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
    lambda x: x == x.strip() != ""
)


@st.composite
def sentences(draw):
    text = draw(WORDS)
    ends = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted).map(tuple)
    spans = ends.map(lambda span: trim(text, span)).filter(lambda span: text[slice(*span)].strip(BLANK))
    label = st.one_of(st.sampled_from(["a:b", "a/b", "a_b", "-x", "place of birth"]), LABELS)
    triples = draw(st.lists(st.tuples(spans, label, spans), max_size=3, unique=True))
    made = example(text, *triples, own_id=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=4)))
    return made, draw(st.sampled_from(["train", "test"]))


@settings(max_examples=50)
@given(st.lists(sentences(), min_size=1, max_size=5))
def test_what_is_written_is_read_back_exactly(tmp_path_factory, examples):
    folder = tmp_path_factory.mktemp("brat") / "corpus"
    write(folder, examples)
    assert same(read(folder)) == same(examples)


def test_a_sentence_of_zero_width_characters_alone_is_no_piece_of_a_document(tmp_path):
    (tmp_path / "a.txt").write_text("Ada.\n\u200b\nOslo.", encoding="utf-8")
    (tmp_path / "a.ann").touch()
    convert_corpus(tmp_path, tmp_path.with_name("out"), SourceOptions(lang="en", split="train"), to="brat")
    assert [e.text for e, _ in read(tmp_path.with_name("out"))] == ["Ada.", "Oslo."]


def test_an_entity_over_several_lines_is_a_piece_a_line_as_brat_reads_no_other(tmp_path):
    write(tmp_path / "x", [(example("Polar \n Tea\u2028Ltd in Oslo", ((0, 15), "IN", (19, 23))), "train")])
    [first, _, _] = (tmp_path / "x/de.train/0001.ann").read_text(encoding="utf-8").splitlines()
    assert first == "T1\tEntity 0 5;8 11;12 15\tPolar Tea Ltd"


def test_brat_gets_names_that_it_accepts_and_shows_the_labels(tmp_path):
    labels = ["a:b", "a/b", "a_b", "IN", "职业"]
    triples = [((0, 3), label, (7, 11)) for label in labels]
    write(tmp_path / "x", [(example("Ada in Oslo", *triples), "train")])
    folder = tmp_path / "x/de.train"
    names = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    assert names == {"a_b": "a:b", "a_b_2": "a/b", "a_b_3": "a_b", "__": "职业"}
    shown = (folder / "visual.conf").read_text(encoding="utf-8").splitlines()
    assert shown == ["[labels]", "__ | 职业", "a_b | a:b", "a_b_2 | a/b", "a_b_3 | a_b"]
    assert "\nIN\tArg1:Entity, Arg2:Entity\n" in (folder / "annotation.conf").read_text()


def test_a_document_holds_as_much_as_can_be_shown(tmp_path):
    short, long = [example("Ada in Oslo", own_id=f"s{n}") for n in range(120)], [example("a" * 15_000)] * 2
    write(tmp_path / "x", [(each, "train") for each in (*short, *long)])
    folder = tmp_path / "x/de.train"
    lines = [len(path.read_text().splitlines()) for path in sorted(folder.glob("*.txt"))]
    assert lines == [50, 50, 21, 1]


def test_annotations_added_in_brat_are_read_and_one_between_two_sentences_is_left_out(tmp_path):
    write(
        tmp_path / "x", [(example("Ada came.", own_id="s1"), "train"), (example("Oslo is far.", own_id="s2"), "train")]
    )
    added = "T1\tEntity 0 3\tAda\nT2\tEntity 10 14\tOslo\nT3\tEntity 18 21\tfar\nR1\tIS Arg1:T2 Arg2:T3\n"
    (tmp_path / "x/de.train/0001.ann").write_text(added + "R2\tIN Arg1:T1 Arg2:T2\n")
    report = convert_corpus(tmp_path / "x", tmp_path / "out")
    assert report["total"]["left_out"] == {"between_sentences": 1}
    rows = [json.loads(row) for row in (tmp_path / "out/de.train.jsonl").read_text().splitlines()]
    assert [(row["id"], row["triples"]) for row in rows] == [
        ("s1", []), ("s2", [{"head": [0, 4], "relation": "IS", "tail": [8, 11]}])
    ]  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]\n", b'{"id": "s1", "lang": "de", "start": 0, "end": 4}\n', b'{"id": 1}\n', b"\xff", b"[" * 99999],
)
def test_a_damaged_file_of_sentences_is_refused_in_one_line(tmp_path, damage):
    write(tmp_path / "x", [(example("Ada in Oslo"), "train")])
    (tmp_path / "x/de.train/0001.sentences.jsonl").write_bytes(damage)
    with pytest.raises(UserError, match="doesn't fit its .txt"):
        read(tmp_path / "x")


@pytest.mark.parametrize("damage", ["{", "[]", '{"a_b": 1}'])
def test_a_damaged_file_of_labels_is_refused_in_one_line(tmp_path, damage):
    write(tmp_path / "x", [(example("Ada in Oslo", ((0, 3), "a:b", (7, 11))), "train")])
    (tmp_path / "x/de.train/labels.json").write_text(damage)
    with pytest.raises(UserError, match=r"labels\.json"):
        read(tmp_path / "x")


def test_sentences_are_added_beside_others_but_not_to_the_same_folder(tmp_path):
    for language in ("de", "fr"):
        write(tmp_path / f"in.{language}", [(example("Ada in Oslo", language=language), "train")])
    convert_corpus(tmp_path / "in.de", tmp_path / "out", to="brat")
    convert_corpus(tmp_path / "in.fr", tmp_path / "out", to="brat", add=True)
    assert [e.language for e, _ in read(tmp_path / "out")] == ["de", "fr"]
    with pytest.raises(UserError, match=r"has fr\.train already"):
        convert_corpus(tmp_path / "in.fr", tmp_path / "out", to="brat", add=True)


def test_the_language_that_is_stated_must_be_the_given_one(tmp_path):
    write(tmp_path / "x", [(example("Ada in Oslo"), "train")])
    assert open_corpus(tmp_path / "x").languages == ["de"]
    corpus = open_corpus(tmp_path / "x", options=SourceOptions(lang="fr"))
    assert [list(corpus.read(file)) for file in corpus.files] == [[]]
