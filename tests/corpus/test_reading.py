import json
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.corpus import rows
from mere_ds.corpus.graphemes import BLANK
from mere_ds.corpus.reading import COLUMNS, NOTES, REJECTIONS, REPAIRS, TsvFile, read_file, split_files
from mere_ds.corpus.rows import MOST_ROW_BYTES, FileCounts, Reject, RejectsFile
from mere_ds.errors import UserError

HEADER = "\t".join(COLUMNS) + "\n"
GOOD = "1\tAnna\tKiel\tbirth-place\t<e1>Anna</e1> comes from <e2>Kiel</e2>.\tde\n"


def read(folder: Path, body: str | bytes, cut_marks: str = "repair", header: str = HEADER):
    """The examples, rejects and counts of a German file with this body."""
    path = folder / "de_corpora_train.tsv"
    body = body if isinstance(body, bytes) else body.encode()
    path.write_bytes(header.encode() + body)
    rejects: list[Reject] = []
    counts = FileCounts.of(TsvFile.of(path))
    examples = list(read_file(path, cut_marks, rejects.append, counts))
    assert counts.kept == len(examples) == sum(counts.labels.values())
    assert counts.rows == counts.kept + sum(counts.rejected.values())
    assert sum(counts.rejected.values()) == sum(not reject.kept for reject in rejects)
    assert sum(counts.repaired.values()) == sum(reject.kept for reject in rejects)
    assert counts.bytes == path.stat().st_size
    return examples, rejects, counts


def row(text: str, entity_1: str = "Anna", entity_2: str = "Kiel", label: str = "birth-place", lang: str = "de") -> str:
    return f"7\t{entity_1}\t{entity_2}\t{label}\t{text}\t{lang}\n"


def surfaces(example):
    return example.text[slice(*example.triples[0].head)], example.text[slice(*example.triples[0].tail)]


def test_a_plain_row(tmp_path):
    [example], rejects, counts = read(tmp_path, GOOD)
    assert (example.id, example.language, example.triples[0].relation) == ("1", "de", "birth-place")
    assert (example.file, example.line) == ("de_corpora_train.tsv", 2)
    assert example.text == "Anna comes from Kiel."
    assert (example.triples[0].head, example.triples[0].tail) == ((0, 4), (16, 20))
    assert not rejects and not counts.notes


def test_blanks_inside_the_marks_are_left_out(tmp_path):
    marked = "\u200f<e1>\u200f\u2067 Anna\u200d\u2069</e1>\u200b in <e2>\ufeffKi\u00adel\u00ad \u200e</e2>."
    [example], rejects, counts = read(tmp_path, row(marked, "\u200fAnna\u200f", "Ki\u00adel"))
    assert surfaces(example) == ("Anna", "Ki\u00adel")
    assert example.text == re.sub("</?e[12]>", "", marked), "the sentence keeps them"
    assert not rejects and not counts.notes


@pytest.mark.parametrize(
    "text, entity_1, entity_2, plain, head, tail",
    [
        ("a <e1>Horn</e1> for <e2>music</e2>ians", "Horn", "music", "a Horn for musicians", (2, 6), (11, 16)),
        ("ال<e1>نهر</e1> في <e2>مصر</e2>", "نهر", "مصر", "النهر في مصر", (2, 5), (9, 12)),
        ("<e1>Київ</e1>х то <e2>місто</e2>", "Київ", "місто", "Київх то місто", (0, 4), (9, 14)),
        ("in <e2>Kiel</e2> lebt <e1>Anna</e1>", "Anna", "Kiel", "in Kiel lebt Anna", (13, 17), (3, 7)),
        ("Po <e1>Po</e1> Po <e2>Po</e2> Po", "Po", "Po", "Po Po Po Po Po", (3, 5), (9, 11)),
        ("<e1> Anna\t</e1>:\u00a0<e2>\u00a0Kiel</e2>", "Anna", "Kiel", " Anna\t:\u00a0\u00a0Kiel", (1, 5), (9, 13)),
        ("<e1>NA</e1> or <e2>null</e2>", "NA", "null", "NA or null", (0, 2), (6, 10)),
        ('"<e1>A"</e1> and "<e2>""</e2>', 'A"', '""', '"A" and """', (1, 3), (9, 11)),
        ("| () <e1>A</e1>&nbsp<e2>B</e2>& nbsp;", "A", "B", "| () A&nbspB& nbsp;", (5, 6), (11, 12)),
        ("<e1>A</e1>\u2028<e2>B</e2>\x85\x0b\r.", "A", "B", "A\u2028B\x85\x0b\r.", (0, 1), (2, 3)),
        ("<e1>A</e1><e2>B</e2>", "A", "B", "AB", (0, 1), (1, 2)),
        ("😀<e1>😀</e1>e\u0301<e2>é</e2>", "😀", "é", "😀😀e\u0301é", (1, 2), (4, 5)),
        (" <e1>A</e1> <e3>x</e3> <e2>B</e2> ", "A", "B", " A <e3>x</e3> B ", (1, 2), (14, 15)),
    ],
)
def test_kept_as_it_stands(tmp_path, text, entity_1, entity_2, plain, head, tail):
    [example], rejects, counts = read(tmp_path, row(text, entity_1, entity_2))
    assert (example.text, example.triples[0].head, example.triples[0].tail) == (plain, head, tail)
    assert not rejects
    assert counts.notes["entity_differs"] == 0


