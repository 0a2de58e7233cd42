from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import recognised
from mere_ds.corpus.rows import Tally
from mere_ds.errors import UserError

SPAN, RELATION = "webanno.custom.Thing", "webanno.custom.Tie"
HEADER = f"#FORMAT=WebAnno TSV 3.3\n#T_SP={SPAN}|kind\n#T_RL={RELATION}|value|BT_{SPAN}\n\n\n"


def rows(*lines: str) -> str:
    """Rows of blank-separated columns; each ends with a TAB."""
    return "".join("\t".join(line.split(" ")) + "\t\n" for line in lines)


def read(path, content, **given):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    options = SourceOptions(**{"format": "webanno-tsv", "lang": "en", "split": "train", **given})
    corpus = open_corpus(path, options=options)
    tally = Tally(corpus.files[0])
    kept = [
        (e.text, [(e.text[slice(*head)], label, e.text[slice(*tail)]) for head, label, tail in e.triples])
        for e in corpus.read(corpus.files[0], tally=tally)
    ]
    [counts] = tally.counts
    assert counts.rows == counts.kept + sum(counts.rejected.values())
    return kept, counts


PLAIN = (
    HEADER + "#Text=Ida left Rome\n" + rows("1-1 0-3 Ida PER _ _", "1-2 4-8 left _ _ _", "1-3 9-13 Rome LOC from 1-1")
)


def test_a_relation_on_the_row_of_its_target_names_its_source(tmp_path):
    kept, _ = read(tmp_path / "x.tsv", PLAIN)
    assert kept == [("Ida left Rome", [("Ida", "from", "Rome")])]


def test_offsets_count_utf16_code_units(tmp_path):
    text = "#Text=🜚🜚 Ida left 🜚 Rome\n" + rows(
        "1-1 0-4 🜚🜚 _ _ _",
        "1-2 5-8 Ida PER from 1-5",
        "1-3 9-13 left _ _ _",
        "1-4 14-16 🜚 _ _ _",
        "1-5 17-21 Rome LOC _ _",
    )
    kept, counts = read(tmp_path / "x.tsv", HEADER + text)
    assert kept == [("🜚🜚 Ida left 🜚 Rome", [("Rome", "from", "Ida")])] and not counts.left_out


def test_numbers_tell_spans_of_several_tokens_and_stacked_spans_apart(tmp_path):
    text = "#Text=North Sea Oil drills oil\n" + rows(
        "1-1 0-5 North LOC[1]|ORG[2] _ _",
        "1-2 6-9 Sea LOC[1]|ORG[2] _ _",
        "1-3 10-13 Oil ORG[2] _ _",
        "1-4 14-20 drills _ _ _",
        "1-5 21-24 oil SUB named|drills 1-1[1_0]|1-1[2_0]",
    )
    kept, _ = read(tmp_path / "x.tsv", HEADER + text)
    assert kept[0][1] == [("North Sea", "named", "oil"), ("North Sea Oil", "drills", "oil")]


def test_a_target_of_several_tokens_has_its_relation_on_the_first_alone(tmp_path):
    text = "#Text=oil of North Sea\n" + rows(
        "1-1 0-3 oil SUB _ _", "1-2 4-6 of _ _ _", "1-3 7-12 North LOC[7] of 1-1[0_7]", "1-4 13-16 Sea LOC[7] _ _"
    )
    assert read(tmp_path / "x.tsv", HEADER + text)[0][0][1] == [("oil", "of", "North Sea")]


def test_parts_of_tokens(tmp_path):
    text = "#Text=Seewind\n" + rows("1-1 0-7 Seewind _ _ _", "1-1.1 0-3 See A _ _", "1-1.2 3-7 wind B of 1-1.1")
    assert read(tmp_path / "x.tsv", HEADER + text)[0][0][1] == [("See", "of", "wind")]


def test_escapes_of_values_and_of_texts(tmp_path):
    label = r"a\|b\[1\]\_\->\;\\"
    text = "#Text=Ida\\tleft\\\\\n#Text=Rome\n" + rows(
        "1-1 0-3 Ida PER _ _", "1-2 4-8 left _ _ _", "1-3 8-9 \\ _ _ _", f"1-4 10-14 Rome LOC {label}|x 1-1|1-3"
    )
    kept, counts = read(tmp_path / "x.tsv", HEADER + text, cut="document")
    assert kept == [("Ida\tleft\\\nRome", [("Ida", "a|b[1]_->;\\", "Rome"), ("\\", "x", "Rome")])]
    assert not counts.left_out


def test_a_token_may_hold_a_tab(tmp_path):
    text = "#Text=Ida\\tVik left\n1-1\t0-7\tIda\tVik\tPER\tof\t1-2\t\n" + rows("1-2 8-12 left V _ _")
    assert read(tmp_path / "x.tsv", HEADER + text)[0][0][1] == [("left", "of", "Ida\tVik")]


def test_a_document_is_cut_between_sentences_but_not_through_a_relation(tmp_path):
    text = "".join(
        "#Sentence.id=s\n#Text=Ida left .\n"
        + rows(f"{n}-1 {at}-{at + 3} Ida PER {tie}", f"{n}-2 {at + 4}-{at + 8} left _ _ _")
        for n, at, tie in [(1, 0, "_ _"), (2, 14, "_ _"), (3, 24, "x 2-1")]
    )
    kept, counts = read(tmp_path / "x.tsv", HEADER + text)
    assert kept == [("Ida left .", []), ("Ida left .Ida left .", [("Ida", "x", "Ida")])]
    assert counts.notes == {"text_left_out": 1}


