import gc
import struct
import zlib

import numpy as np
import pytest
import spacy
import srsly
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.vocab import Vocab

from mere_ds.converting import convert_corpus
from mere_ds.corpus.example import Example, Triple
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import recognised
from mere_ds.corpus.formats.spacy_writer import SpacyFiles
from mere_ds.errors import UserError
from mere_ds.files import json_line
from tests.corpus.formats.damage import damaged_bytes
from tests.corpus.formats.reading import convert, of_format

WORDS = ["Ada", "Vik", "runs", "Polar", "Tea", "in", "Oslo"]
REL = ("._.", "rel", None, None)


def doc(scores=None, groups=None, extra=()):
    """A document with the entities Ada Vik, Polar Tea and Oslo; groups hold (start, end, label)."""
    made = Doc(Vocab(), words=WORDS, spaces=[True] * 6 + [False])
    made.ents = [Span(made, 0, 2, "PER"), Span(made, 3, 5, "ORG"), Span(made, 6, 7, "LOC")]
    for name, spans in (groups or {}).items():
        made.spans[name] = SpanGroup(made, name=name, spans=[Span(made, *span) for span in spans])
    for number, (start, end) in enumerate(extra):
        made.spans[f"more{number}"] = [Span(made, start, end, "X")]
    if scores is not None:
        made.user_data[REL] = scores
    return made


def written(path, *docs):
    path.write_bytes(DocBin(store_user_data=True, docs=docs).to_bytes())
    return path


def test_scores_are_of_the_entities_that_begin_at_two_tokens(tmp_path):
    scores = {(0, 3): {"RUNS": 1.0, "IN": 0.0}, (3, 6): {"IN": 0.7, "NEAR": True}, (6, 0): {"RUNS": 0.0}}
    result = convert(written(tmp_path / "x.spacy", doc(scores)), "spacy")
    assert result.triples == [
        [("Ada Vik", "RUNS", "Polar Tea"), ("Polar Tea", "IN", "Oslo"), ("Polar Tea", "NEAR", "Oslo")]
    ]
    assert not result.counts.left_out


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({(0, 3): {"RUNS": 0.3}}, "low_score"),
        ({(0, 1): {"RUNS": 1.0}}, "unknown_entity"),
        ({(0, 99): {"RUNS": 1.0}}, "unknown_entity"),
        ({(0, 5): {"RUNS": 1.0}}, "same_start"),
        ({(0, 3): {"RUNS": "yes"}}, "wrong_keys"),
        ({(0, 3): {"RUNS": float("nan")}}, "wrong_keys"),
        ({(0, 3): {7: 1.0}}, "wrong_keys"),
        ({(0, 3): 1.0}, "wrong_keys"),
        ({0: {"RUNS": 1.0}}, "wrong_keys"),
        ({(0, 3): {"": 1.0}}, "empty_label"),
    ],
)
def test_a_score_that_is_no_relation_is_left_out_with_its_reason(tmp_path, scores, reason):
    result = convert(written(tmp_path / "x.spacy", doc(scores, extra=[(5, 6), (5, 7)])), "spacy")
    assert result.triples == [[]] and result.counts.left_out == {reason: 1}


def test_a_span_of_a_group_is_an_argument_where_no_entity_begins(tmp_path):
    scores = {(0, 4): {"LIKES": 1.0}}
    result = convert(written(tmp_path / "x.spacy", doc(scores, extra=[(4, 5), (0, 1)])), "spacy")
    assert result.triples == [[("Ada Vik", "LIKES", "Tea")]]


def test_another_name_of_the_extension_and_a_document_without_relations(tmp_path):
    other = doc()
    other.user_data[("._.", "ties", None, None)] = {(0, 3): {"RUNS": 1.0}}
    path = written(tmp_path / "x.spacy", other)
    assert convert(path, "spacy").counts.notes == {"no_known_relations": 1}
    assert convert(path, "spacy", map=("rel=ties",)).triples == [[("Ada Vik", "RUNS", "Polar Tea")]]
    with pytest.raises(UserError, match="--map=text"):
        convert(path, "spacy", map=("text=x",))


