"""Tables of any column names: what --map, --offsets and --end say, what is found out, and what must be asked for."""

import csv
import json
import sys

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.corpus.example import Triple
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.checking import _checked, plain_triple
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.stated import Link, Mention
from mere_ds.corpus.rows import Tally
from mere_ds.errors import UserError
from tests.corpus.formats.reading import convert, of_format, read_all

MAP = ("text=satz", "relation=typ", "head_start=a.von", "head_end=a.bis", "tail_start=b.von", "tail_end=b.bis")
ROWS = [
    {"satz": "Ada lebt in Bonn.", "typ": "lives", "a": {"von": 0, "bis": 3}, "b": {"von": 12, "bis": 16}},
    {"satz": "Köln liegt am Rhein.", "typ": "near", "a": {"von": 14, "bis": 19}, "b": {"von": 0, "bis": 4}},
]
TRIPLES = [[("Ada", "lives", "Bonn")], [("Rhein", "near", "Köln")]]
FLAT = ("text", "relation", "head_start", "head_end", "tail_start", "tail_end")
STRUCTS = ("triples=links", "triples.relation=typ", "triples.head_start=a.0", "triples.head_end=a.1")
STRUCTS = (*STRUCTS, "triples.tail_start=b.0", "triples.tail_end=b.1")


def json_lines(tmp_path, rows, name="x.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet(tmp_path, rows, schema=None, name="x.parquet"):
    path = tmp_path / name
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path)
    return path


def table(tmp_path, *rows, columns=FLAT, name="x.csv"):
    path = tmp_path / name
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if name.endswith(".tsv") else ",").writerows([columns, *rows])
    return path


def flat(text, of_head, of_tail, unit=len, inclusive=False, **surfaces):
    """A row of our own field names; offsets count `unit` of the text before."""
    places = {}
    for role, surface in (("head", of_head), ("tail", of_tail)):
        start = text.index(surface)
        end = unit(text[: start + len(surface)]) - inclusive
        places |= {f"{role}_start": unit(text[:start]), f"{role}_end": end}
    return {"text": text, "relation": "r", **places, **surfaces}


def utf16(text):
    return len(text.encode("utf-16-le")) // 2


def utf8(text):
    return len(text.encode())


@pytest.mark.parametrize("write", [json_lines, parquet])
def test_dots_of_a_column_go_into_structs(tmp_path, write):
    assert convert(write(tmp_path, ROWS), map=MAP, end="exclusive").triples == TRIPLES


def test_numbers_of_a_column_go_into_lists_and_a_row_may_have_a_list_of_relations(tmp_path):
    rows = [
        {"text": "Ada und Bo in Bonn.", "links": [{"typ": "in", "a": [0, 3], "b": [14, 18]}]},
        {"text": "Niemand.", "links": []},
    ]
    rows[0]["links"].append({"typ": "in", "a": [8, 10], "b": [14, 18]})
    for write in (json_lines, parquet):
        read = convert(write(tmp_path, rows), map=STRUCTS, end="exclusive")
        assert read.triples == [[("Ada", "in", "Bonn"), ("Bo", "in", "Bonn")], []]


def test_relations_may_be_lists_whose_places_are_mapped(tmp_path):
    path = json_lines(tmp_path, [{"text": "Ada lebt in Bonn.", "triple_list": [["Ada", "lives", "Bonn"]]}])
    fields = ("triples=triple_list", "triples.head=0", "triples.relation=1", "triples.tail=2")
    assert convert(path, "table", map=fields).triples == [[("Ada", "lives", "Bonn")]]


def test_a_column_with_dots_in_its_own_name_comes_before_a_field_of_a_struct(tmp_path):
    names = ("satz", "typ", "a.von", "a.bis", "b.von", "b.bis")
    path = table(tmp_path, ("Ada lebt in Bonn.", "lives", 0, 3, 12, 16), columns=names)
    assert convert(path, map=MAP, end="exclusive").triples == TRIPLES[:1]


def test_a_first_block_of_empty_lists_is_read_as_any_other(tmp_path):
    empty = {"text": "Nichts " * 20, "links": []}
    full = {"text": "Ada in Bonn.", "links": [{"typ": "in", "a": [0, 3], "b": [7, 11]}]}
    read = convert(json_lines(tmp_path, [empty] * 900 + [full]), map=STRUCTS, end="exclusive")
    assert read.triples[-2:] == [[], [("Ada", "in", "Bonn")]]