@pytest.mark.parametrize(
    ("tie", "reason"),
    [
        ("x 9-9", "unknown_entity"),
        ("x 1-1[5_0]", "unknown_entity"),
        ("x 1-1[0_5]", "unknown_entity"),
        ("x Ida", "wrong_reference"),
        ("x 1-1|1-2", "uneven_stack"),
        ("* 1-1", "empty_label"),
        ("x 1-4", "surface_differs"),
        ("x 1-5", "span_out_of_text"),
    ],
)
def test_a_relation_that_points_nowhere_is_left_out_with_its_reason(tmp_path, tie, reason):
    text = "#Text=Ida left Rome\n" + rows(
        "1-1 0-3 Ida PER _ _", f"1-3 9-13 Rome LOC {tie}", "1-4 4-8 gone _ _ _", "1-5 9-19 Rome _ _ _"
    )
    kept, counts = read(tmp_path / "x.tsv", HEADER + text)
    assert kept == [("Ida left Rome", [])] and counts.left_out == {reason: 1 + (reason == "uneven_stack")}


def test_a_layer_without_a_feature_is_its_own_label(tmp_path):
    header = f"#FORMAT=WebAnno TSV 3.3\n#T_SP={SPAN}|\n#T_RL={RELATION}|BT_{SPAN}\n\n\n"
    text = "#Text=Ida left\n" + rows("1-1 0-3 Ida * _", "1-2 4-8 left * 1-1")
    assert read(tmp_path / "x.tsv", header + text)[0][0][1] == [("Ida", "Tie", "left")]


def test_the_label_of_several_features_is_asked_for_and_layers_are_chosen(tmp_path):
    header = HEADER.replace("value|BT", "sure|how|BT")[:-2] + f"#T_RL=a.B|value|BT_{SPAN}\n\n\n"
    text = "#Text=Ida left\n" + rows("1-1 0-3 Ida PER _ _ _ y 1-2", "1-2 4-8 left V yes by 1-1 _ _")
    with pytest.raises(UserError, match="--map relation=NAME, one of sure, how"):
        read(tmp_path / "x.tsv", header + text)
    kept, _ = read(tmp_path / "x.tsv", header + text, map=("relation=how",))
    assert kept[0][1] == [("left", "y", "Ida"), ("Ida", "by", "left")]
    kept, counts = read(tmp_path / "x.tsv", header + text, map=("layer=B",))
    assert kept[0][1] == [("left", "y", "Ida")] and counts.left_out == {"other_layer": 1}
    with pytest.raises(UserError, match="--map=text"):
        read(tmp_path / "x.tsv", header + text, map=("text=x",))


@pytest.mark.parametrize("version", ["3.2", "3", "2"])
def test_older_versions_are_refused_in_one_line(tmp_path, version):
    with pytest.raises(UserError, match="export it again as 3.3"):
        read(tmp_path / "x.tsv", PLAIN.replace("3.3", version))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PLAIN.replace("4-8\tleft", "4\tleft"), "wrong_row"),
        (PLAIN.replace("1-1\t\n", "\n"), "wrong_row"),
        (PLAIN + "#Text=so\n" + rows("2-1 5-7 so _ _ _"), "wrong_offsets"),
        (PLAIN + "#Text=so\n" + rows("2-1 999999999-999999999 so _ _ _"), "wrong_offsets"),
        (PLAIN.encode().replace(b"left", b"le\xfft"), "invalid_utf8"),
    ],
)
def test_a_document_that_cannot_be_placed_is_rejected(tmp_path, content, reason):
    kept, counts = read(tmp_path / "x.tsv", content)
    assert not kept and counts.rejected == {reason: 1}


def test_chains_and_slots_are_told(tmp_path):
    header = HEADER.replace("#T_RL", "#T_CH=a.CoreferenceLink|referenceType|referenceRelation\n#T_RL")
    text = "#Text=Ida left\n" + rows("1-1 0-3 Ida PER pr[1] coref->1-1 _ _", "1-2 4-8 left _ _ _ by 1-1")
    kept, counts = read(tmp_path / "x.tsv", header + text)
    assert kept[0][1] == [("Ida", "by", "left")] and counts.notes == {"other_links": 1}


def test_the_format_is_recognised_and_windows_line_ends_do_no_harm(tmp_path):
    kept, _ = read(tmp_path / "train.tsv", PLAIN.replace("\n", "\r\n"))
    assert kept == [("Ida left Rome", [("Ida", "from", "Rome")])]
    assert list(recognised(tmp_path)) == ["webanno-tsv"]


def test_a_document_of_a_project_has_the_name_of_its_folder(tmp_path):
    folder = tmp_path / "letter.txt"
    folder.mkdir()
    (folder / "ida.tsv").write_text(PLAIN)
    corpus = open_corpus(tmp_path, options=SourceOptions(format="webanno-tsv", lang="en", split="train"))
    assert [example.id for example in corpus.read(corpus.files[0])] == ["letter.txt"]


@given(st.data())
def test_damaged_bytes_give_an_error_for_the_user_or_counted_rows(tmp_path_factory, data):
    content = bytearray(PLAIN.encode())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b"\t\n|[]_*\\#-.09a\xff"))
    with suppress(UserError):
        read(tmp_path_factory.mktemp("damaged") / "x.tsv", bytes(content))