def test_notes(tmp_path):
    body = (
        row("in <e2>Kiel</e2> lives <e1>Anna</e1>")
        + row("<e1>anna</e1> in <e2>Kiel</e2>")
        + row("\t<e1>Anna</e1>\tin <e2>Kiel</e2>")
    )
    examples, rejects, counts = read(tmp_path, body)
    assert counts.notes == {"swapped_order": 1, "entity_differs": 1, "tabs_in_text": 1}
    assert surfaces(examples[1]) == ("anna", "Kiel")
    assert examples[2].text == "\tAnna\tin Kiel"
    assert not rejects
    assert set(counts.notes) == set(NOTES)


@pytest.mark.parametrize(
    "text, entity_1, entity_2, reason, plain, head, tail",
    [
        ("<e1>Film</e1> by <e2>D.", "Film", "D. W. Roe", "cut_mark", "Film by D. W. Roe.", "Film", "D. W. Roe"),
        ("<e1>Film</e1> by <e2>D. W.", "Film", "d.w. Roe", "cut_mark", "Film by d.w. Roe.", "Film", "d.w. Roe"),
        ("<e1>Film</e1> by <e2>", "Film", "St. Roe", "cut_mark", "Film by St. Roe.", "Film", "St. Roe"),
        ("<e2>Film</e2> by <e1>D.", "D. Roe", "Film", "cut_mark", "Film by D. Roe.", "D. Roe", "Film"),
        ("<e1>A</e1> is <e2> B yes.", "A", "B", "unclosed_mark", "A is  B yes.", "A", "B"),
        ("<e1>A</e1> is <e2>B.", "A", "B.", "unclosed_mark", "A is B.", "A", "B."),
        ("<e1>A is <e2>B</e2>.", "A", "B", "unclosed_mark", "A is B.", "A", "B"),
        ("<e2>B is <e1>A</e1>.", "A", "B", "unclosed_mark", "B is A.", "A", "B"),
    ],
)
def test_repairs(tmp_path, text, entity_1, entity_2, reason, plain, head, tail):
    body = row(text, entity_1, entity_2)
    [example], [reject], counts = read(tmp_path, body)
    assert example.text == plain
    assert surfaces(example) == (head, tail)
    assert reject == Reject("de_corpora_train.tsv", 2, reason, True, body.rstrip("\n"))
    assert counts.repaired == {reason: 1}
    assert counts.notes["entity_differs"] == 0
    assert reason in REPAIRS

    examples, [reject], counts = read(tmp_path, body, cut_marks="reject")
    assert not examples
    assert counts.rejected == {reason: 1}
    assert (reject.reason, reject.kept) == (reason, False)


