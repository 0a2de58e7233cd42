import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import recognised
from mere_ds.corpus.formats.stated import Stated
from mere_ds.corpus.rows import Tally
from mere_ds.errors import UserError
from tests.corpus.formats.reading import check

TEXT = "Ada Vik runs Polar Tea in Oslo."
ADA, TEA, OSLO = "T1\tPER 0 7\tAda Vik", "T2\tORG 13 22\tPolar Tea", "T3\tLOC 26 30\tOslo"
RUNS = ("Ada Vik", "RUNS", "Polar Tea")


def write(folder, *records, text=TEXT, name="a", ends="\n"):
    folder.mkdir(exist_ok=True)
    content = text if isinstance(text, bytes) else text.encode()
    (folder / f"{name}.txt").write_bytes(content)
    (folder / f"{name}.ann").write_bytes("".join(record + ends for record in records).encode())


def read(path, **options):
    """(triples as text of each sentence, counts)."""
    examples, counts = read_all(path, **options)
    return [[(e.text[slice(*a)], label, e.text[slice(*b)]) for a, label, b in e.triples] for e in examples], counts


def read_all(path, **options):
    given_options = SourceOptions(**{"format": "brat", "lang": "de", "split": "train", **options})
    corpus = open_corpus(path, options=given_options)
    assert corpus.source
    [file] = corpus.files
    rejects = []
    tally = Tally(file)
    examples = list(corpus.read(file, rejects.append, tally))
    [counts] = tally.counts
    check(counts, examples, rejects, corpus.source.format)
    relations = 0
    for item in corpus.source.format.read(file.path, given_options):
        relations += len(item.links) if isinstance(item, Stated) else item.relations
    assert sum(counts.labels.values()) + sum(counts.left_out.values()) == relations
    return examples, counts


def only(path, **options):
    """The triples of the one sentence, and the counts."""
    [triples], counts = read(path, **options)
    return triples, counts


@pytest.mark.parametrize(
    ("record", "expected", "note"),
    [
        ("R1\tRUNS Arg1:T1 Arg2:T2\t", RUNS, ""),
        ("R1\tRUNS Arg1:T1 ARG2:T2", RUNS, ""),
        ("R1\tRUNS Arg2:T2 Arg1:T1\t", RUNS, "arg2_first"),
        ("R1\tRUNS Boss:T1 Firm:T2", RUNS, "other_roles"),
        ("R1\tRUNS Arg1:T2 Arg2:T1", RUNS[::-1], ""),
        ("*\tRUNS T2 T1", RUNS, "symmetric"),
        ("R1\tRUNS Arg1:T1 Arg2:T1", ("Ada Vik", "RUNS", "Ada Vik"), "self_relation"),
    ],
)
def test_roles_of_any_name_say_what_is_head_and_tail(tmp_path, record, expected, note):
    write(tmp_path, ADA, TEA, record)
    triples, counts = only(tmp_path)
    assert triples == [expected]
    assert dict(counts.notes) == ({note: 1} if note else {})


def test_each_two_members_of_a_star_line_are_related_in_the_order_of_the_text(tmp_path):
    write(tmp_path, ADA, TEA, OSLO, "*\tSame T3 T1 T2 T1")
    triples, counts = only(tmp_path)
    assert triples == [("Ada Vik", "Same", "Polar Tea"), ("Ada Vik", "Same", "Oslo"), ("Polar Tea", "Same", "Oslo")]
    assert counts.notes == {"symmetric": 3}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("R1\tRUNS Arg1:T1 Arg2:T9", "unknown_entity"),
        ("R1\tRUNS Arg1:T1", "wrong_arguments"),
        ("R1\tRUNS", "wrong_arguments"),
        ("R1\t", "wrong_arguments"),
        ("R1\tRUNS T1 T2", "wrong_arguments"),
        ("R1\tRUNS Arg1:T1 Arg2:T2 Arg3:T3", "wrong_arguments"),
        ("*\tSame T1", "wrong_arguments"),
        ("*\tSame T1 T9", "unknown_entity"),
        ("*\tSame " + " ".join(f"T{n}" for n in range(300)), "too_large_group"),
        ("R1\tRUNS Arg1:T1 Arg2:E1", "not_an_entity"),
        ("R1\tRUNS Arg1:T1 Arg2:R7", "not_an_entity"),
        ("R1\tRUNS Arg1:T1 Arg2:T4", "double_id"),
        ("R1\tRUNS Arg1:T1 Arg2:T5", "span_out_of_text"),
        ("R1\tRUNS Arg1:T1 Arg2:T6", "surface_differs"),
        ("R1\tRUNS Arg1:T1 Arg2:T7", "empty_span"),
        ("R1\tRUNS Arg1:T1 Arg2:T8", "unknown_entity"),
        ("R8\tRUNS Arg1:T1 Arg2:T2\nR9\tRUNS Arg1:T1 Arg2:T2", "double_triple"),
    ],
)
def test_a_relation_that_is_left_out_is_counted_with_its_reason(tmp_path, record, reason):
    twice = ["T4\tX 0 3\tAda", "T4\tX 4 7\tVik"]
    unfit = ["T5\tX 900 904\tOslo", "T6\tX 8 12\tOslo", "T7\tX 5 5\t", "T8\tX 5"]
    write(tmp_path, ADA, TEA, OSLO, *twice, *unfit, "E1\tX:T1", record)
    triples, counts = only(tmp_path)
    assert dict(counts.left_out) == {reason: 1}
    assert triples == ([RUNS] if reason == "double_triple" else [])


