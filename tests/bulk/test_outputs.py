"""What `mere-ds extract --out` writes, in every format."""

import csv
import gzip
import io
import json
import os
import re
import sys
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rdflib
from hypothesis import example, given
from hypothesis import strategies as st

from mere_ds.bulk.answering import Answered
from mere_ds.bulk.graph_files import HEADERS, write_graph
from mere_ds.bulk.n_triples import NAMESPACE, statements
from mere_ds.bulk.reading import open_source
from mere_ds.bulk.run import _bar
from mere_ds.bulk.writing import TRIPLE_COLUMNS, Writer
from tests.bulk.conftest import answers
from tests.small_model import TEXTS

ROWS = [
    {"id": 1, "text": TEXTS[0], "lang": "de", "score": 1},
    {"id": "zwei", "text": TEXTS[1], "lang": "fr", "score": 0.5},
    {"id": None, "text": "", "lang": "de", "score": "?"},
    {"text": TEXTS[0], "lang": "xx", "note": "of the input"},
]


@pytest.fixture
def rows(tmp_path):
    (file := tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return file


@pytest.fixture
def plain(extract, rows):
    return answers(extract("--lang_field=lang", f"--file={rows}"))


def made(extract, rows, out, *argv, language="--lang_field=lang") -> str:
    assert extract(language, f"--file={rows}", f"--out={out}", *argv) == ""
    left = {path.name for path in out.parent.iterdir()} - {rows.name, out.name, f"{out.name}.record.json"}
    assert not left, "what was on disk meanwhile is gone"
    return extract.said


def test_json_lines_are_what_is_printed(extract, rows, plain, tmp_path):
    for name, opened in (("a.jsonl", open), ("b.ndjson.gz", gzip.open)):
        said = made(extract, rows, tmp_path / name)
        with opened(tmp_path / name, "rt", encoding="utf-8") as file:
            assert answers(file.read()) == plain
        assert "rows: 4, triples: 2, notes: 2 (empty text: 1, unknown language: 1)" in said
        for path in (tmp_path / name, tmp_path / f"{name}.record.json"):
            path.unlink()
    made(extract, rows, tmp_path / "c.jsonl.zst")
    with pa.CompressedInputStream(str(tmp_path / "c.jsonl.zst"), "zstd") as file:
        assert answers(file.read().decode()) == plain


def test_the_record_says_what_it_was_made_from(extract, rows, tmp_path):
    made(extract, rows, tmp_path / "a.csv", "--max_triples=3")
    record = json.loads((tmp_path / "a.csv.record.json").read_text())
    assert record["rows"] == 4 and record["triples"] == 2
    assert record["notes"] == {"empty text": 1, "unknown language": 1}
    assert record["made_from"]["max_triples"] == 3 and record["made_from"]["input_format"] == "jsonl"
    assert len(record["made_from"]["input"]) == len(record["made_from"]["model"]) == 64


def test_csv_has_a_row_for_each_triple_and_for_each_note(extract, rows, plain, tmp_path):
    made(extract, rows, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert tuple(found[0]) == TRIPLE_COLUMNS
    assert [(row["line"], row["id"], row["lang"]) for row in found] == [
        *(("1", "1", "de"), ("2", "zwei", "fr"), ("3", "", "de"), ("4", "", "xx")),
    ]
    for row, answer in zip(found[:2], plain, strict=False):
        (triple,) = answer["triples"]
        assert row["head"] == triple["head"]["text"] and int(row["tail_end"]) == triple["tail"]["end"]
        assert row["relation"] == triple["relation"] and float(row["score"]) == triple["score"]
    assert [row["note"].split(":")[0] for row in found] == ["", "", "empty text", "unknown language"]


def test_parquet_has_the_fields_with_one_type_each(extract, rows, plain, tmp_path):
    made(extract, rows, tmp_path / "a.parquet")
    found = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["id"] for row in found] == ["1", "zwei", None, None], "numbers and strings become strings"
    assert [row["score"] for row in found] == ["1", "0.5", "?", None]
    assert found[3]["input_note"] == "of the input"
    for name in ("text", "lang", "triples", "note"):
        assert [row[name] for row in found] == [answer.get(name) for answer in plain]


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([1, 0.5], [1.0, 0.5]),
        ([2**53 + 1, 0.5], [str(2**53 + 1), "0.5"]),
        ([2**53 + 1, 1], [2**53 + 1, 1]),
        ([2**63, 1], [str(2**63), "1"]),
    ],
)
def test_parquet_never_rounds_a_number(extract, tmp_path, values, column):
    lines = [json.dumps({"text": TEXTS[0], "n": value}) + "\n" for value in values]
    (file := tmp_path / "in.jsonl").write_text("".join(lines), encoding="utf-8")
    made(extract, file, out := tmp_path / "out.parquet", language="--lang=de")
    assert pq.read_table(out)["n"].to_pylist() == column