REJECTED = [
    ("empty_row", "\n"),
    ("too_few_columns", "7\tAnna\tKiel\tbirth-place\n"),
    ("too_few_columns", "7\tAnna\tKiel\tbirth-place\t<e1>Anna</e1> <e2>Kiel</e2>\n"),
    ("cut_row", "7\tAnna\tKi"),
    ("cut_row", "7\tAnna\tKiel\tbirth-place\tA\t<e1>Anna</e1> in <e2>Ki"),
    ("cut_row", "7\tAnna\tKiel\tbirth-place\t<e1>Anna</e1> in <e2>Kiel</e2>\td"),
    ("cut_row", "7\tAnna\tKié".encode()[:-1]),
    ("wrong_language", row("<e1>Anna</e1> <e2>Kiel</e2>", lang="fr")),
    ("wrong_language", HEADER),
    ("wrong_language", "7\tAnna\tKiel\tbirth-place\t<e1>Anna</e1> in <e2>Kiel</e2>\tde\t\n"),
    ("invalid_utf8", row("<e1>Anna</e1> <e2>Kiel</e2>").encode().replace(b"K", b"\xff")),
    ("invalid_utf8", row("<e1>Anna</e1> <e2>Kiel</e2>").encode().replace(b"K", b"\xed\xa0\x80")),
    ("empty_text", row("")),
    ("empty_text", row(" \t ")),
    ("empty_label", row("<e1>Anna</e1> <e2>Kiel</e2>", label=" ")),
    ("missing_mark", row("no mark at all")),
    ("missing_mark", row("<e1>Anna</e1> in Kiel")),
    ("missing_mark", row("<e1>Anna</e1> in Kiel</e2>")),
    ("missing_mark", row("<e1>Anna</e1> in <e2>Bonn")),
    ("missing_mark", row("<e1>Anna</e1> in <e2>K. am Meer")),
    ("missing_mark", row("<e1>Anna</e1> in <e2>", entity_2="")),
    ("missing_mark", row("<e1>An. in <e2>Kiel</e2>")),
    ("missing_mark", row("<e1>Anna <e2>Kiel</e1>")),
    ("missing_mark", row("<e1>Anna</e1> in <e2>", entity_2="K<e2>iel")),
    ("repeated_mark", row("<e1>Anna</e1> in <e2>Kiel</e2> <e2>Kiel</e2>")),
    ("repeated_mark", row("<e1>Anna<e1> in <e2>Kiel</e2>")),
    ("overlapping_pairs", row("<e1>Anna <e2>Kiel</e1></e2>")),
    ("overlapping_pairs", row("<e1>Anna <e2>Kiel</e2></e1>")),
    ("misplaced_mark", row("</e1>Anna<e1> in <e2>Kiel</e2>")),
    ("empty_pair", row("<e1></e1> in <e2>Kiel</e2>")),
    ("empty_pair", row("<e1>Anna</e1> in <e2> \u00a0</e2>")),
    ("empty_pair", row("<e1>Anna</e1> in <e2>\u200f\ufeff</e2>")),
]


@pytest.mark.parametrize("reason, body", REJECTED)
def test_rejections(tmp_path, reason, body):
    body = body if isinstance(body, bytes) else body.encode()
    [example], [reject], counts = read(tmp_path, GOOD.encode() + body)
    assert example.line == 2
    assert counts.rejected == {reason: 1}
    assert (reject.line, reject.reason, reject.kept) == (3, reason, False)
    assert reject.raw == body.rstrip(b"\n").decode("utf-8", "backslashreplace")


def test_every_reason_is_tested():
    assert {reason for reason, _ in REJECTED} | {"too_long_line"} == {*REJECTIONS, *rows.REJECTIONS}


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_row_is_rejected_at_its_length_and_the_next_one_read(tmp_path, end):
    short = row("<e1>Anna</e1> in <e2>Kiel</e2>")
    pad = MOST_ROW_BYTES - len(short)
    fits, long = (row(f"<e1>Anna</e1> in <e2>Kiel</e2>{'x' * n}") for n in (pad, pad + 1))
    last = "7" * (MOST_ROW_BYTES + 1) + end
    examples, rejects, counts = read(tmp_path, GOOD + long + fits + last)
    assert [example.line for example in examples] == [2, 4] and len(examples[1].text) > pad
    assert counts.rejected == {"too_long_line": 2}
    for reject, line, whole in zip(rejects, (3, 5), (long, last), strict=True):
        assert reject.line == line and reject.raw.startswith("7") and len(reject.raw) < 5000
        assert reject.raw.endswith(f" of {len(whole)} bytes)")


def test_memory_does_not_grow_with_a_row(tmp_path):
    path = tmp_path / "de_corpora_train.tsv"
    with path.open("wb") as file:
        file.write(HEADER.encode() + GOOD.encode())
        file.truncate(100 << 20)  # a row of zeros
        file.seek(0, 2)
        file.write(b"\n" + GOOD.encode())
    tracemalloc.start()
    try:
        examples = list(read_file(path))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert [example.line for example in examples] == [2, 4]


def test_a_last_row_without_line_end_is_whole(tmp_path):
    examples, rejects, _ = read(tmp_path, GOOD + GOOD.rstrip("\n"))
    assert len(examples) == 2 and not rejects


def test_bom_and_crlf(tmp_path):
    examples, rejects, _ = read(
        tmp_path, GOOD.replace("\n", "\r\n") * 2, header="\ufeff" + HEADER.replace("\n", "\r\n")
    )
    assert [example.text for example in examples] == ["Anna comes from Kiel."] * 2
    assert not rejects


