"""The component in real pipelines of spaCy: triples as spans of its tokens, batched, saved by reference."""

import json

import pytest

spacy = pytest.importorskip("spacy")
from spacy.tokens import Doc, DocBin  # noqa: E402

import mere_ds  # noqa: E402
import mere_ds.spacy_component  # noqa: E402, F401  (an installed package has an entry point for this)
from mere_ds.errors import UserError  # noqa: E402
from tests.small_model import TEXTS, leave_run  # noqa: E402


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spacy") / "run"
    leave_run(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(run):
    return mere_ds.load(run)


def pipeline(run, pipeline_of="de", **config):
    nlp = spacy.blank(pipeline_of)
    nlp.add_pipe("mere_ds", config={"model": run, **config})
    return nlp


def test_triples_are_the_librarys_with_spans_of_tokens_around_them(run, model):
    nlp = pipeline(run)
    for text in [*TEXTS, "", " \n", "😀 Anna-Berg wohnt in\u00a0Köln!", "Köln" * 500]:
        doc, expected = nlp(text), model.extract(text, "de")
        assert doc.text == text and doc._.triples_note == expected.note
        assert len(doc._.triples) == len(expected)
        for triple, one in zip(doc._.triples, expected, strict=True):
            assert (triple.relation, triple.score) == (one.relation, pytest.approx(one.score, abs=1e-6))
            pairs = (triple.head, triple.head_characters, one.head), (triple.tail, triple.tail_characters, one.tail)
            for span, characters, entity in pairs:
                assert characters == (entity.start, entity.end)
                assert span.start_char <= entity.start < entity.end <= span.end_char
                assert doc[span.start].idx + len(doc[span.start]) > entity.start, "no token too many in front"
                assert doc[span.end - 1].idx < entity.end, "none at the end"
                assert span in doc.spans["mere_ds"]
        entities = {(span.start, span.end) for triple in doc._.triples for span in (triple.head, triple.tail)}
        assert [(span.start, span.end) for span in doc.spans["mere_ds"]] == sorted(entities)
    assert any(len(nlp(text)._.triples) for text in TEXTS)


def test_many_documents_in_order_and_in_batches(run, monkeypatch):
    nlp = pipeline(run)
    sizes = []
    usual = mere_ds.Model.extract
    monkeypatch.setattr(
        mere_ds.Model,
        "extract",
        lambda self, texts, *args, **more: sizes.append(len(texts)) or usual(self, texts, *args, **more),
    )
    texts = [f"{TEXTS[n % 3]} {n}" for n in range(10)]
    docs = list(nlp.pipe(iter(texts), batch_size=4))
    assert [doc.text for doc in docs] == texts and sizes == [4, 4, 2]
    assert list(nlp.pipe([("Köln", 7)], as_tuples=True))[0][1] == 7


def test_limits_and_languages(run, model):
    assert pipeline(run, max_triples=1, min_score=0.0)(TEXTS[0])._.triples
    assert not pipeline(run, min_score=1.0)(TEXTS[0])._.triples
    (triple, *_), expected = pipeline(run, "xx", lang="PT_br")(TEXTS[2])._.triples, model.extract(TEXTS[2], "pt-BR")
    assert triple.head_characters == (expected[0].head.start, expected[0].head.end)
    assert pipeline(run, "xx", lang="auto")("1234 5678")._.triples_note
    with pytest.raises(UserError, match="'sv': unknown to this model: pass one of de, fr, pt-BR, or auto"):
        pipeline(run, "sv")
    with pytest.raises(UserError, match="no language"):
        pipeline(run, "xx")


def test_a_saved_pipeline_holds_the_reference_alone(run, tmp_path):
    nlp = pipeline(run, min_score=0.0)
    nlp.to_disk(tmp_path / "saved")
    assert json.dumps(run) in (tmp_path / "saved" / "config.cfg").read_text(encoding="utf-8")
    assert not list((tmp_path / "saved").glob("mere_ds*")) and not list((tmp_path / "saved").rglob("*.safetensors"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(run)
    config = {"components.mere_ds.model": str(elsewhere)}
    for again in (spacy.load(tmp_path / "saved"), spacy.load(tmp_path / "saved", config=config)):
        assert again(TEXTS[0])._.triples[0].score == nlp(TEXTS[0])._.triples[0].score


def test_documents_are_written_with_their_triples(run):
    nlp = pipeline(run)
    doc = nlp(TEXTS[0])
    expected = [(t.head.text, t.relation, t.tail.text, t.head_characters) for t in doc._.triples]
    (read,) = DocBin(store_user_data=True, docs=[doc]).get_docs(nlp.vocab)
    for again in (read, Doc(nlp.vocab).from_bytes(doc.to_bytes())):
        assert [(t.head.text, t.relation, t.tail.text, t.head_characters) for t in again._.triples] == expected
        assert [span.text for span in again.spans["mere_ds"]] == [span.text for span in doc.spans["mere_ds"]]
    assert nlp.make_doc("Köln")._.triples == []


def test_a_part_of_a_document_has_no_triples_of_the_whole(run):
    doc = next(doc for doc in map(pipeline(run), TEXTS) if doc._.triples)
    assert doc.copy()._.triples and doc[:].as_doc(copy_user_data=True)._.triples
    for part in (doc[1:], doc[:-1]):
        copied = part.as_doc(copy_user_data=True)
        assert not copied._.triples and copied._.triples_note.startswith("the triples are of another text")
        assert not part.as_doc()._.triples