def test_lines_that_are_not_read_are_counted_by_kind(tmp_path):
    write(
        tmp_path, ADA, TEA, "E1\tX:T1 To:T2", "A1\tNegated T1", "M1\tNegated T1", "N1\tReference T1 W:Q1\tAda",
        "#1\tAnnotatorNotes T1\tsee Oslo", "X1\todd", "T8\tPER 0\tAda", "no record", "", "T9 PER 0 3 Ada",
    )  # fmt: skip
    _, counts = only(tmp_path)
    kinds = {"events": 1, "attributes": 2, "normalizations": 1, "comments": 1, "other_lines": 1}
    assert counts.notes == kinds | {"damaged_entities": 1, "stray_lines": 2}


def test_pieces_in_any_order_are_one_span(tmp_path):
    write(tmp_path, "T1\tX 13 18;0 3\tPolar Ada", "T2\tX 19 22;26 30\tTea Oslo", "R1\tNEAR Arg1:T1 Arg2:T2")
    triples, counts = only(tmp_path)
    assert triples == [("Ada Vik runs Polar", "NEAR", "Tea in Oslo")]
    assert counts.notes == {"discontinuous": 1, "pieces_out_of_order": 1}


def test_a_surface_with_a_line_break_makes_a_record_of_two_lines(tmp_path):
    text = "Polar\nTea by Ada\n\nVik."
    records = ["T1\tORG 0 9\tPolar\nTea", "T2\tPER 13 21\tAda\n\nVik", "R1\tBY Arg1:T1 Arg2:T2"]
    write(tmp_path, *records, text=text)
    triples, counts = only(tmp_path)
    assert triples == [("Polar\nTea", "BY", "Ada\n\nVik")]
    assert not counts.notes


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_line_end_of_two_characters_counts_two(tmp_path, ends):
    text = "Tea.\r\nPolar\r\nTea by Ada."
    write(tmp_path, "T1\tORG 6 16\tPolar\r\nTea", "T2\tPER 20 23\tAda", "R1\tBY Arg1:T1 Arg2:T2", text=text, ends=ends)
    triples, counts = read(tmp_path)
    assert triples == [[], [("Polar\r\nTea", "BY", "Ada")]]
    assert not counts.repaired_triples and not counts.notes


@pytest.mark.parametrize(
    ("text", "records", "repair"),
    [
        ("🜚🜚 Ada in Oslo", ["T1\tX 5 8\tAda", "T2\tX 12 16\tOslo"], "utf16_offsets"),
        ("So.\r\nAda in\r\nOslo", ["T1\tX 4 7\tAda", "T2\tX 11 15\tOslo"], "line_ends_once"),
        ("\ufeffAda in Oslo", ["T1\tX 0 3\tAda", "T2\tX 7 11\tOslo"], "mark_not_counted"),
        ("A Ada Vik Ada in Oslo.", ["T1\tX 3 6\tAda", "T3\tX 7 10\tVik", "T2\tX 18 22\tOslo"], "shifted"),
        ("Adá in Oslo", ["T1\tX 0 3\tAda", "T2\tX 7 11\tOslo"], "other_characters"),
    ],
)
def test_offsets_that_the_surface_proves_to_be_of_another_unit_or_shifted_are_repaired(tmp_path, text, records, repair):
    write(tmp_path, *records, "R1\tIN Arg1:T1 Arg2:T2", text=text)
    [*_, triples], counts = read(tmp_path)
    assert [(head.replace("á", "a"), label, tail) for head, label, tail in triples] == [("Ada", "IN", "Oslo")]
    assert counts.repaired_triples == {repair: 1}


def test_a_surface_that_stands_where_two_units_say_is_read_in_that_of_the_others(tmp_path):
    records = ["T1\tX 7 9\tha", "T2\tX 13 17\tOslo", "T3\tX 18 24\tBergen", "R1\tIN Arg1:T1 Arg2:T2"]
    write(tmp_path, *records, text="🜚🜚🜚 ha ha Oslo Bergen")
    [example], counts = read_all(tmp_path)
    assert [head for head, _, _ in example.triples] == [(4, 6)] and counts.repaired_triples == {"utf16_offsets": 1}


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("🜚🜚 Ada in Oslo", ["T1\tX 3 6\tAda", "T2\tX 10 14\tOslo"]),
        ("\ufeffAda in Oslo", ["T1\tX 1 4\tAda", "T2\tX 8 12\tOslo"]),
        ("Ada in Oslo", ["T1\tX 0 3", "T2\tX 7 11\t"]),
        ("Ada in Oslo", ["T1\tX 0 3\tAda\tmore", "T2\tX 7 11\tOslo"]),
        ("Ada in  Oslo", ["T1\tX 0 3\tAda", "T2\tX 4 12\tin Oslo"]),
        (f"Ada in{' ' * 200}Oslo", ["T1\tX 0 3\tAda", "T2\tX 4 210\tin Oslo"]),
    ],
    ids=["code-points", "mark-counted", "no-surface", "more-columns", "other-blanks", "many-blanks"],
)
def test_offsets_count_the_characters_of_the_file_as_it_is_stored(tmp_path, text, records):
    write(tmp_path, *records, "R1\tIN Arg1:T1 Arg2:T2", text=text)
    [(head, _, tail)], counts = only(tmp_path)
    assert head == "Ada" and tail.endswith("Oslo")
    assert not counts.repaired_triples