def test_names_that_are_obvious_need_no_map(tmp_path):
    row = {"sentence": "Ada in Bonn.", "label": "in", "subj": {"start": 0, "end": 3}, "obj": {"start": 7, "end": 11}}
    assert convert(json_lines(tmp_path, [row]), "table", end="exclusive").triples == [[("Ada", "in", "Bonn")]]


@pytest.mark.parametrize("inclusive", [False, True])
def test_surfaces_decide_whether_ends_are_inclusive(tmp_path, inclusive):
    row = flat("Ada lebt in Bonn.", "Ada", "Bonn", inclusive=inclusive, head="Ada", tail="Bonn")
    read = convert(json_lines(tmp_path, [row]))
    assert read.triples == [[("Ada", "r", "Bonn")]] and not read.counts.notes


def test_without_surfaces_it_is_asked_whether_ends_are_inclusive(tmp_path):
    path = json_lines(tmp_path, [flat("Ada lebt in Bonn.", "Ada", "Bonn", inclusive=True)])
    with pytest.raises(UserError, match="--end=inclusive or --end=exclusive"):
        convert(path)
    assert convert(path, end="inclusive").triples == [[("Ada", "r", "Bonn")]]


@pytest.mark.parametrize("unit", [len, utf16, utf8])
def test_surfaces_decide_what_offsets_count(tmp_path, unit):
    """The first rows leave it open, so does the accent between two of the units."""
    surfaces = {"head": "Bo", "tail": "Köln"}
    texts = ["Bo in Köln."] * 600 + ["Für Bo in Köln.", "Lieb 💙 war Bo in Köln.", "So Bo in Köln."]
    rows = [flat(text, "Bo", "Köln", unit, id=number, **surfaces) for number, text in enumerate(texts)]
    read = convert(json_lines(tmp_path, rows))
    assert read.triples == [[("Bo", "r", "Köln")]] * len(texts) and not read.rejects


@pytest.mark.parametrize(("offsets", "unit"), [("char", len), ("utf16", utf16), ("byte", utf8)])
def test_without_surfaces_the_unit_is_asked_for_where_it_matters(tmp_path, offsets, unit):
    row = flat("Lieb 💙 war Bo in Köln.", "Bo", "Köln", unit)
    path = json_lines(tmp_path, [row])
    with pytest.raises(UserError, match="--offsets=char .*utf16 .*grapheme"):
        convert(path, end="exclusive")
    assert convert(path, end="exclusive", offsets=offsets).triples == [[("Bo", "r", "Köln")]]


def test_the_unit_is_not_asked_for_where_it_does_not_matter(tmp_path):
    row = flat("Bo in Köln: 💙, e\u0301.", "Bo", "Köln")
    assert convert(json_lines(tmp_path, [row]), end="exclusive").triples == [[("Bo", "r", "Köln")]]


def test_graphemes_are_counted_if_they_are_asked_for(tmp_path):
    row = {**flat("e\u0301\r\nBo in Bonn.", "Bo", "Bonn"), "head_start": 2, "head_end": 4}
    row |= {"tail_start": 8, "tail_end": 12}
    read = convert(json_lines(tmp_path, [row]), end="exclusive", offsets="grapheme")
    assert read.triples == [[("Bo", "r", "Bonn")]]


@pytest.mark.parametrize("inclusive", [False, True])
def test_tokens_are_joined_and_offsets_count_them(tmp_path, inclusive):
    row = {"tokens": ["Ada", "Vik", "", "in", "Bonn"], "relation": "in", "head_start": 0, "head_end": 2 - inclusive}
    row |= {"tail_start": 4, "tail_end": 5 - inclusive}
    end = "inclusive" if inclusive else "exclusive"
    for write in (json_lines, parquet):
        assert convert(write(tmp_path, [row]), "table", end=end).triples == [[("Ada Vik", "in", "Bonn")]]