def test_two_groups_of_spans_are_relations_in_parallel(tmp_path):
    heads = [(0, 2, "RUNS"), (0, 1, "IN"), (0, 1, "A"), (3, 4, "RUNS")]
    tails = [(3, 5, "RUNS"), (0, 7, "IN"), (0, 1, "B")]
    result = convert(
        written(tmp_path / "x.spacy", doc({}, {"relation_heads": heads, "relation_tails": tails})), "spacy"
    )
    assert result.triples == [[("Ada Vik", "RUNS", "Polar Tea"), ("Ada", "IN", " ".join(WORDS))]]
    assert result.counts.left_out == {"labels_differ": 1, "uneven_groups": 1}


def test_a_document_is_cut_at_its_own_sentences_if_asked_for(tmp_path):
    made = doc({(0, 3): {"RUNS": 1.0}})
    for token in made:
        token.is_sent_start = token.i == 5
    path = written(tmp_path / "x.spacy", made)
    assert [e.text for e in convert(path, "spacy", cut="sentence").examples] == ["Ada Vik runs Polar Tea", "in Oslo"]
    assert [e.text for e in convert(path, "spacy").examples] == [" ".join(WORDS)]


TEXTS = {
    "de": "Äpfel  von Ida z.B. aus dem Nordseeöl-Werk.",
    "ja": "東京のIdaは北海で働く。",
    "zh": "北海石油公司在奥斯陆。",
    "xx": " \t🜚🜚 née\n\n(x) a\u0301b ",
}


def examples():
    for language, text in TEXTS.items():
        full = (0, len(text))
        inner = tuple(Triple((a, a + 1), "ein Teil", full) for a in range(len(text)) if text[a].strip())
        yield Example(f"{language}/1", language, text, (Triple(full, "all\u2028of|it", (2, 5)), *inner), "", 1)
        yield Example(f"{language}/2", language, text, (), "", 2)
    yield Example("", "de", "Ida", (), "", 3)


def test_what_is_written_is_read_back_exactly(tmp_path):
    source, out, back = (tmp_path / name for name in ("source", "out", "back"))
    source.mkdir()
    trimmed = [example for example in examples() if example.text == example.text.strip()]
    for example in trimmed:
        row = {
            "id": example.id,
            "lang": example.language,
            "text": example.text,
            "triples": list(map(_row, example.triples)),
        }
        with (source / f"{example.language}.train.jsonl").open("ab") as stream:
            stream.write(json_line(row))
    convert_corpus(source, out, to="spacy")
    assert recognised(out).keys() == {"spacy"}
    convert_corpus(out, back, SourceOptions())
    for path in source.iterdir():
        assert (back / path.name).read_bytes() == path.read_bytes()


def _row(triple):
    return {"head": list(triple.head), "relation": triple.relation, "tail": list(triple.tail)}


def test_spacy_itself_gives_the_triples_and_the_text(tmp_path):
    with SpacyFiles(tmp_path, tmp_path) as writer:
        for example in examples():
            writer.write(example, "train")
    for language in TEXTS:
        expected = [example for example in examples() if example.language == language]
        docs = DocBin().from_disk(tmp_path / f"{language}.train.001.spacy").get_docs(spacy.blank("xx").vocab)
        for example, loaded in zip(expected, docs, strict=True):
            assert (loaded.text, loaded.user_data["id"]) == (example.text, example.id)
            found = [
                Triple((head.start_char, head.end_char), head.label_, (tail.start_char, tail.end_char))
                for head, tail in zip(loaded.spans["relation_heads"], loaded.spans["relation_tails"], strict=True)
            ]
            assert found == list(example.triples)


