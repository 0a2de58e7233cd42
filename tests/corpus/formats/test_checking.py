"""What a reader states becomes sentences: each reason for which something is not kept, and each note."""

from dataclasses import replace

import pytest

from mere_ds.corpus.formats.checking import LOSSES, MOST_CHARACTERS, NOTES, FormatFile, Source, read_source
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.jsonl import MOST_TRIPLES, JsonLinesFile, read_json_lines
from mere_ds.corpus.rows import MOST_ROW_BYTES, Tally
from mere_ds.errors import UserError
from mere_ds.files import json_line
from tests.corpus.formats.reading import Result, check

TEXT = "Zoe\u0301 Berg left Kiel . She likes Oslo"
ZOE, KIEL, SHE, OSLO = (0, 9), (15, 19), (22, 25), (32, 36)
FORMAT = Format("any", "", lambda source: iter([source]), lambda _: None, lambda *_: iter(()), {"odd": ""})


def link(head, tail=KIEL, label="x", surface=None, **more):
    pieces = head if head and isinstance(head[0], tuple) else (head,)
    return Link(Mention(tuple(pieces), surface), label, Mention((tail,)), "raw", **more)


def stated(*links, text=TEXT, **more):
    return Stated(**{"place": 1, "id": "7", "text": text, "links": links, "size": 100, "raw": "row"} | more)


def read(path, *items, language="de", one_triple=False, languages=None, documents=False, **options):
    """Sentences, what was rejected, and counts; each relation is a label or left out."""
    format = replace(FORMAT, read=lambda *_: iter(items), documents=documents, repairs={"fix": ""}, notes={"own": ""})
    file = FormatFile(path / "source.json", "train", language)
    rejects, tally = [], Tally(file)
    source = Source(format, SourceOptions(**options))
    examples = list(read_source(source, file, one_triple, languages, rejects.append, tally))
    [counts] = [counts for counts in tally.counts if counts.rows] or tally.counts
    check(counts, examples, rejects, format)
    there = [item for item in items if not (isinstance(item, Stated) and tally.skipped_bytes)]
    relations = sum(len(item.links) if isinstance(item, Stated) else item.relations for item in there)
    assert sum(counts.labels.values()) + sum(counts.left_out.values()) == relations
    assert tally.bytes == sum(item.size for item in items)
    return Result(examples, rejects, counts)


GOOD = link(ZOE)

OF_RELATIONS = {
    "span_out_of_text": [
        link((-1, 4)),
        link((20, 99)),
        link((9, 5)),
        link((0, 10**400)),
        GOOD._replace(head=Mention(())),
    ],
    "empty_span": [link((9, 9)), link((4, 5)), link(((0, 3), (5, 5)))],
    "surface_differs": [link(ZOE, surface="Zoe Berg"), link((0, 4), surface="ZOE\u0301")],
    "empty_label": [link(OSLO, label=""), link(OSLO, label=" \t")],
    "invalid_text": [link(OSLO, label="\ud83c")],
    "double_triple": [GOOD, link((0, 10), label=" x ")],
    "unknown_entity": [Lost("unknown_entity", "raw")],
    "wrong_keys": [Lost("wrong_keys", "raw")],
    "odd": [Lost("odd", "raw")],
}


@pytest.mark.parametrize("reason", OF_RELATIONS)
def test_relations_that_are_not_kept_are_left_out_of_their_sentence_with_a_reason(tmp_path, reason):
    for bad in OF_RELATIONS[reason]:
        result = read(tmp_path, stated(GOOD, bad))
        assert result.triples == [[("Zoe\u0301 Berg", "x", "Kiel")]] and result.counts.left_out == {reason: 1}
        [reject] = result.rejects
        assert (reject.file, reject.line, reject.reason, reject.kept) == ("source.json", 1, reason, True)


LONG = "x" * (MOST_CHARACTERS - 1)

OF_TEXTS = {
    "empty_text": [stated(GOOD, text=""), stated(GOOD, text=" \n\u200b")],
    "invalid_text": [stated(GOOD, text=TEXT + "\udf75"), stated(GOOD, id="\udf75")],
    "wrong_language": [stated(GOOD, language="fr")],
    "unknown_language": [stated(GOOD, language="German"), stated(GOOD, language="../de")],
    "too_long_text": [stated(GOOD, text=TEXT + LONG), stated(GOOD, id=LONG), stated(link(ZOE, label=LONG))],
    "too_many_triples": [stated(*(link(ZOE, label=str(n)) for n in range(MOST_TRIPLES + 1)))],
    "invalid_json": [Unreadable(1, "invalid_json", "row", 100)],
    "wrong_keys": [Unreadable(1, "wrong_keys", "row", 100, relations=3)],
    "odd": [Unreadable(1, "odd", "row", 100, "other.json")],
}


@pytest.mark.parametrize("reason", OF_TEXTS)
def test_texts_that_are_not_kept_are_rejected_with_their_relations(tmp_path, reason):
    for bad in OF_TEXTS[reason]:
        result = read(tmp_path, bad, stated(GOOD, place=2))
        assert len(result.examples) == 1 and result.reasons == [(1, reason)]
        assert result.counts.left_out.total() == (len(bad.links) if isinstance(bad, Stated) else bad.relations)
        assert result.rejects[0].file == (bad.file or "source.json")


