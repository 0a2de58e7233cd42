"""What `mere-ds extract` reads: lines, JSON lines, CSV and Parquet, compressed or not, with rows that can't be read."""

import gzip
import json
import sys
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mere_ds.bulk.rows import Parser
from tests.bulk.conftest import answers
from tests.small_model import TEXTS

BAD_JSON = [
    ('{"text": "Anna"', "not JSON: line 2: Expecting ',' delimiter at character 16"),
    ("[1]", "not JSON: line 2 is not an object"),
    ('{"text": NaN}', "not JSON: line 2: NaN is not JSON"),
    ('{"text": "a", "x": 1e999}', "not JSON: line 2: the number 1e999 is too large"),
    ('{"text": "a", "text": "b"}', "not JSON: line 2: the key 'text' occurs twice"),
    ("[" * 100_000, "not JSON: line 2 is nested too deeply"),
    ("  ", "empty line: line 2"),
    ('{"body": "Anna"}', "no text: line 2 has no 'text'"),
    ('{"text": null, "id": 3}', "no text: line 2 has no 'text'"),
    ('{"text": ["Anna"]}', "wrong type: 'text' of line 2 is a list, not a string"),
    ('{"text": "Anna", "lang": 7}', "wrong type: 'lang' of line 2 is a number, not a string"),
    ('{"text": "Anna", "lang": "xx"}', "unknown language: 'xx' of row 2 is none of de, fr, pt-BR"),
    ('{"text": "Anna \\ud800"}', "not Unicode: line 2 has half of a surrogate pair"),
    ('{"text": "  "}', "empty text"),
]
GOOD = {"id": "a", "text": TEXTS[0], "lang": "DE", "meta": {"more": [1, 2.5, None]}, "triples": "gold"}


@pytest.mark.parametrize(("line", "note"), BAD_JSON, ids=[note for _, note in BAD_JSON])
def test_a_bad_row_of_json_costs_one_answer(extract, tmp_path, line, note):
    file = tmp_path / "in.jsonl"
    good = json.dumps(GOOD)
    file.write_text(f"\ufeff{good}\n{line}\n{good}\n", encoding="utf-8")
    first, bad, last = answers(extract("--lang=fr", "--lang_field=lang", f"--file={file}"))
    assert first == last and first["lang"] == "de" and first["triples"], "the language of the row, as the model has it"
    assert first["input_triples"] == "gold" and first["input_lang"] == "DE" and first["meta"] == GOOD["meta"]
    assert bad["note"] == note and bad["triples"] == []
    kind = note.split(":")[0]
    assert extract.said.endswith(f"{file}: rows: 3, triples: 2, notes: 1 ({kind}: 1)\n")
    if kind in ("not JSON", "empty line"):
        assert bad["raw"] == line