def test_parquet_keeps_the_columns_of_parquet(extract, tmp_path):
    day = datetime(2026, 1, 2, 3, 4, 5, 678)
    rows = [{"text": TEXTS[i % 3], "day": day, "triples": i, "raw": b"\xff"} for i in range(3000)]
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"made": "here"})
    pq.write_table(table, file := tmp_path / "in.parquet", row_group_size=700)
    made(extract, file, out := tmp_path / "out.parquet", "--processes=1", language="--lang=de")
    found = pq.read_table(out)
    assert found.select(["text", "day", "raw"]) == table.select(["text", "day", "raw"])
    assert found["input_triples"] == table["triples"] and found.schema.metadata[b"made"] == b"here"
    assert len(found["triples"][2999].as_py()) == 1


@pytest.mark.parametrize("rows", [0, 2])
def test_parquet_of_no_rows_has_its_columns(extract, tmp_path, rows):
    table = pa.table({"text": pa.array([TEXTS[0]] * rows, pa.string())})
    pq.write_table(table, file := tmp_path / "in.parquet")
    extract("--lang=de", f"--file={file}", f"--out={tmp_path / 'out.parquet'}")
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["text", "lang", "triples", "note"]


def test_an_empty_input_makes_an_empty_output(extract, tmp_path):
    (file := tmp_path / "in.txt").write_bytes(b"")
    for name, content in (("a.jsonl", b""), ("a.nt", b""), ("a.csv", ",".join(TRIPLE_COLUMNS).encode() + b"\r\n")):
        extract("--lang=de", f"--file={file}", f"--out={tmp_path / name}")
        assert (tmp_path / name).read_bytes() == content
    extract("--lang=de", f"--file={file}", f"--out={(packed := tmp_path / 'a.jsonl.gz')}")
    assert packed.read_bytes() and gzip.decompress(packed.read_bytes()) == b"", "no bytes at all were no .gz"
    extract("--lang=de", f"--file={file}", f"--out={(packed := tmp_path / 'a.jsonl.zst')}")
    assert packed.read_bytes() and pa.input_stream(str(packed)).read() == b""