def test_any_label_and_id_is_taken(tmp_path):
    [example], _, counts = read(tmp_path, GOOD.replace("birth-place", "né à").replace("1\t", "NaN\t", 1))
    assert (example.id, example.triples[0].relation) == ("NaN", "né à")
    assert counts.labels == {"né à": 1}


@pytest.mark.parametrize(
    "header",
    [
        "",
        GOOD,
        HEADER.replace("\t", ","),
        HEADER.replace("text\tlang", "lang\ttext"),
        HEADER.replace("\n", "\r") + GOOD,
    ],
)
def test_a_wrong_header_is_refused(tmp_path, header):
    with pytest.raises(
        UserError, match=r"de_corpora_train.tsv: the first line .* id entity_1 entity_2 label text lang"
    ):
        read(tmp_path, "", header=header)


def test_bad_calls_are_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        list(read_file(tmp_path / "de_corpora_train.tsv"))
    with pytest.raises(UserError, match="rename it"):
        read_file(tmp_path / "german.tsv")
    with pytest.raises(UserError, match="--cut_marks"):
        read_file(tmp_path / "de_corpora_train.tsv", cut_marks="drop")


def test_counts_add_up_and_are_plain_json(tmp_path):
    _, _, counts = read(tmp_path, GOOD * 2 + row("") + row("<e1>Anna</e1> in <e2>K.", entity_2="K. Hafen"))
    total = FileCounts("total", "all", "all")
    total.add(counts)
    total.add(counts)
    plain = json.loads(json.dumps(total.as_dict()))
    assert (plain["rows"], plain["kept"], plain["bytes"]) == (8, 6, 2 * counts.bytes)
    assert plain["repaired"] == {"cut_mark": 2}
    assert plain["rejected"] == {"empty_text": 2}
    assert plain["labels"] == {"birth-place": 6}


def test_rejects_file(tmp_path):
    path = tmp_path / "new" / "rejects.jsonl"
    reject = Reject("de_corpora_train.tsv", 9, "empty_text", False, 'é\t"\u2028\\xff')
    with RejectsFile(path) as sink:
        sink.write(reject)
        sink.write(reject)
    lines = path.read_bytes().decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert [Reject(**json.loads(line)) for line in lines] == [reject, reject]


# Any text and any two spans, written in SMiLER's form, are read back.

PLAIN = st.characters(exclude_characters="\n", exclude_categories=["Cs"]) | st.sampled_from('<>/e12 \t\r"\u2028')
PIECE = st.text(PLAIN, max_size=8).filter(lambda text: not re.search("</?e[12]>", text))
PIECES = st.lists(PIECE, min_size=5, max_size=5)


@settings(max_examples=300)
@given(pieces=PIECES, swapped=st.booleans())
def test_round_trip(tmp_path_factory, pieces, swapped):
    before, first, between, second, after = pieces
    text = "".join(pieces)
    slots = "21" if swapped else "12"
    marked = f"{before}<e{slots[0]}>{first}</e{slots[0]}>{between}<e{slots[1]}>{second}</e{slots[1]}>{after}"
    entities = (second, first) if swapped else (first, second)
    folder = tmp_path_factory.mktemp("trip", numbered=True)
    columns = [entity.strip(BLANK).replace("\t", " ") for entity in entities]
    examples, rejects, counts = read(folder, row(marked, *columns))
    if not first.strip(BLANK) or not second.strip(BLANK):
        assert not examples and counts.rejected == {"empty_pair": 1}
        return
    [example] = examples
    assert example.text == text
    assert surfaces(example) == tuple(entity.strip(BLANK) for entity in entities)
    earlier, later = sorted([example.triples[0].head, example.triples[0].tail])
    assert len(before) <= earlier[0] and earlier[1] <= len(before) + len(first)
    assert len(before + first + between) <= later[0] and later[1] <= len(text) - len(after)
    assert (example.triples[0].tail < example.triples[0].head) == swapped
    assert not rejects
    assert counts.notes["entity_differs"] == (columns != list(surfaces(example)))
    assert counts.notes["tabs_in_text"] == ("\t" in text)