def test_the_language_of_rows_is_detected(extract, tmp_path):
    texts = [
        "Sie wurde in einem kleinen Dorf geboren.",
        "Köyde doğdu ve büyüdü.",
        "Elle est née dans un petit village.",
    ]
    rows = [{"text": text, "lang": lang} for text, lang in zip(texts, ("auto", None, "de"), strict=True)]
    (file := tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    german, turkish, named = answers(extract("--lang=auto", "--lang_field=lang", f"--file={file}"))
    assert german["lang"] == "de" and german["triples"] and named["lang"] == "de"
    assert turkish["lang"] is None and turkish["triples"] == []
    assert turkish["note"].startswith("language not of this model: tr")
    assert "(language not of this model: 1)" in extract.said
    for out in ("out.csv", "out.parquet", "out.nt"):
        extract("--lang=auto", f"--file={file}", f"--out={tmp_path / out}")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").count(",de,") == 1
    assert [its["lang"] for its in answers(extract("--lang=auto", texts[2]))] == ["fr"]


def test_candidates_are_given_where_they_are_asked_for(extract, tmp_path):
    rows = [{"text": "Köyde doğdu ve büyüdü.", "candidates": "mine"}, {"text": TEXTS[0], "lang": "de"}]
    (file := tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    detected, named = answers(extract("--lang=auto", "--lang_field=lang", "--candidates", f"--file={file}"))
    assert detected["candidates"] == [["tr", 1.0]] and detected["input_candidates"] == "mine"
    assert named["lang"] == "de" and "candidates" not in named
    (alone,) = answers(extract("--lang=auto", "--candidates", "Sie wurde in einem kleinen Dorf geboren."))
    assert alone["candidates"][0][0] == alone["lang"] == "de"
    extract("--lang=auto", "--candidates", f"--file={file}", f"--out={tmp_path / 'out.nt'}", code=2)
    assert "--candidates: only JSON lines hold them, not nt" in extract.said
    extract("--lang=de", "--candidates", "Anna", code=2)
    assert "--candidates is of detected languages" in extract.said


def test_a_documents_language_is_detected(extract, tmp_path):
    (file := tmp_path / "report.txt").write_text("Sie wurde in einem kleinen Dorf geboren. " * 9, encoding="utf-8")
    assert {its["lang"] for its in answers(extract("--lang=auto", "--document", f"--file={file}"))} == {"de"}
    file.write_text("Köyde doğdu ve büyüdü.", encoding="utf-8")
    extract("--lang=auto", "--document", f"--file={file}", code=2)
    assert "name the language instead of auto" in extract.said


def test_bytes_that_are_not_utf_8_and_overlong_lines_cost_one_answer(extract, tmp_path):
    lines = [
        json.dumps(GOOD).encode(),
        b'{"text": "K\xf6ln"}',
        b'{"text": "' + b"x" * (1 << 20) + b'"}',
        b'{"text":"a"}\r',
    ]
    (file := tmp_path / "in.ndjson").write_bytes(b"\n".join(lines))
    good, latin, long, last = answers(extract("--lang=de", f"--file={file}"))
    assert good["triples"] and latin["note"] == "not UTF-8: byte 12 of line 2 is 0xf6"
    assert latin["raw"] == '{"text": "K\\xf6ln"}' and len(long["raw"]) < 5000
    assert long["note"] == f"too long: line 3 has {(1 << 20) + 13} bytes, more than {1 << 20}"
    assert last["text"] == "a" and "note" not in last


def test_what_json_can_only_escape_is_kept(extract, tmp_path):
    (file := tmp_path / "in.jsonl").write_text('{"text": "Anna", "name": "\\udc80"}\n')
    assert answers(extract("--lang=de", f"--file={file}"))[0]["name"] == "\udc80"


def test_lines_are_as_ever(extract, tmp_path):
    """Line ends are line feeds, with or without a carriage return; a byte order mark is no text."""
    content = f"\ufeff{TEXTS[0]}\r\nAnna\rBerg in Köln\n\n{{}}\n".encode() + b"K\xf6ln"
    (file := tmp_path / "in.txt").write_bytes(content)
    found = answers(extract("--lang=de", f"--file={file}"))
    assert [its["text"] for its in found] == [TEXTS[0], "Anna\rBerg in Köln", "", "{}", "K\\xf6ln"]
    assert [its.get("note") for its in found] == [None, None, "empty text", None, "not UTF-8: byte 2 of line 5 is 0xf6"]
    assert list(found[0]) == ["text", "lang", "triples"]
    assert answers(extract("--lang=de", TEXTS[0])) == found[:1]
    (tmp_path / "in.txt").write_bytes(b"\xef\xbb\xbf")
    assert extract("--lang=de", f"--file={file}") == ""


def test_the_same_rows_in_every_format_have_the_same_answers(extract, tmp_path):
    rows = [{"id": str(i), "lang": lang, "text": text} for i, (lang, text) in
            enumerate(zip(["de", "fr", "pt_br"] * 3, TEXTS * 3, strict=True))]  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    table = "id,lang,text\n" + "".join(f'{row["id"]},{row["lang"]},"{row["text"]}"\r\n' for row in rows)
    (tmp_path / "in.jsonl").write_bytes(lines)
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(lines[:100]) + gzip.compress(lines[100:]))
    (tmp_path / "in.jsonl.zst").write_bytes(
        pa.compress(lines[:100], "zstd", True) + pa.compress(lines[100:], "zstd", True)
    )
    (tmp_path / "in.csv").write_text(table, encoding="utf-8-sig", newline="")
    (tmp_path / "in.tsv").write_text(table.replace(",", "\t"), encoding="utf-8", newline="")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet", row_group_size=2)
    found = {path.name: answers(extract("--lang_field=lang", f"--file={path}")) for path in sorted(tmp_path.iterdir())}
    assert len(found) == 6 and all(its == found["in.jsonl"] for its in found.values())
    assert len(found["in.jsonl"]) == 9 and all(its["triples"] for its in found["in.jsonl"])
    assert [its["lang"] for its in found["in.jsonl"][:3]] == ["de", "fr", "pt-BR"]


def test_rows_of_csv_that_cannot_be_read(extract, tmp_path):
    rows = [
        b"id,text",
        b'1,"Anna, ""Berg""\nin Lindau"',
        b"2",
        b"",
        b"3,K\xf6ln",
        b'4,"open',
        b"5,Anna",
        b'6,"' + b"x" * 200_000,
    ]
    (file := tmp_path / "in.csv").write_bytes(b"\n".join(rows) + b'"\n7,Kiel\n')
    found = answers(extract("--lang=de", f"--file={file}"))
    assert found[0]["text"] == 'Anna, "Berg"\nin Lindau' and found[0]["id"] == "1"
    assert [its["note"].split(" (")[0] for its in found[1:4]] == [
        *("not CSV: line 4: wrong columns", "empty line: line 5", "not UTF-8: line 6"),
    ]
    assert "not CSV" in found[4]["note"], "a quote that isn't closed takes the lines up to the next one"


def test_values_of_parquet_are_plain_in_json(extract, tmp_path):
    more = {
        "day": date(2026, 1, 2),
        "price": Decimal("1.50"),
        "raw": b"\x00\xff",
        "gap": float("nan"),
        "list": [1, None],
    }
    rows = [{"text": TEXTS[0], **more}, {"text": None, **dict.fromkeys(more)}]
    pq.write_table(pa.Table.from_pylist(rows), file := tmp_path / "in.parquet")
    good, without = answers(extract("--lang=de", f"--file={file}"))
    assert [good[name] for name in more] == ["2026-01-02", "1.50", "AP8=", None, [1, None]]
    assert without["note"] == "no text: row 2 has no 'text'"


@pytest.mark.parametrize(
    ("name", "content", "argv", "says"),
    [
        ("in.json", b"[]", [], "--input_format=jsonl"),
        ("in.csv", b"id,body\n", [], "has no such column: pass one of id, body"),
        ("in.csv", b"id,text\n", ["--lang_field=lang"], "--lang_field=lang: "),
        ("in.csv", b"", [], "must be CSV with a header"),
        ("in.parquet", b"PAR1", [], "cannot be read"),
        ("in.jsonl.gz", b"no gzip", [], "damaged (Not a gzipped file"),
        ("in.jsonl.gz", gzip.compress(b"x" * 1000, mtime=0)[:-9], [], "damaged"),
        ("in.jsonl.zst", b"no zstd", [], "damaged"),
        ("in.txt", b"", ["--text_field=text"], "lines have no fields"),
        ("in.txt", b"", ["--input_format=xml"], "must be one of lines, jsonl, csv, parquet"),
    ],
)
def test_an_input_that_cannot_be_read_at_all_is_refused(extract, tmp_path, name, content, argv, says):
    (file := tmp_path / name).write_bytes(content)
    assert extract("--lang=de", f"--file={file}", *argv, code=2) == "" and says in extract.said


def test_columns_of_parquet_must_hold_texts(extract, tmp_path):
    pq.write_table(pa.table({"text": [1]}), file := tmp_path / "in.parquet")
    extract("--lang=de", f"--file={file}", code=2)
    assert "holds int64: pass one of strings" in extract.said


def test_a_text_is_never_taken_for_a_file(extract, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "news").write_text(TEXTS[0])
    extract("--lang=de", "news", code=2)
    assert "TEXT is the name of a file: to read that, pass --file=news" in extract.said
    assert answers(extract("--lang=de", "News"))[0]["text"] == "News"
    extract("--lang=de", "Anna", "--out=x.jsonl", code=2)
    assert "TEXT is one text" in extract.said


def test_standard_input_is_read_where_no_file_is_named_or_a_dash(extract, tmp_path, monkeypatch):
    (tmp_path / "in").write_text(json.dumps(GOOD) + "\n")
    for argv in (["--input_format=jsonl"], ["--input_format=jsonl", "--file=-"]):
        with (tmp_path / "in").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            assert answers(extract("--lang=de", *argv))[0]["id"] == "a"
    with (tmp_path / "in").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        extract("--lang=de", "--input_format=parquet", code=2)
    assert "can't be read from a stream" in extract.said


def test_names_of_fields_are_free():
    parser = Parser("jsonl", "body", "code")
    (row,) = parser.rows([(b'{"body": "Anna", "code": "de", "text": 5}', 42, True)], 7)
    assert row.number == 7 and row.text == "Anna" and row.language == "de" and row.fields["text"] == 5