def test_offsets_of_tokens_in_a_text_count_what_blanks_separate(tmp_path):
    row = {"text": "Ada  Vik in Bonn", "relation": "in", "head_start": 0, "head_end": 2}
    path = json_lines(tmp_path, [row | {"tail_start": 3, "tail_end": 4}])
    read = convert(path, offsets="token", end="exclusive")
    assert read.triples == [[("Ada  Vik", "in", "Bonn")]]


def test_a_span_that_differs_from_its_surface_or_lies_outside_rejects_a_row_of_one_relation(tmp_path):
    good = flat("Ada lebt in Bonn.", "Ada", "Bonn", head="Ada", tail="Bonn")
    wrong = [{"text": "Eva lebt in Bonn."}, {"tail_end": 99}, {"tail_end": 10**30}]
    rows = [good | value | {"id": number} for number, value in enumerate([{}, *wrong])]
    read = convert(json_lines(tmp_path, rows))
    assert [reason for _, reason in read.reasons] == ["surface_differs", "span_out_of_text", "span_out_of_text"]
    assert read.counts.kept == 1


@pytest.mark.parametrize("write", [json_lines, parquet])
def test_a_missing_value_rejects_its_row(tmp_path, write):
    good = flat("Ada lebt in Bonn.", "Ada", "Bonn")
    rows = [{**good, field: None} for field in FLAT]
    read = convert(write(tmp_path, [*rows, good]), end="exclusive")
    assert read.reasons == [(place + 1, "missing_value") for place in range(len(rows))]
    assert read.triples == [[("Ada", "r", "Bonn")]]


def test_a_value_of_another_type_rejects_its_row(tmp_path):
    good = flat("Ada lebt in Bonn.", "Ada", "Bonn")
    wrong = [{"text": ["Ada"]}, {"relation": 1.5}, {"head_start": True}, {"head_end": "3a"}, {"tail_end": 3.5}]
    read = convert(json_lines(tmp_path, [*(good | value for value in wrong), good]), end="exclusive")
    assert [reason for _, reason in read.reasons] == ["wrong_keys"] * len(wrong)


def test_a_missing_or_wrong_value_in_a_list_loses_its_relation_alone(tmp_path):
    good = {"typ": "in", "a": [0, 3], "b": [7, 11]}
    links = [good, {**good, "typ": None}, {**good, "a": [0]}, {**good, "b": ["x", 11]}, None]
    read = convert(json_lines(tmp_path, [{"text": "Ada in Bonn.", "links": links}]), map=STRUCTS, end="exclusive")
    assert read.triples == [[("Ada", "in", "Bonn")]]
    assert read.counts.left_out == {"missing_value": 3, "wrong_keys": 1}


def test_neighbouring_rows_with_the_same_id_and_text_are_one_sentence(tmp_path):
    one, two = (flat("Ada und Bo in Bonn.", name, "Bonn") for name in ("Ada", "Bo"))
    rows = [one | {"id": 1}, two | {"id": 1}, one | {"id": 2}, two | {"id": 3, "text": "Neu."}, one | {"id": 2}]
    read = convert(json_lines(tmp_path, rows), end="exclusive")
    assert read.triples == [[("Ada", "r", "Bonn"), ("Bo", "r", "Bonn")], [("Ada", "r", "Bonn")], [("Ada", "r", "Bonn")]]
    assert [example.id for example in read.examples] == ["1", "2", "2"]
    assert read.counts.notes == {"joined_rows": 1} and read.counts.rejected == {"span_out_of_text": 1}


def test_strings_alone_are_found_as_ambiguous_says(tmp_path):
    row = {"text": "Bo kennt Bo, und Bo kennt Ada.", "relation": "knows", "head": "Bo", "tail": "Ada"}
    path = json_lines(tmp_path, [row])
    assert convert(path).counts.rejected == {"ambiguous": 1}
    assert convert(path, ambiguous="first").triples == [[("Bo", "knows", "Ada")]]
    assert len(convert(path, ambiguous="all").triples[0]) == 3


