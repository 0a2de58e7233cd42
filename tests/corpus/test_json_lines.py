"""A corpus of JSON lines: every row is kept, repaired or rejected with its reason."""

import json
import tracemalloc

import pytest
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.corpus import jsonl, rows
from mere_ds.corpus.example import Triple
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.inspection import format_table, inspect_corpus
from mere_ds.corpus.rows import MOST_ROW_BYTES, Reject, Tally

TEXT = "Anna Berg comes from Kiel."
BORN = {"head": [0, 9], "relation": "born-in", "tail": [21, 25]}


def row(**changes) -> dict:
    whole = {"id": "7", "lang": "de", "text": TEXT, "triples": [BORN], **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def line(**changes) -> bytes:
    return json.dumps(row(**changes), ensure_ascii=False).encode() + b"\n"


def read(folder, content: bytes, name: str = "de.train.jsonl", **options):
    """Examples, rejects and counts by language of one file."""
    for old in folder.glob("*.jsonl"):
        old.unlink()
    (folder / name).write_bytes(content)
    corpus = open_corpus(folder, **options)
    rejects: list[Reject] = []
    tally = Tally(corpus.files[0])
    examples = list(corpus.read(corpus.files[0], rejects.append, tally))
    counts = {counts.language: counts for counts in tally.counts}
    for its in counts.values():
        assert its.rows == its.kept + sum(its.rejected.values())
    assert sum(its.kept for its in counts.values()) == len(examples)
    assert sum(sum(its.rejected.values()) for its in counts.values()) == sum(not r.kept for r in rejects)
    assert sum(sum(its.repaired.values()) for its in counts.values()) == sum(r.kept for r in rejects)
    assert tally.bytes == len(content)
    return examples, rejects, counts


def test_rows_with_no_one_and_many_triples(tmp_path):
    nested = {"head": [0, 4], "relation": "part-of", "tail": [0, 9]}
    back = {"head": [21, 25], "relation": "born-in", "tail": [0, 9]}
    content = line(triples=[]) + line() + line(id="é\u2028", triples=[BORN, nested, back], more={"deep": [None]})
    examples, rejects, counts = read(tmp_path, content)
    born = Triple((0, 9), "born-in", (21, 25))
    assert [e.triples for e in examples] == [
        (),
        (born,),
        (born, Triple((0, 4), "part-of", (0, 9)), Triple((21, 25), "born-in", (0, 9))),
    ]
    assert (examples[2].id, examples[2].text, examples[2].language) == ("é\u2028", TEXT, "de")
    assert (examples[2].file, examples[2].line) == ("de.train.jsonl", 3)
    assert not rejects and counts["de"].labels == {"born-in": 3, "part-of": 1}


def test_offsets_are_code_points_and_spans_lose_the_blanks_at_their_ends(tmp_path):
    text = "\U0001f600\u00a0Zoé\u200b lives in\u3000Köln "
    triple = {"head": [1, 7], "relation": " lives-in ", "tail": [15, len(text)]}
    [[example], rejects, _] = read(tmp_path, line(text=text, triples=[triple]))
    assert example.text == text and not rejects
    [(head, relation, tail)] = example.triples
    assert (text[slice(*head)], relation, text[slice(*tail)]) == ("Zoé", "lives-in", "Köln")


BAD = {
    "invalid_json": [
        *(b"{", b"[]", b"7", b"null", b'"a"', line()[:-2], line() [:-1] + b"x", b'{"id": NaN}', b'{"id": Infinity}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"id": "1", "id": "2"}', b'{"id": 1' + b"0" * 5000 + b"}"),
        *(b"{'id': 1}", line()[:-2] + b",}", b"\xef\xbb\xbf" + line()),
    ],
    "invalid_utf8": [line().replace(b"Anna", b"\xe4nna"), line().replace(b"Anna", b"\xed\xa0\x80")],
    "invalid_text": [
        *(line(text=TEXT + "!").replace(b"!", b"\\ud800"), line(id="!").replace(b"!", b"\\udfff")),
        line(triples=[{**BORN, "relation": "!"}]).replace(b"!", b"\\ud800x"),
    ],
    "wrong_keys": [
        *(line(id=...), line(id=7), line(id=None), line(text=...), line(text=[TEXT]), line(triples=...)),
        *(line(triples={}), line(triples=None), line(triples=[[]]), line(triples=["x"]), line(triples=[{}])),
        *(line(triples=[{**BORN, "relation": 3}]), line(triples=[{**BORN, "head": None}])),
        *(line(triples=[{**BORN, "head": [0]}]), line(triples=[{**BORN, "tail": [0, 4, 5]}])),
        *(line(triples=[{**BORN, "head": [0.0, 9.0]}]), line(triples=[{**BORN, "head": ["0", "9"]}])),
        *(line(triples=[{**BORN, "head": [False, True]}]), line(triples=[{**BORN, "tail": {"0": 1}}])),
    ],
    "wrong_language": [line(lang="fr"), line(lang=None), line(lang=""), line(lang=["de"])],
    "empty_text": [line(text="", triples=[]), line(text=" \u200b\u00ad", triples=[])],
    "empty_row": [b"\n", b"\r\n", b" \t\n"],
    "empty_label": [line(triples=[{**BORN, "relation": ""}]), line(triples=[{**BORN, "relation": " "}])],
    "span_out_of_text": [
        *(line(triples=[{**BORN, "head": [-1, 4]}]), line(triples=[{**BORN, "tail": [20, len(TEXT) + 1]}])),
        *(line(triples=[{**BORN, "tail": [9, 5]}]), line(triples=[{**BORN, "tail": [0, 10**400]}])),
    ],
    "empty_span": [line(triples=[{**BORN, "head": [4, 4]}]), line(triples=[{**BORN, "head": [4, 5]}])],
    "too_many_triples": [line(triples=[BORN] * 1025)],
    "too_long_line": [line(text=TEXT + "x" * MOST_ROW_BYTES)],
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD)
def test_defective_rows_are_rejected_with_their_reason(tmp_path, reason):
    for bad in BAD[reason]:
        bad = bad.rstrip(b"\n") + b"\n" if reason != "empty_row" else bad
        [example], [reject], counts = read(tmp_path, line(id="1") + bad)
        assert (reject.file, reject.line, reject.reason, reject.kept) == ("de.train.jsonl", 2, reason, False)
        assert counts["de"].rejected == {reason: 1} and example.id == "1"
        assert len(reject.raw) < MOST_ROW_BYTES
        assert bad.decode("utf-8", "backslashreplace").startswith(reject.raw[:4000])
    assert reason in rows.REJECTIONS | jsonl.REJECTIONS


def test_the_readers_tests_name_every_reason():
    assert {*BAD, "cut_row", "unknown_language", "not_one_triple"} == {*rows.REJECTIONS, *jsonl.REJECTIONS}


def test_a_file_that_ends_in_the_middle_of_a_row(tmp_path):
    for cut in (line()[:40], line(text="ä" * 20)[:46] + b"\xc3"):
        examples, [reject], _ = read(tmp_path, line() + cut)
        assert len(examples) == 1 and reject.reason == "cut_row"
    examples, rejects, _ = read(tmp_path, b"\xef\xbb\xbf" + line() + line().rstrip(b"\n"))
    assert len(examples) == 2 and not rejects


def test_double_triples_are_kept_once(tmp_path):
    blank = {**BORN, "head": [0, 10]}  # the same without the blank at its end
    [example], [reject], counts = read(tmp_path, line(triples=[BORN, blank, {**BORN, "relation": "x"}, BORN]))
    assert [relation for _, relation, _ in example.triples] == ["born-in", "x"]
    assert (reject.reason, reject.kept) == ("double_triple", True) and counts["de"].repaired == {"double_triple": 1}
    assert json.loads(reject.raw)["triples"][3] == BORN


def test_as_many_triples_as_a_row_may_have(tmp_path):
    triples = [{**BORN, "relation": f"r{i}"} for i in range(jsonl.MOST_TRIPLES)]
    [example], rejects, _ = read(tmp_path, line(triples=triples))
    assert len(example.triples) == 1024 and not rejects


def test_one_triple_each(tmp_path):
    other = {**BORN, "relation": "x"}
    content = line(id="one") + line(triples=[]) + line(triples=[BORN, other]) + line(id="twice", triples=[BORN, BORN])
    examples, rejects, counts = read(tmp_path, content, triples="one")
    assert [e.id for e in examples] == ["one", "twice"]
    assert [(r.line, r.reason, r.kept) for r in rejects] == [
        *((2, "not_one_triple", False), (3, "not_one_triple", False), (4, "double_triple", True))
    ]


def test_each_row_has_its_language(tmp_path):
    content = line() + line(lang=" FR ") + line(lang=...) + line(lang="German") + line(lang="fr", text="") + b"{\n"
    examples, rejects, counts = read(tmp_path, content, "train.jsonl")
    assert [e.language for e in examples] == ["de", "fr"]
    assert [r.reason for r in rejects] == ["unknown_language", "unknown_language", "empty_text", "invalid_json"]
    assert {code: (its.rows, its.kept) for code, its in counts.items()} == {"de": (1, 1), "fr": (2, 1), "": (3, 0)}
    examples, _, counts = read(tmp_path, content, "train.jsonl", languages="fr")
    assert [e.language for e in examples] == ["fr"] and set(counts) == {"fr", ""}
    shown = format_table(inspect_corpus(open_corpus(tmp_path)))
    names = {name for name in shown.splitlines() if name.startswith("train.jsonl")}
    assert {name[: name.index(")") + 1] for name in names} == {
        f"train.jsonl ({x})" for x in ("de", "fr", "no language")
    }


def test_lang_may_be_left_out_where_the_file_says_it(tmp_path):
    examples, rejects, _ = read(tmp_path, line(lang=...) + line(lang="DE"))
    assert [e.language for e in examples] == ["de", "de"] and not rejects


@pytest.mark.parametrize("name", ["pt-BR.train.jsonl", "PT_br.train.jsonl"])
def test_languages_with_regions_have_one_spelling(tmp_path, name):
    content = line(lang=...) + line(lang="pt_br") + line(lang="PT-BR") + line(lang="pt")
    examples, rejects, counts = read(tmp_path, content, name)
    assert [e.language for e in examples] == ["pt-BR"] * 3 and [r.reason for r in rejects] == ["wrong_language"]
    examples, _, counts = read(tmp_path, line(lang="zh-hant") + line(lang="ZH"), "train.jsonl", languages="ZH-HANT")
    assert [e.language for e in examples] == ["zh-Hant"] and set(counts) == {"zh-Hant"}


keys = st.sampled_from(["id", "lang", "text", "triples", "head", "relation", "tail", "x"])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("de")
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=4), max_leaves=12)
triples = st.fixed_dictionaries({"head": values, "relation": values, "tail": values}) | values
sentences = st.fixed_dictionaries(
    {"id": st.text(max_size=3), "text": st.text(max_size=9), "triples": st.lists(triples)}
)


@settings(max_examples=40)
@given(st.lists(sentences | values | st.binary(max_size=30), max_size=5))
@case(["\ud800", {"id": "\ud800", "text": "\udfff", "triples": []}])
def test_whatever_a_row_is_it_is_counted(tmp_path_factory, given_rows):
    lines = [r.replace(b"\n", b" ") if isinstance(r, bytes) else json.dumps(r).encode() for r in given_rows]
    examples, rejects, counts = read(tmp_path_factory.mktemp("corpus"), b"".join(line + b"\n" for line in lines))
    assert counts["de"].rows == len(given_rows)
    for example in examples:
        for head, relation, tail in example.triples:
            assert relation and example.text[slice(*head)].strip() and example.text[slice(*tail)].strip()


def test_memory_is_bounded_by_a_row(tmp_path):
    (tmp_path / "de.train.jsonl").write_bytes(line() + b'{"id": "' + b"x" * (40 << 20) + b'"}\n' + line() * 1000)
    corpus = open_corpus(tmp_path)
    tracemalloc.start()
    try:
        assert sum(1 for _ in corpus.read(corpus.files[0])) == 1001
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
