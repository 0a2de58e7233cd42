"""Formats whose records are texts with one relation each."""

from dataclasses import replace

import pytest

from mere_ds.corpus.formats.checking import FormatFile, Source
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated
from tests.corpus.formats.reading import read_all

TEXT = "Anna Berg comes from Kiel."
BORN = Link(Mention(((0, 9),)), "born-in", Mention(((21, 25),)), "born")


def read(tmp_path, link, one_relation):
    path = tmp_path / "any"
    path.write_text(TEXT)
    stated = Stated(1, "7", TEXT, (link,), len(TEXT), "row")
    format = Format("any", "", lambda source: iter([source]), lambda _: None, lambda *_: iter([stated]), {"odd": ""})
    source = Source(replace(format, one_relation=one_relation), SourceOptions())
    return read_all(source, FormatFile(path, "train", "de"))


BAD = {
    "odd": Lost("odd", "born"),
    "empty_span": BORN._replace(head=Mention(((4, 5),))),
    "span_out_of_text": BORN._replace(tail=Mention(((21, 40),))),
    "surface_differs": BORN._replace(tail=Mention(((21, 25),), "Köln")),
    "empty_label": BORN._replace(relation=" "),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_record_is_rejected_with_its_one_relation(tmp_path, reason):
    result = read(tmp_path, BAD[reason], one_relation=True)
    assert not result.examples and result.counts.rejected == result.counts.left_out == {reason: 1}
    assert [(reject.reason, reject.kept, reject.raw) for reject in result.rejects] == [(reason, False, "row")]


def test_a_record_of_any_number_of_relations_is_kept_without_one_of_them(tmp_path):
    result = read(tmp_path, BAD["odd"], one_relation=False)
    assert result.triples == [[]] and result.counts.left_out == {"odd": 1} and not result.counts.rejected


def test_a_record_with_a_good_relation_is_kept(tmp_path):
    assert read(tmp_path, BORN, one_relation=True).triples == [[("Anna Berg", "born-in", "Kiel")]]