@pytest.mark.parametrize("option", [{"end": "inclusive"}, {"offsets": "utf16"}, {"offsets": "token"}])
@pytest.mark.parametrize("prefix", ["", "triples."])
def test_what_says_how_offsets_count_is_refused_where_there_are_none(tmp_path, prefix, option):
    relation = {"relation": "knows", "head": "Bo", "tail": "Ada"}
    path = json_lines(tmp_path, [{"text": "Bo kennt Ada.", **({"triples": [relation]} if prefix else relation)}])
    assert convert(path).triples == [[("Bo", "knows", "Ada")]]
    ((name, value),) = option.items()
    for whole in (path, tmp_path):
        with pytest.raises(UserError) as refused:
            open_corpus(whole, options=SourceOptions(format="table", lang="de", **option))
        assert str(refused.value) == f"--{name}={value}: a table without columns of offsets has no use for it: omit it"


def test_what_says_how_offsets_count_holds_for_those_tables_of_a_folder_that_have_some(tmp_path):
    json_lines(tmp_path, [flat("Ada in Bonn.", "Ada", "Bonn", inclusive=True)], "dev.jsonl")
    json_lines(tmp_path, [{"text": "Bo kennt Ada.", "relation": "knows", "head": "Bo", "tail": "Ada"}], "train.jsonl")
    corpus = open_corpus(tmp_path, options=SourceOptions(format="table", lang="de", end="inclusive", ambiguous="all"))
    found = [triples for file in corpus.files for triples in read_all(corpus.source, file).triples]
    assert sorted(found) == [[("Ada", "r", "Bonn")], [("Bo", "knows", "Ada")]]


def test_how_to_search_texts_is_refused_where_offsets_say_where_they_are(tmp_path):
    options = SourceOptions(lang="de", map=MAP, end="exclusive", ambiguous="first")
    with pytest.raises(
        UserError, match="--ambiguous=first: a table with columns of offsets has no use for it: omit it"
    ):
        open_corpus(json_lines(tmp_path, ROWS), options=options)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_csv_may_have_line_ends_and_delimiters_in_quotes(tmp_path, name):
    rows = [("Ada\nlebt, und\tzwar in Bonn.", "r", 0, 3, 22, 26), ('"Bo" in Bonn.', "r", 1, 3, 8, 12)]
    read = convert(table(tmp_path, *rows, name=name), end="exclusive")
    assert read.triples == [[("Ada", "r", "Bonn")], [("Bo", "r", "Bonn")]]
    assert [example.line for example in read.examples] == [2, 4]


def test_csv_as_pandas_and_windows_write_it(tmp_path):
    path = tmp_path / "x.csv"
    lines = [",".join(FLAT), "Ada in Bonn.,r,0.0,3.0,7.0,11.0", "Bo in Bonn.,r,0,2,6,10"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode())
    assert convert(path, end="exclusive").triples == [[("Ada", "r", "Bonn")], [("Bo", "r", "Bonn")]]


def test_csv_rows_of_another_length_and_invalid_bytes_are_rejected_in_their_places(tmp_path):
    path = tmp_path / "x.csv"
    good = "Ada in Bonn.,r,0,3,7,11"
    lines = [",".join(FLAT), good, "Ada,r", "\udcff" + good, "a," + good, "", f"Bo und {good}", '"Ada,', good]
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    read = convert(path, end="exclusive")
    wrong = "wrong_columns"
    assert read.reasons == [(3, wrong), (4, "invalid_utf8"), (5, wrong), (6, "empty_row"), (8, wrong)]
    assert [example.line for example in read.examples] == [2, 7]


def test_empty_cells_of_csv_are_missing_values(tmp_path):
    read = convert(
        table(tmp_path, ("Ada in Bonn.", "r", "", 3, 7, 11), ("Ada in Bonn.", "", 0, 3, 7, 11)), end="exclusive"
    )
    assert read.counts.rejected == {"missing_value": 2}


def test_a_misspelt_column_is_an_error_with_the_near_names(tmp_path):
    path = json_lines(tmp_path, ROWS)
    with pytest.raises(
        UserError, match=r"--map=text=sats: .*did you mean satz\?; there are the columns satz, typ, a.von"
    ):
        convert(path, map=("text=sats", *MAP[1:]))
    with pytest.raises(UserError, match=r"head_start=a.vom: .*did you mean a.von"):
        convert(path, map=(*MAP[:2], "head_start=a.vom", *MAP[3:]))
    with pytest.raises(UserError, match=r"--map=txt=...: no such field; did you mean text"):
        convert(path, map=("txt=satz", *MAP[1:]))