def test_names_of_fields_that_parquet_cannot_have_are_escaped(extract, tmp_path):
    (file := tmp_path / "in.jsonl").write_text(r'{"text": "Anna in Oslo", "\ud800": "\udc00", "n": 1}' + "\n")
    made(extract, file, out := tmp_path / "out.parquet", language="--lang=de")
    (row,) = pq.read_table(out).to_pylist()
    assert row[r"\ud800"] == r"\udc00" and row["n"] == 1 and row["text"] == "Anna in Oslo"


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.zst"])
def test_a_missing_library_is_named_before_anything_is_computed(extract, rows, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    extract("--lang=de", f"--file={rows}", f"--out={tmp_path / 'new' / name}", code=2)
    assert "need pyarrow, which is not installed: pip install 'mere-ds[formats]'" in extract.said
    assert not (tmp_path / "new").exists(), "nothing is begun"


def test_n_triples_say_what_was_found(extract, rows, plain, tmp_path):
    made(extract, rows, tmp_path / "a.nt")
    graph = rdflib.Graph().parse(tmp_path / "a.nt", format="nt")
    rdf, own = rdflib.RDF, rdflib.Namespace(NAMESPACE)
    found = set()
    for statement in graph.subjects(rdf.type, rdf.Statement):
        triple = tuple(graph.value(statement, part) for part in (rdf.subject, rdf.predicate, rdf.object))
        assert triple in graph
        head, tail = (graph.value(triple[place], rdflib.RDFS.label) for place in (0, 2))
        text = graph.value(graph.value(statement, own["term:text"]), rdf.value)
        start, end = (int(graph.value(statement, own[f"term:head_{side}"])) for side in ("start", "end"))
        assert text[start:end] == str(head) and text.language == head.language
        found.add((str(head), str(tail), head.language, float(graph.value(statement, own["term:score"]))))
    assert found == {
        (its["head"]["text"], its["tail"]["text"], answer["lang"], its["score"])
        for answer in plain for its in answer["triples"]
    }  # fmt: skip
    assert sorted(str(note).split(":")[0] for note in graph.objects(None, own["term:note"])) == [
        *("empty text", "unknown language"),
    ]


SOME_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


NOTHING = {"relation": "", "score": 0.5} | dict.fromkeys(("head", "tail"), {"text": "", "start": 0, "end": 0})


@st.composite
def one_answer(draw) -> Answered:
    text = draw(SOME_TEXT)
    ends = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    entity = {"text": text[slice(*ends)], "start": ends[0], "end": ends[1]}
    score = draw(st.floats(0, 1))
    triples = [{"head": entity, "relation": draw(SOME_TEXT), "tail": entity, "score": score}]
    language = draw(st.sampled_from(["de", "pt-BR", "x_y", "zh-Hant-TW"]))
    return Answered(draw(st.integers(1, 9)), text, language, {}, triples, draw(st.none() | SOME_TEXT))


@given(one_answer())
def test_any_text_makes_valid_n_triples(answer):
    graph = rdflib.Graph().parse(data=statements(answer, {"stage": 1}).decode(), format="nt")
    assert set(map(str, graph.objects(None, rdflib.RDFS.label))) == {answer.triples[0]["head"]["text"]}
    assert set(map(str, graph.objects(None, rdflib.RDF.value))) == {answer.text}


@given(st.lists(one_answer(), max_size=5))
@example([Answered(1, "\r", "de", {}, [NOTHING | {"relation": "\r"}], None)] * 2)
def test_any_texts_make_csv_that_says_the_same(found):
    content = Writer("csv").unit(found).decode()
    rows = csv.DictReader(io.StringIO(content, newline=""), TRIPLE_COLUMNS)
    assert [row["head"] for row in rows] == [answer.triples[0]["head"]["text"] for answer in found]


def test_a_graph_has_each_entity_once(extract, rows, plain, tmp_path):
    made(extract, rows, tmp_path / "graph", "--to=neo4j")
    tables = {}
    for name, header in HEADERS.items():
        with (tmp_path / "graph" / name).open(encoding="utf-8", newline="") as file:
            tables[name] = list(csv.DictReader(file))
            file.seek(0)
            assert tuple(next(csv.reader(file))) == header
    assert sorted(path.name for path in (tmp_path / "graph").iterdir()) == sorted(HEADERS)
    entities = [row["id:ID(Entity)"] for row in tables["entities.csv"]]
    triples = [(answer["lang"], its) for answer in plain for its in answer["triples"]]
    assert sorted(entities) == sorted(
        {f"{lang}:{its[side]['text']}" for lang, its in triples for side in ("head", "tail")}
    )
    assert [(row[":TYPE"], float(row["score:double"])) for row in tables["relations.csv"]] == [
        (its["relation"], its["score"]) for _, its in triples
    ]
    lines = {row["line:ID(Text)"] for row in tables["texts.csv"]}
    assert {row[":END_ID(Text)"] for row in tables["mentions.csv"]} <= lines == {"1", "2", "3", "4"}
    for name in ("relations.csv", "mentions.csv"):
        assert {row[":START_ID(Entity)"] for row in tables[name]} <= set(entities)


def test_entities_of_many_units_are_nodes_once(tmp_path):
    triple = {"relation": "r", "score": 1.0} | dict.fromkeys(("head", "tail"), {"text": "A", "start": 0, "end": 1})
    write_graph(tmp_path / "graph", ([Answered(n, "A", "de", {}, [triple], None)] for n in range(3)), {"stage": 1})
    assert (tmp_path / "graph/entities.csv").read_text().splitlines()[1:] == ["de:A,A,de,Entity"]
    assert (tmp_path / "graph/relations.csv").read_text().splitlines()[1] == "de:A,de:A,r,1.0,0,0,1,0,1,1"


def test_a_pipe_is_not_replaced_by_answers(extract, rows, tmp_path):
    os.mkfifo(pipe := tmp_path / "a.jsonl")
    extract("--lang=de", f"--file={rows}", f"--out={pipe}", "--overwrite", code=2)
    assert "is a device or a pipe: choose a file" in extract.said and pipe.is_fifo()


def test_an_input_is_not_replaced_by_its_answers(extract, rows, tmp_path):
    extract("--lang=de", f"--file={rows}", f"--out={rows}", "--overwrite", code=2)
    assert "--out is the input: choose another file" in extract.said and len(rows.read_text().splitlines()) == len(ROWS)


def test_a_bar_says_how_much_is_read_and_the_time_left(rows, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for file, says in ((str(rows), r"50%.*/.*<.*B/s"), ("/dev/null", r"2.00 rows")):
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        source = open_source(file, "jsonl", "text", None)
        with _bar(source, show=True) as advance:
            advance(rows.stat().st_size // 2 if source.total else 2)
        assert re.search(says, terminal.getvalue()), terminal.getvalue()
    before = terminal.getvalue()
    with _bar(source, show=False) as advance:
        advance(2)
    assert terminal.getvalue() == before


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--out=x"], "says no format: end it in one of .jsonl"),
        (["--out=x.parquet.gz"], "leave .gz out"),
        (["--to=csv"], "pass --out"),
        (["--part=1/2"], "pass --out"),
        (["--out=x.jsonl", "--part=3/2"], "must be such as 2/4"),
        (["--out=x.jsonl", "--part=1/2", "--file=/dev/null"], "can be read only once: pass a file"),
        (["--out=x.jsonl", "--part=1/2", "--join=2"], "first make each part"),
        (["--out=x.jsonl", "--processes=0"], "must be at least 1"),
        (["--out=x.jsonl", "--batch_size=0"], "must be at least 1"),
    ],
)
def test_an_output_that_cannot_be_made_is_refused(extract, rows, tmp_path, monkeypatch, argv, says):
    monkeypatch.chdir(tmp_path)
    file = [] if argv[-1].startswith("--file") else [f"--file={rows}"]
    extract("--lang=de", *file, *argv, code=2)
    assert says in extract.said and [path.name for path in tmp_path.iterdir()] == [rows.name]
