"""Ours -> Parquet -> ours."""

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.converting import convert_corpus
from mere_ds.corpus.example import Example, Triple
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.jsonl_writer import as_row
from mere_ds.corpus.formats.parquet_writer import ParquetWriter
from mere_ds.corpus.graphemes import BLANK
from mere_ds.errors import UserError
from mere_ds.files import json_line

CHARACTERS = st.characters(exclude_categories=["Cs"])
LABELS = st.text(CHARACTERS, min_size=1, max_size=5).map(str.strip).filter(bool)


@st.composite
def examples(draw) -> Example:
    text = draw(st.text(CHARACTERS, min_size=1, max_size=30).filter(lambda text: text.strip(BLANK)))
    solid = [place for place, character in enumerate(text) if character not in BLANK]
    spans = st.tuples(st.sampled_from(solid), st.sampled_from(solid)).map(lambda ends: (min(ends), max(ends) + 1))
    triples = draw(st.lists(st.builds(Triple, spans, LABELS, spans), max_size=4, unique=True))
    language = draw(st.sampled_from(["de", "pt-BR"]))
    return Example(draw(st.text(CHARACTERS, max_size=5)), language, text, tuple(triples), "", 0)


def facts(corpus):
    return [
        (file.split, example.id, example.language, example.text, example.triples)
        for file in corpus.files
        for example in corpus.read(file)
    ]


@settings(max_examples=20)
@given(st.lists(st.tuples(examples(), st.sampled_from(["train", "dev", "test"])), min_size=1, max_size=5))
def test_what_was_written_is_read_again_exactly(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("parquet")
    with ParquetWriter(folder, folder) as writer:
        for example, split in rows:
            writer.write(example, split)
    written = [(split, example.id, example.language, example.text, example.triples) for example, split in rows]
    assert sorted(facts(open_corpus(folder))) == sorted(written)


def test_convert_goes_there_and_back(tmp_path):
    source = tmp_path / "ours"
    source.mkdir()
    triple = Triple((0, 3), "in", (4, 5))
    rows = [Example(str(i), "de", f"Ada 💙 {i} Bonn", (triple,) * (i % 2), "", 0) for i in range(9)]
    (source / "de.train.jsonl").write_bytes(b"".join(json_line(as_row(row)) for row in rows))
    convert_corpus(source, tmp_path / "parquet", to="parquet")
    convert_corpus(tmp_path / "parquet", tmp_path / "back")
    again = (tmp_path / "back" / "de.train.jsonl").read_bytes()
    assert again == (source / "de.train.jsonl").read_bytes()
    with pytest.raises(UserError, match="de.train.parquet already"):
        convert_corpus(source, tmp_path / "parquet", to="parquet", add=True)


def test_a_file_of_many_row_groups_keeps_its_order(tmp_path):
    rows = [Example(str(i), "de", "Ada in Bonn.", (), "", 0) for i in range(9000)]
    with ParquetWriter(tmp_path, tmp_path) as writer:
        for row in rows:
            writer.write(row, "test")
    assert pyarrow.parquet.ParquetFile(tmp_path / "de.test.parquet").num_row_groups > 1
    assert [fact[1] for fact in facts(open_corpus(tmp_path))] == [row.id for row in rows]