def test_one_shifted_entity_alone_is_not_moved_to_where_its_surface_happens_to_stand(tmp_path):
    write(tmp_path, "T1\tX 1 3\tAd", OSLO, "R1\tIN Arg1:T1 Arg2:T3")
    _, counts = only(tmp_path)
    assert counts.left_out == {"surface_differs": 1}


def test_the_unit_can_be_given(tmp_path):
    write(tmp_path, "T1\tX 3 6", "T2\tX 10 14", "R1\tIN Arg1:T1 Arg2:T2", text="🜚 Ada in Oslo.")
    assert only(tmp_path, offsets="utf16")[0] == [("Ada", "IN", "Oslo")]
    assert only(tmp_path, offsets="char")[0] == [("da", "IN", "slo.")]
    with pytest.raises(UserError, match="omit it"):
        read(tmp_path, offsets="token")


def test_sentences_are_cut_but_not_through_a_relation(tmp_path):
    text = "Ada is here. Vik came. Oslo is far.\nTea is hot."
    write(tmp_path, "T1\tX 0 3\tAda", "T2\tX 13 16\tVik", "R1\tSAW Arg1:T1 Arg2:T2", text=text)
    examples, _ = read_all(tmp_path, lang="en")
    assert [(e.id, e.text) for e in examples] == [
        ("a.1", "Ada is here. Vik came."), ("a.2", "Oslo is far."), ("a.3", "Tea is hot.")
    ]  # fmt: skip
    [whole], _ = read_all(tmp_path, lang="en", cut="document")
    assert (whole.id, whole.text) == ("a", text)


def test_a_file_without_its_partner_is_rejected_with_its_relations(tmp_path):
    write(tmp_path, ADA, TEA, "R1\tRUNS Arg1:T1 Arg2:T2")
    write(tmp_path, ADA, "*\tSame T1 T2 T3", name="b")
    (tmp_path / "b.txt").unlink()
    (tmp_path / "c.txt").write_text("Tea.")
    write(tmp_path, "R1\tRUNS Arg1:T1 Arg2:T2", name="d", text=b"\xff")
    write(tmp_path, "<xml>", name="e")
    (tmp_path / "f.ann").touch()
    (tmp_path / "f.txt").write_text("Tea.")
    triples, counts = read(tmp_path)
    assert triples == [[RUNS], []]
    assert counts.rejected == {"no_txt_file": 1, "no_ann_file": 1, "invalid_utf8": 1, "no_records": 1}
    assert counts.left_out == {"no_txt_file": 3, "invalid_utf8": 1}
    assert counts.notes == {"empty_annotations": 1}


def test_every_folder_with_annotations_is_read_and_a_document_alone_too(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split, ADA, TEA, "R1\tRUNS Arg1:T1 Arg2:T2")
    assert recognised(tmp_path) == {"brat": ".ann beside .txt"}
    corpus = open_corpus(tmp_path, options=SourceOptions(lang="en"))
    assert [(file.path.name, file.split) for file in corpus.files] == [("train", "train"), ("test", "test")]
    assert only(tmp_path / "test" / "a.ann")[0] == [RUNS]


def test_a_folder_with_ann_files_of_another_kind_is_not_recognised(tmp_path):
    write(tmp_path, "<annotation/>")
    assert recognised(tmp_path) == {}


RECORDS = [ADA, TEA, OSLO, "R1\tRUNS Arg1:T1 Arg2:T2", "*\tSame T1 T2 T3", "E1\tX:T1", "#1\tN T1\tx", "A1\tX T1 2"]


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(RECORDS), min_size=1, max_size=9).map("\n".join).map(str.encode),
    st.lists(st.tuples(st.integers(0, 150), st.binary(max_size=3)), max_size=6),
    st.sampled_from([b"", codecs.BOM_UTF8]),
    st.text(max_size=6),
)
def test_a_damaged_file_loses_nothing_uncounted(tmp_path_factory, content, damages, mark, text):
    for place, damage in damages:
        content = content[:place] + damage + content[place + 1 :]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a.ann").write_bytes(mark + content)
    (folder / "a.txt").write_bytes(mark + f"{TEXT} {text}".encode("utf-8", "surrogatepass"))
    read_all(folder)