def test_where_one_triple_is_asked_for_sentences_with_others_are_rejected(tmp_path):
    two = stated(GOOD, link(ZOE, OSLO), place=2)
    result = read(tmp_path, stated(GOOD), two, stated(place=3), one_triple=True)
    assert result.triples == [[("Zoe\u0301 Berg", "x", "Kiel")]]
    assert result.reasons == [(2, "not_one_triple"), (3, "not_one_triple")]
    assert result.counts.left_out == {"not_one_triple": 2}


OF_NOTES = {
    "discontinuous": link(((0, 4), (5, 9)), surface="Zoe\u0301 Berg"),
    "blanks_differ": link(ZOE, surface="Zoe\u0301\u00a0 Berg"),
    "cut_letter": link((0, 3)),
    "self_relation": link(KIEL, KIEL),
    "own": link(ZOE, notes=("own", "own")),
}


@pytest.mark.parametrize("note", OF_NOTES)
def test_what_is_noteworthy_of_kept_relations_is_counted_once_a_relation(tmp_path, note):
    result = read(tmp_path, stated(OF_NOTES[note]))
    assert result.counts.notes == {note: 1} and result.counts.labels == {"x": 1} and not result.rejects


def test_the_tests_name_every_reason_and_note():
    of_readers = {"no_relations", "same_start"}  # which no check finds
    assert {*OF_RELATIONS, *OF_TEXTS, "not_one_triple", *of_readers} >= {*LOSSES} and {*OF_NOTES} >= {*NOTES}


def test_pieces_are_joined_in_the_order_of_the_file_and_span_from_the_first_to_the_last(tmp_path):
    result = read(tmp_path, stated(link(((15, 19), (5, 9)), OSLO, surface="Kiel Berg")))
    assert result.triples == [[("Berg left Kiel", "x", "Oslo")]] and result.counts.notes == {"discontinuous": 1}


def test_repairs_and_notes_of_texts_are_counted_and_repairs_told(tmp_path):
    result = read(tmp_path, stated(link(ZOE, repairs=("fix",)), notes=("own",)))
    assert result.counts.repaired_triples == {"fix": 1} and result.counts.notes == {"own": 1}
    assert [(reject.reason, reject.kept, reject.raw) for reject in result.rejects] == [("fix", True, "raw")]


def test_documents_are_cut_where_the_file_says_and_kept_whole_if_asked(tmp_path):
    document = stated(GOOD, link(SHE, OSLO), bounds=(21,))
    result = read(tmp_path, document, documents=True)
    assert result.triples == [[("Zoe\u0301 Berg", "x", "Kiel")], [("She", "x", "Oslo")]]
    assert [(e.id, e.text, e.line) for e in result.examples] == [("7.1", TEXT[:21], 1), ("7.2", TEXT[22:], 1)]
    for options in ({"documents": True, "cut": "document"}, {"cut": "auto"}):
        [example] = read(tmp_path, document, **options).examples
        assert (example.id, example.text, len(example.triples)) == ("7", TEXT, 2)
    assert len(read(tmp_path, document, cut="sentence").examples) == 2
    assert len(read(tmp_path, stated(GOOD, link(ZOE, OSLO), bounds=(21,)), documents=True).examples) == 1


def test_documents_without_bounds_are_cut_at_lines_and_sentences(tmp_path):
    pytest.importorskip("sentencex")
    document = stated(text="Anna lives. Bert lives.\n\nCora lives.\n")
    texts = [example.text for example in read(tmp_path, document, documents=True).examples]
    assert texts == ["Anna lives.", "Bert lives.", "Cora lives."]


def test_only_the_chosen_languages_are_read_and_the_others_passed_over(tmp_path):
    items = [stated(GOOD, language="pt_br"), stated(GOOD, language="fr")]
    result = read(tmp_path, *items[:1], language="", languages=["pt-BR"])
    assert [example.language for example in result.examples] == ["pt-BR"]
    assert not read(tmp_path, items[1], language="", languages=["pt-BR"]).counts.rows
    with pytest.raises(UserError, match=r"source\.json: does not state the language of its texts: pass --lang=de"):
        read(tmp_path, stated(GOOD), language="")


def test_the_longest_sentence_that_is_kept_can_be_read_back(tmp_path):
    label = "\x01" * 100
    labels = [f"{n:04}{label}" for n in range(MOST_TRIPLES)]
    text = "\x01a" * ((MOST_CHARACTERS - 104 * MOST_TRIPLES - 1) // 2)
    result = read(tmp_path, stated(*(link((1, 2), (3, 4), one) for one in labels), text=text))
    [example] = result.examples
    triples = [{"head": head, "relation": label, "tail": tail} for head, label, tail in example.triples]
    row = json_line({"id": example.id, "lang": "de", "text": text, "triples": triples})
    assert len(row) < MOST_ROW_BYTES
    (tmp_path / "de.train.jsonl").write_bytes(row)
    file = JsonLinesFile.of(tmp_path / "de.train.jsonl")
    assert [e.triples for e in read_json_lines(file, False, None, print, Tally(file))] == [example.triples]