@settings(max_examples=200)
@given(
    body=st.binary(max_size=60) | st.lists(st.sampled_from(["<e1>", "</e1>", "<e2>", "</e2>", "A", " "])).map("".join)
)
def test_any_bytes_are_counted(tmp_path_factory, body):
    folder = tmp_path_factory.mktemp("bytes", numbered=True)
    body = body if isinstance(body, bytes) else row(body, "A", "A A").encode()
    examples, rejects, counts = read(folder, body)
    assert counts.rows == body.count(b"\n") + (not body.endswith(b"\n") and body != b"")
    for example in examples:
        for start, end in (example.triples[0].head, example.triples[0].tail):
            assert 0 <= start < end <= len(example.text)
            assert example.text[start:end] == example.text[start:end].strip(BLANK)
        assert min(example.triples[0].head[1], example.triples[0].tail[1]) <= max(
            example.triples[0].head[0], example.triples[0].tail[0]
        )


# Which files a choice of languages and English means.


@pytest.fixture
def corpus(tmp_path):
    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / f"{name}.tsv").write_text(HEADER)
        return tmp_path

    return make


def both(*codes: str) -> list[str]:
    return [f"{code}_corpora_{split}" for code in codes for split in ("train", "test")]


def names(files):
    return [file.path.stem for file in files]


def test_all_files_in_smilers_order(corpus):
    folder = corpus(*both("uk", "xx", "it", "en-small", "aaa"))
    (folder / "notes.txt").write_text("")
    (folder / "._it_corpora_train.tsv").write_text("")
    files = split_files(folder)
    assert names(files) == both("it", "en-small", "uk", "aaa", "xx")
    assert files[2] == (folder / "en-small_corpora_train.tsv", "train", "en")


def test_sizes_of_english_and_languages_with_regions(corpus):
    folder = corpus(*both("en-GB", "EN-small", "en-full", "pt_br", "zh-Hant"))
    assert [(file.path.stem, file.language) for file in split_files(folder) if file.split == "test"] == [
        *(("EN-small_corpora_test", "en"), ("en-GB_corpora_test", "en-GB")),
        *(("pt_br_corpora_test", "pt-BR"), ("zh-Hant_corpora_test", "zh-Hant")),
    ]
    assert names(split_files(folder, "en-gb")) == both("en-GB")
    assert names(split_files(folder, "EN,PT-BR", "full")) == both("en-full", "pt_br")
    path = folder / "pt_br_corpora_test.tsv"
    rows = [row("<e1>Ana</e1> e <e2>Rui</e2>", lang=lang) for lang in ("pt-BR", "pt_BR", "PT-br ", "pt")]
    path.write_text(HEADER + "".join(rows))
    assert [example.language for example in read_file(path)] == ["pt-BR"] * 3


def test_chosen_languages(corpus):
    folder = corpus(*both("de", "fr", "it"), "pt_corpora_train", "es_corpora_test")
    assert names(split_files(folder, "it,de")) == both("it", "de")
    assert names(split_files(folder, ["pt", "es"])) == ["pt_corpora_train", "es_corpora_test"]
    with pytest.raises(UserError, match="contains no file for en; remove them"):
        split_files(folder, "EURO")


@pytest.mark.parametrize(
    "there, english, chosen",
    [
        (("en", "en-small", "en-full"), "auto", "en-small"),
        (("en", "en-small", "en-full"), "mid", "en"),
        (("en", "en-small", "en-full"), "full", "en-full"),
        (("en",), "auto", "en"),
        (("en-full",), "auto", "en-full"),
        (("en-small",), "small", "en-small"),
    ],
)
def test_english_sizes(corpus, there, english, chosen):
    assert names(split_files(corpus(*both("de", *there)), english=english)) == both("de", chosen)


@pytest.mark.parametrize(
    "there, english, message",
    [
        (("en", "en-full"), "auto", "several sizes of English; pass --english=mid or --english=full"),
        (("en",), "small", r"no en-small_corpora_\*.tsv; pass --english=mid"),
        (("en",), "large", "--english=large: must be one of"),
    ],
)
def test_english_sizes_refused(corpus, there, english, message):
    folder = corpus(*both("de", *there))
    with pytest.raises(UserError, match=message):
        split_files(folder, english=english)
    assert names(split_files(folder, "de", english)) == both("de")


def test_unusable_folders(corpus, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        split_files(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        split_files(tmp_path / "file")
    (tmp_path / "file").unlink()
    with pytest.raises(UserError, match=r"contains no corpus files \(\*_corpora_\*\.tsv or \*\.train\.jsonl\)$"):
        split_files(tmp_path)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "de_corpora_train.tsv").write_text(HEADER)
    with pytest.raises(UserError, match=f"did you mean {tmp_path}/inner"):
        split_files(tmp_path)
    with pytest.raises(UserError, match="de_corpora_dev.tsv: not a corpus file name: rename it"):
        split_files(corpus("de_corpora_dev"))