def test_a_file_has_a_limited_number_of_documents(tmp_path, monkeypatch):
    monkeypatch.setattr("mere_ds.corpus.formats.spacy_writer._MOST", 2)
    with SpacyFiles(tmp_path, tmp_path) as writer:
        for number in range(5):
            writer.write(Example(str(number), "de", "Ida", (), "", 1), "dev")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"de.dev.00{n}.spacy" for n in (1, 2, 3)]
    corpus = open_corpus(tmp_path)
    assert [e.id for file in corpus.files for e in corpus.read(file)] == list("01234")


def repacked(path, **changes):
    """The file with values of its msgpack replaced."""
    value = srsly.msgpack_loads(zlib.decompress(path.read_bytes()))
    value.update({key: change(value[key]) for key, change in changes.items()})
    path.write_bytes(zlib.compress(srsly.msgpack_dumps(value)))


def test_a_damaged_document_does_not_end_the_others(tmp_path):
    groups = {"relation_heads": [(0, 2, "RUNS")], "relation_tails": [(3, 5, "RUNS")]}
    path = written(tmp_path / "x.spacy", *(doc(None, groups) for _ in range(4)))

    def outside(packed):
        msg = srsly.msgpack_loads(packed[1])
        group, names = next(iter(msg.items()))
        inner = srsly.msgpack_loads(group)
        ids = struct.unpack(">QQQllll", inner["spans"][0])
        inner["spans"] = [struct.pack(">QQQllll", *ids[:3], 5, 2**30, 0, 1)]
        return [
            packed[0],
            srsly.msgpack_dumps({srsly.msgpack_dumps(inner): names, **dict(list(msg.items())[1:])}),
            b"\xc1",
            packed[3],
        ]

    repacked(path, span_groups=outside)
    assert gc.isenabled()
    result = convert(path, "spacy")
    assert result.triples == [[("Ada Vik", "RUNS", "Polar Tea")], [], [("Ada Vik", "RUNS", "Polar Tea")]]
    assert result.counts.left_out == {"span_out_of_text": 1} and result.reasons == [(3, "invalid_document")]
    assert gc.isenabled()


def test_heads_that_lead_out_of_a_document_do_no_harm(tmp_path):
    path = written(tmp_path / "x.spacy", doc({(0, 3): {"RUNS": 1.0}}))

    def wild(tokens):
        array = np.frombuffer(tokens, dtype="uint64").reshape(len(WORDS), -1).copy()
        array[:, list(DocBin().attrs).index(spacy.attrs.HEAD)] = 2**31
        return array.tobytes()

    repacked(path, tokens=wild)
    assert convert(path, "spacy").triples == [[("Ada Vik", "RUNS", "Polar Tea")]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zlib", "is not a DocBin of spaCy"),
        (zlib.compress(b"\xc1"), "is not a DocBin of spaCy"),
        (zlib.compress(srsly.msgpack_dumps({"attrs": []})), "is not a DocBin of spaCy"),
        (zlib.compress(bytes(1 << 27)), "more than 200 times its size"),
        (
            zlib.compress(
                srsly.msgpack_dumps({b"nd": True, b"type": "O", b"kind": b"", b"shape": (1,), b"data": b"x" * 8})
            ),
            "is no",
        ),
    ],
)
def test_what_is_no_docbin_is_one_line_and_leaves_the_garbage_collector_on(tmp_path, content, message):
    path = tmp_path / "x.spacy"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        convert(path, "spacy")
    assert "\n" not in str(error.value) and gc.isenabled()


PACKED = zlib.decompress(
    DocBin(
        store_user_data=True,
        docs=[
            doc({(0, 3): {"RUNS": 1.0}}),
            doc(None, {"relation_heads": [(0, 2, "RUNS")], "relation_tails": [(3, 5, "RUNS")]}),
        ],
    ).to_bytes()
)


@given(damaged_bytes(PACKED), st.booleans())
def test_damaged_bytes_give_an_error_for_the_user_or_counted_rows(tmp_path_factory, content, as_whole):
    path = tmp_path_factory.getbasetemp() / "damaged.spacy"
    path.write_bytes(content if as_whole else zlib.compress(content))
    try:
        of_format("spacy", path)
    except UserError as error:
        assert "\n" not in str(error)
    assert gc.isenabled()