def test_what_is_not_found_is_asked_for_in_one_line_with_the_columns(tmp_path):
    path = json_lines(tmp_path, ROWS)
    with pytest.raises(
        UserError, match=r"which columns hold text, relation, head_start, .*\(or head and tail.*a.von, a.bis"
    ):
        convert(path, "table")
    with pytest.raises(UserError, match=r"which columns hold tail_end\? .*--map=tail_end=COLUMN"):
        convert(path, map=MAP[:-1])
    with pytest.raises(UserError, match=r"It has the columns text, 'a\\nb'"):
        convert(table(tmp_path, ("x", "y"), columns=("text", "a\nb")))


def test_a_map_is_read_for_files_that_are_named_as_ours_too(tmp_path):
    json_lines(tmp_path, ROWS, "train.jsonl")
    corpus = open_corpus(tmp_path, options=SourceOptions(map=MAP, lang="de", end="exclusive"))
    assert corpus.source and len(list(corpus.read(corpus.files[0]))) == 2


def test_a_column_named_twice_is_refused(tmp_path):
    path = table(tmp_path, ("Ada in Bonn.", "r", 0, 3, 7, 11, "x"), columns=(*FLAT, "text"))
    with pytest.raises(UserError, match="names each column once"):
        convert(path, "table", end="exclusive")
    columns = [pyarrow.array([value]) for value in (*ROWS[0].values(), "x")]
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(columns, [*ROWS[0], "satz"]), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="several columns named satz"):
        convert(tmp_path / "x.parquet", map=MAP, end="exclusive")


def test_columns_may_say_language_and_split(tmp_path):
    good = flat("Ada lebt in Bonn.", "Ada", "Bonn")
    said = [("de", "training"), ("pt-br", "validation"), ("de", "test"), ("Deutsch", "train"), ("de", "neither")]
    path = json_lines(tmp_path, [{**good, "lang": lang, "split": split} for lang, split in said])
    corpus = open_corpus(path, options=SourceOptions(end="exclusive"))
    assert corpus.languages == ["de", "pt-BR"]
    assert [file.split for file in corpus.files] == ["train", "dev", "test"]
    tallies = [Tally(file) for file in corpus.files]
    read = [
        [example.language for example in corpus.read(file, tally=tally)]
        for file, tally in zip(corpus.files, tallies, strict=True)
    ]
    assert read == [["de"], ["pt-BR"], ["de"]]
    rejected = [reason for tally in tallies for counts in tally.counts for reason in counts.rejected]
    assert sorted(rejected) == ["unknown_language", "unknown_split"]


def test_what_flags_say_of_language_and_split_holds_for_all_rows(tmp_path):
    good = flat("Ada lebt in Bonn.", "Ada", "Bonn")
    path = json_lines(tmp_path, [good | {"lang": "German", "split": "0"}] * 2)
    assert convert(path, end="exclusive").counts.kept == 1  # neighbours with the same text


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, monkeypatch):
    path = parquet(tmp_path, ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'mere-ds\[formats\]'"):
        convert(path, map=MAP)


def test_what_is_no_table_is_refused_in_one_line(tmp_path):
    for name, content in (("x.parquet", b"PAR1 no"), ("x.csv", b""), ("x.jsonl", b"[1,"), ("x.parquet", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError):
            of_format("table", tmp_path / name)


@settings(max_examples=200)
@given(
    st.text("aé\u0301 \r\n\u200d\U0001f468", max_size=12),
    st.lists(st.tuples(*[st.integers(-2, 14)] * 4, st.sampled_from(["r", " r", "", "ä", "\ud800"])), max_size=3),
)
def test_plain_relations_are_what_a_closer_look_gives(text, relations):
    for a, b, c, d, label in relations:
        notes: list[str] = []
        link = Link(Mention(((a, b),)), label, Mention(((c, d),)), "raw")
        checked = _checked(link, text, notes)
        plain = plain_triple(text, (a, b), label, (c, d))
        assert plain is None or (plain == checked and not notes)
        if isinstance(checked, Triple) and not notes and checked == ((a, b), label, (c, d)):
            assert plain == checked
