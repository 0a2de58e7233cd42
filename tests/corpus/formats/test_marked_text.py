"""SemEval-2010 Task 8, KBP-37, RELX and PERLEX: marks in the text, the label in the next line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.errors import UserError
from tests.corpus.formats.reading import convert, of_format

SEMEVAL = (
    '1\t"The <e1>lid</e1> of the <e2>box</e2> is red."\nPart-Whole(e1,e2)\nComment: a lid\tis a part\n\n'
    '2\t"A <e1>choir</e1> of <e2>nurses</e2>s, all singing."\nMember-Group(e2,e1)\nComment:\n\n'
    '3\t"<e1>Rain</e1> came on <e2>Monday</e2>."\nOther\nComment: "none"\n\n'
)
KBP = (
    '0\t" <e1> Anna Berg </e1> of <e2> Northlight </e2> , a firm . "\nper:employee_of(e1,e2)\n\n\n'
    '7\t" In <e1>  </e1> and <e2> Kiel </e2> they met . "\nno_relation\n\n\n'
    '8\t" The <e1> firm </e1> <e2> Northlight </e2> . "\norg:names(e2,e1)\n\n\n'
)
RELX = (
    '17\t"L\'<e1> Union </e1>, à  <e2> Kiel </e2>, existe."\norg:city(e2,e1)\n\n\n'
    '18\t"Das war <e1> Anna  </e1>s "Idee" (<e2> 1990 </e2>)"\nno_relation\n\n\n\n'
)


def write(tmp_path, content, name="any.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_label_s_ending_says_which_entity_is_the_head_and_is_no_part_of_the_label(tmp_path, end):
    result = convert(write(tmp_path, SEMEVAL.replace("\n", end)))
    assert result.triples == [
        [("lid", "Part-Whole", "box")],
        [("nurses", "Member-Group", "choir")],
        [("Rain", "Other", "Monday")],
    ]
    assert [example.text for example in result.examples] == [
        "The lid of the box is red.",
        "A choir of nursess, all singing.",
        "Rain came on Monday.",
    ]
    assert [(example.id, example.line) for example in result.examples] == [("1", 1), ("2", 5), ("3", 9)]
    assert result.counts.notes == {"reversed": 1} and not result.rejects


def test_blanks_inside_of_marks_are_no_double_blanks_and_an_empty_entity_is_rejected(tmp_path):
    result = convert(write(tmp_path, KBP))
    assert [example.text for example in result.examples] == [
        "Anna Berg of Northlight , a firm .",
        "The firm Northlight .",
    ]
    assert result.triples == [
        [("Anna Berg", "per:employee_of", "Northlight")],
        [("Northlight", "org:names", "firm")],
    ]
    assert result.reasons == [(5, "empty_span")]
    assert result.rejects[0].raw == '7\t" In <e1>  </e1> and <e2> Kiel </e2> they met . "\nno_relation'


def test_blanks_inside_of_all_marks_are_of_the_marks_and_other_blanks_are_of_the_text(tmp_path):
    result = convert(write(tmp_path, RELX))
    assert [example.text for example in result.examples] == ["L'Union, à  Kiel, existe.", 'Das war Annas "Idee" (1990)']
    assert result.triples == [[("Kiel", "org:city", "Union")], [("Anna", "no_relation", "1990")]]


def test_a_blank_inside_of_one_mark_alone_is_of_the_text_and_one_with_a_blank_outside(tmp_path):
    content = '1\t"The<e1> lid</e1> of  the <e2> box</e2>"\nA(e1,e2)\n\n'
    content += "2\tNo quotes: <e2>Zoé</e2> <e1>saw </e1> it \nB( e2, e1 )\n"
    result = convert(write(tmp_path, content))
    assert [example.text for example in result.examples] == ["The lid of  the box", "No quotes: Zoé saw it"]
    assert result.triples == [[("lid", "A", "box")], [("Zoé", "B", "saw")]]


def test_nested_entities_are_kept(tmp_path):
    result = convert(write(tmp_path, '1\t"<e1>The <e2>Kiel</e2> choir</e1> sings."\nIn(e1,e2)\n'))
    assert result.triples == [[("The Kiel choir", "In", "Kiel")]]


BAD = {
    "wrong_marks": [
        b"A <e1>lid</e1> of a <e2>box",
        b"A </e1>lid<e1> of <e2>it</e2>",
        b"<e1>a</e1> <e1>b</e1> <e2>c</e2>",
        b"no marks",
        b"<E1>a</E1> <e2>b</e2>",
    ],
    "empty_span": [b"<e1></e1> of <e2>it</e2>", b"<e1>it</e1> of <e2> </e2>", b"<e1> </e1><e2> </e2> x"],
    "invalid_utf8": [b"Zo\xe9 <e1>has</e1> <e2>it</e2>"],
    "empty_text": [b"<e1> </e1> <e2> </e2>"],
    "too_long_line": [b"<e1>a</e1> <e2>b</e2>" + b"x" * (1 << 20)],
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_text_is_rejected_and_those_around_it_are_kept(tmp_path, reason):
    good = b'1\t"<e1>Rain</e1> on <e2>Monday</e2>"\nOther\n\n'
    for text in BAD[reason]:
        result = of_format("marked-text", write(tmp_path, good + b'2\t"' + text + b'"\nOther\n\n' + good))
        assert len(result.examples) == 2 and result.reasons == [(4, reason)]


def test_lines_that_are_of_no_record_and_texts_without_a_label_are_counted(tmp_path):
    good = '1\t"<e1>Rain</e1> on <e2>Monday</e2>"\nOther\n'
    content = f"\nTitle\n{good}Comment: of it\nnext line of it\n2\t<e1>a</e1> <e2>b</e2>\nComment: no label\n{good}"
    content += "\n(e1,e2)\n9\tx\n"
    result = convert(write(tmp_path, content))
    assert len(result.examples) == 2
    assert result.reasons == [
        (2, "stray_line"),
        (6, "stray_line"),
        (7, "no_label_line"),
        (12, "stray_line"),
        (13, "no_label_line"),
    ]


def test_a_line_with_marks_is_a_text_whatever_its_beginning(tmp_path):
    """So that no text is lost as a comment of the one before it, or becomes its label."""
    good = '1\t"<e1>Rain</e1> on <e2>Monday</e2>"\nOther\n'
    for begin in ("Comment: \t", "Comment: ", "1 ", ""):
        result = convert(write(tmp_path, f"{good}{begin}<e1>a</e1> <e2>b</e2>\n{good}{good}"))
        assert len(result.examples) == 3 and [place for place, _ in result.reasons] == [3]
        assert sum(result.counts.left_out.values()) == 1


def test_a_label_of_nothing_but_a_direction_is_empty(tmp_path):
    result = convert(write(tmp_path, '1\t"<e1>Rain</e1> on <e2>Monday</e2>"\n(e2,e1)\n'))
    assert result.reasons == [(1, "empty_label")]


def test_texts_without_labels_are_refused_with_the_reason(tmp_path):
    lines = "".join(line + "\n" for line in SEMEVAL.split("\n") if "\t" in line and "<e1>" in line)
    with pytest.raises(UserError, match="TEST_FILE.txt: its texts have no labels.*TEST_FILE_FULL"):
        convert(write(tmp_path, lines, "TEST_FILE.txt"))


def test_tables_with_marks_are_not_taken_for_it(tmp_path):
    rows = "id\tentity_1\tentity_2\tlabel\ttext\tlang\n1\ta\tb\tl\t<e1>a</e1> <e2>b</e2>\tde\n"
    with pytest.raises(UserError, match="is of no other format"):
        convert(write(tmp_path, rows))


def test_a_byte_order_mark_is_no_part_of_the_first_id(tmp_path):
    assert convert(write(tmp_path, b"\xef\xbb\xbf" + SEMEVAL.encode())).examples[0].id == "1"


@settings(max_examples=100)
@given(st.data())
def test_whatever_the_file_holds_every_record_is_counted(tmp_path_factory, data):
    pieces = st.sampled_from([b"", b"\n", b"\t", b"\xff", b"</e1>", b"<e2> ", b'"', b"\r", b"Comment", b"(e2,e1)"])
    content = bytearray((SEMEVAL + KBP + RELX).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at, length = data.draw(st.integers(0, len(content))), data.draw(st.integers(0, 40))
        content[at : at + length] = data.draw(pieces)
    path = write(tmp_path_factory.getbasetemp(), bytes(content))
    try:
        of_format("marked-text", path)
    except UserError as error:
        assert "no labels" in str(error)
