"""The library's face: what `mere_ds.load` takes, what texts and languages may be, and what comes back."""

import copy
import json
import logging
import pickle
import subprocess
import sys
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest

import mere_ds
from mere_ds import language_detection
from mere_ds.auto_classes import make_known
from mere_ds.exporting.making import export_model
from mere_ds.inference import Extractor
from tests.small_model import LABELS, LANGUAGES, TEXTS, leave_run, model_alone


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return leave_run(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def model(checkpoint):
    return mere_ds.load(checkpoint)


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# --- loading -------------------------------------------------------------------------------------------------------


def test_a_run_a_checkpoint_and_a_model_alone_are_the_same_model(checkpoint, model, tmp_path, caplog):
    run = checkpoint.parents[2]
    expected = model.extract(TEXTS[0], lang="de")
    assert expected and mere_ds.load(run).extract(TEXTS[0], lang="de") == expected
    assert mere_ds.load(str(run), which="latest").extract(TEXTS[0], lang="de") == expected
    with caplog.at_level(logging.WARNING):
        assert mere_ds.load(model_alone(checkpoint, tmp_path / "alone")).extract(TEXTS[0], lang="de") == expected


def test_what_has_no_model_is_refused_in_one_line(checkpoint, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, says in (
        (tmp_path / "empty", "no trained model"),
        (tmp_path / "missing", "no such folder"),
    ):
        with pytest.raises(mere_ds.UserError, match=says) as refused:
            mere_ds.load(source)
        assert "\n" not in str(refused.value)
    with pytest.raises(
        mere_ds.UserError, match="^no/such: no such folder; a model on the hub is written hf://no/such$"
    ):
        mere_ds.load("no/such")
    with pytest.raises(mere_ds.UserError, match="single model: remove --which"):
        mere_ds.load(model_alone(checkpoint, tmp_path / "alone"), which="latest")
    for wrong in (None, 3, b"runs/a"):
        with pytest.raises(TypeError, match="source must be"):
            mere_ds.load(wrong)


def test_limits_reach_the_answers(checkpoint):
    assert mere_ds.load(checkpoint, min_score=1.0).extract(TEXTS[0], lang="de") == []
    with pytest.raises(mere_ds.UserError, match="min_score=2: must be between 0 and 1"):
        mere_ds.load(checkpoint, min_score=2)
    one, all_of_them = (mere_ds.load(checkpoint, k=k).extract(TEXTS[0], lang="de") for k in (1, 3))
    assert one[0].score != all_of_them[0].score
    with pytest.raises(mere_ds.UserError, match="k=9: must be between 1 and 3"):
        mere_ds.load(checkpoint, k=9)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"which": "last"}, "which='last': must be one of best, latest, stage1"),
        ({"precision": "bfloat16"}, "precision='bfloat16': must be one of auto, fp32, bf16, fp16"),
        ({"threads": 0}, "threads=0: must be at least 1"),
        ({"threads": "2"}, "threads must be a whole number, not str"),
        ({"k": 2.0}, "k must be a whole number, not float"),
        ({"k": True}, "k must be a whole number, not bool"),
        ({"max_triples": 1.5}, "max_triples must be a whole number, not float"),
        ({"min_score": "0.5"}, "min_score must be a number, not str"),
        ({"min_score": float("nan")}, "min_score=nan: must be between 0 and 1"),
    ],
)
def test_what_a_model_cannot_be_loaded_with_is_refused(checkpoint, given, says):
    with pytest.raises((mere_ds.UserError, TypeError)) as refused:
        mere_ds.load(checkpoint, **given)
    assert str(refused.value).endswith(says)


def test_numbers_of_numpy_are_numbers(checkpoint):
    given = {"k": np.int64(3), "min_score": np.float32(0), "max_triples": np.int32(1), "threads": np.int64(1)}
    assert mere_ds.load(checkpoint, **given).extract(TEXTS[0], lang="de")


# --- texts and answers ---------------------------------------------------------------------------------------------


def test_a_bare_string_is_one_text(checkpoint, model):
    triples = model.extract(TEXTS[0], lang="de")
    (answer,) = Extractor.load(checkpoint).extract(TEXTS[:1], "de")
    assert isinstance(triples, list) and triples.to_dict() == answer
    assert (triples.text, triples.lang, triples.note) == (TEXTS[0], "de", None)
    (triple,) = triples
    assert triple.relation in LABELS and TEXTS[0][triple.head.start : triple.head.end] == triple.head.text
    assert triple.to_dict() == answer["triples"][0]
    with pytest.raises(AttributeError):
        triple.score = 1.0
    assert len({triple, model.extract(TEXTS[0], lang="de")[0]}) == 1


def test_answers_without_triples_say_why(model):
    assert model.extract(" ", lang="de").to_dict() == {"text": " ", "lang": "de", "triples": [], "note": "empty text"}
    assert "too long: only the first" in model.extract("Anna Berg " * 500, lang="de").note


def test_many_texts_are_answered_in_order(model):
    texts = TEXTS * 30 + [""]
    expected = [model.extract(text, lang="fr") for text in texts]
    for batch_size in (1, 7, 64, 1000):
        answers = model.extract(iter(texts), lang="fr", batch_size=batch_size)
        assert iter(answers) is answers
        found = list(answers)
        assert [answer.text for answer in found] == texts and [a.note for a in found] == [e.note for e in expected]
        for answer, alone in zip(found, expected, strict=True):
            assert [(t.head, t.relation, t.tail) for t in answer] == [(t.head, t.relation, t.tail) for t in alone]
            assert [t.score for t in answer] == pytest.approx([t.score for t in alone], abs=1e-5)


def test_no_more_than_some_batches_are_read_ahead(model):
    read = []
    answers = model.extract((read.append(text) or text for text in TEXTS * 100), lang="de", batch_size=5)
    assert read == [], "nothing before the first answer is asked for"
    for number, _ in enumerate(answers):
        assert len(read) <= number + 8 * 5
    long = model.extract((read.append("x") or "Anna " * 1_000_000 for _ in range(9)), lang="de", batch_size=9)
    read.clear()
    next(long)
    assert len(read) == 1, "nor many long ones"


def test_pandas_and_numpy_hold_texts(model):
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    expected = list(model.extract(TEXTS, lang="de"))
    table = pandas.DataFrame({"text": TEXTS, "lang": ["de"] * 3}, index=[5, 3, 1])
    assert list(model.extract(table["text"], lang=table["lang"])) == expected
    assert list(model.extract(numpy.array(TEXTS), lang="de")) == expected
    with pytest.raises(TypeError, match="DataFrame isn't an iterable of texts: pass .* one of its columns"):
        model.extract(table, lang="de")
    with pytest.raises(TypeError, match="text 1 .* must be a str, not float"):
        list(model.extract(pandas.Series(["Ein Satz .", float("nan")]), lang="de"))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (None, "takes a text .* not None"),
        (3, "takes a text .* not int"),
        (b"Anna", "not bytes: decode it first"),
        (["Anna", 3, None], r"text 1 \(counted from 0\) must be a str, not int"),
        (("Anna", b"Berg"), "text 1 .* not bytes"),
        ({"a": "Anna"}, "dict isn't an iterable of texts"),
    ],
)
def test_what_is_no_text_is_refused_at_once(model, texts, says):
    with pytest.raises(TypeError, match=says):
        model.extract(texts, lang="de")


def test_what_reading_raises_comes_after_the_answers_before_it(model):
    def texts():
        yield from TEXTS
        raise OSError("the disk is gone")

    for broken, error in ((texts(), OSError), (iter([*TEXTS, None]), TypeError)):
        answers = model.extract(broken, lang="de", batch_size=2)
        assert [next(answers).text for _ in TEXTS] == TEXTS
        with pytest.raises(error):
            next(answers)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, None])
def test_a_batch_is_a_number_of_texts(model, batch_size):
    with pytest.raises(mere_ds.UserError, match="must be a whole number, at least 1"):
        model.extract(TEXTS, lang="de", batch_size=batch_size)


def test_representations_are_one_line(model, checkpoint):
    triples = model.extract("Anna Berg\nwurde .", lang="de")
    assert all("\n" not in repr(it) for it in (model, triples, *triples))
    assert repr(model) == f"<mere_ds.Model {str(checkpoint)!r}: 3 languages, 3 relations>"
    assert repr(model.extract("", lang="de")) == "Triples([], lang='de', note='empty text')"


def test_answers_survive_json_and_pickle(model):
    for answer in (*model.extract(TEXTS, lang="de"), model.extract(TEXTS[0], lang="auto", candidates=True)):
        for same in (copy.copy(answer), pickle.loads(pickle.dumps(answer))):
            assert (same, same.to_dict()) == (answer, answer.to_dict())
    told = [answer.to_dict() for answer in model.extract(TEXTS, lang="de")]
    assert json.loads(json.dumps(told)) == told


# --- languages -----------------------------------------------------------------------------------------------------


def test_a_language_for_each_text(model):
    assert model.languages == tuple(LANGUAGES) and model.labels == tuple(LABELS)
    answers = list(model.extract(TEXTS, lang=iter(["de", "FR", "pt_br"]), batch_size=2))
    assert [answer.lang for answer in answers] == ["de", "fr", "pt-BR"]
    for answer in answers:
        alone = model.extract(answer.text, lang=answer.lang)
        assert [(t.head, t.relation, t.tail) for t in answer] == [(t.head, t.relation, t.tail) for t in alone]


def test_an_unknown_language_lists_the_known_ones(model):
    for texts in (TEXTS[0], TEXTS):
        with pytest.raises(
            mere_ds.UserError, match="lang='ko': unknown to this model: pass one of de, fr, pt-BR, or auto"
        ):
            model.extract(texts, lang="ko")
    answers = model.extract(TEXTS, lang=["de", "fr", "ko"])
    assert [next(answers).lang, next(answers).lang] == ["de", "fr"]
    with pytest.raises(mere_ds.UserError, match="lang='ko'"):
        next(answers)


@pytest.mark.parametrize("languages", [["de"], ["de"] * 4, []])
def test_as_many_languages_as_texts(model, languages):
    answers = model.extract(TEXTS, lang=languages)
    with pytest.raises(mere_ds.UserError, match="give one for each text"):
        list(answers)


@pytest.mark.parametrize("wrong", [None, 3, b"de", ["de", None, "de"]])
def test_what_is_no_language_is_refused(model, wrong):
    with pytest.raises(TypeError, match="lang"):
        list(model.extract(TEXTS, lang=wrong))
    with pytest.raises(TypeError, match="lang must be a language code"):
        model.extract(TEXTS[0], lang=wrong)


# --- detected languages ------------------------------------------------------------------------------------------

GERMAN, FRENCH = "Sie wurde in einem kleinen Dorf bei Köln geboren.", "Elle est née dans un petit village près de Lyon."
PORTUGUESE, TURKISH = "Ela nasceu numa pequena aldeia perto de Lisboa.", "Ankara yakınlarında küçük bir köyde doğdu."


def test_a_detected_language_is_the_models_own(model):
    for text, language in ((GERMAN, "de"), (FRENCH, "fr"), (PORTUGUESE, "pt-BR")):
        found = model.extract(text, lang="auto")
        assert found == model.extract(text, lang=language) and (found.lang, found.candidates) == (language, None)
    texts = [GERMAN, FRENCH, PORTUGUESE] * 20
    assert [its.lang for its in model.extract(texts, lang="AUTO", batch_size=4)] == ["de", "fr", "pt-BR"] * 20
    mixed = model.extract([FRENCH, FRENCH, GERMAN], lang=["auto", "de", "auto"])
    assert [its.lang for its in mixed] == ["fr", "de", "de"]


def test_a_text_whose_language_is_unclear_gets_a_note_and_no_triples(model):
    none = {"text": TURKISH, "lang": None, "triples": [], "note": "language not of this model: tr (certainty 1.00)"}
    assert model.extract(TURKISH, lang="auto").to_dict() == none
    known, unknown = model.extract([GERMAN, TURKISH], lang="auto", candidates=True)
    assert known.candidates[0][0] == "de" and unknown.candidates == [("tr", 1.0)]
    assert unknown.to_dict() == none | {"candidates": [["tr", 1.0]]}
    assert json.loads(json.dumps(known.to_dict())) == known.to_dict()
    assert model.extract(GERMAN, lang="de", candidates=True).candidates is None
    notes = [its.note for its in model.extract(["", "123", "\ud800"], lang="auto")]
    assert notes == ["empty text", "language unknown: no words to tell it by", NOT_UNICODE]


NOT_UNICODE = "not Unicode: character 1 is half of a surrogate pair"


def test_what_is_no_unicode_gets_a_note_and_the_others_their_triples(model):
    odd, text = model.extract(["\ud800 Anna", TEXTS[0]], lang="de")
    assert (odd, odd.note, odd.lang) == ([], NOT_UNICODE, "de") and text == model.extract(TEXTS[0], lang="de")


def test_a_documents_language_is_detected(model):
    pytest.importorskip("sentencex")
    text = f"{GERMAN} " * 30
    found = model.extract_document(text, "auto", candidates=True)
    assert found and (found.lang, found.candidates[0][0]) == ("de", "de")
    assert found == model.extract_document(text, "de")
    none = model.extract_document(TURKISH * 30, "auto")
    assert (none, none.lang, none.note) == ([], None, "language not of this model: tr (certainty 1.00)")


def test_without_a_detector_auto_is_refused_at_once(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "eldc", None)
    monkeypatch.setattr(language_detection, "_made", {})
    for texts in (TEXTS[0], TEXTS):
        with pytest.raises(mere_ds.UserError, match=r"pip install 'mere-ds\[languages\]'"):
            model.extract(texts, lang="auto")


# --- documents and threads -----------------------------------------------------------------------------------------


def test_a_document_of_any_length(model):
    pytest.importorskip("sentencex")
    text = " ".join(TEXTS) * 40
    found = model.extract_document(text, "de")
    assert (found.text, found.lang, found.note) == (text, "de", None) and len(found) >= 40
    assert all(text[span.start : span.end] == span.text for triple in found for span in (triple.head, triple.tail))
    with pytest.raises(TypeError, match="document must be a str, not list"):
        model.extract_document(TEXTS, "de")


def test_a_document_without_triples_says_why(model):
    pytest.importorskip("sentencex")
    for text in ("", " \n", "\u200b\u200f", "\udc00 Anna"):
        found, one = model.extract_document(text, "de"), model.extract(text, "de")
        assert (found, found.text, found.lang) == ([], text, "de") and found.note == one.note is not None
        assert model.extract_document(text, "auto").note == model.extract(text, "auto").note is not None


@pytest.fixture(params=["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def source(request, checkpoint, tmp_path):
    """The model as it was trained, and exported."""
    if request.param == "torch":
        return checkpoint
    pytest.importorskip("onnxruntime")
    return export_model(checkpoint, tmp_path / "exported", to="onnx").folder


def test_eight_threads_get_the_answers_of_one(source):
    texts = (*TEXTS, GERMAN, "", " ".join(TEXTS) * 9)
    jobs = [(text, language) for text in texts for language in (*LANGUAGES, "auto")] * 3
    one = mere_ds.load(source)
    expected = [one.extract(text, lang=language).to_dict() for text, language in jobs]
    shared = mere_ds.load(source)  # whatever is made at first use is made by all at once
    together = threading.Barrier(8)

    def work(_):
        together.wait(60)
        alone = [shared.extract(text, lang=language).to_dict() for text, language in jobs]
        texts, languages = zip(*jobs, strict=True)
        return alone, [answer.text for answer in shared.extract(texts, lang=languages, batch_size=3)]

    with ThreadPoolExecutor(8) as threads:
        for alone, texts in threads.map(work, range(8)):
            assert alone == expected and texts == [text for text, _ in jobs]


# --- importing -----------------------------------------------------------------------------------------------------


def test_importing_loads_no_library():
    heavy = {"torch", "deepspeed", "transformers", "tokenizers", "numpy", "huggingface_hub"}
    code = f"import sys, mere_ds; mere_ds.load, mere_ds.Triple, dir(mere_ds); print({heavy} & {{*sys.modules}})"
    assert run_python(code) == "set()\n"


def test_the_face_is_listed():
    assert {"load", "Model", "Span", "Triple", "Triples", "UserError", "__version__"} <= {*dir(mere_ds)}
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        mere_ds.lode  # noqa: B018


@pytest.mark.slow
def test_transformers_finds_our_models(checkpoint):
    code = """import sys, mere_ds
from transformers import AutoConfig, AutoModel
assert "mere_ds.model.loading" not in sys.modules
config = AutoConfig.from_pretrained(sys.argv[1])
print(type(config).__name__, type(AutoModel.from_pretrained(sys.argv[1])).__name__, config.id2label)"""
    shown = run_python(code, str(checkpoint))
    assert shown.endswith("MereConfig MereModel {0: 'born-in', 1: 'wrote', 2: 'made-of'}\n")


def test_transformers_finds_our_models_if_it_was_there_first(monkeypatch):
    class Mapping(OrderedDict):
        """transformers', which `AutoConfig` asks for a model's type."""

    loaded = ModuleType("configuration_auto")
    loaded.CONFIG_MAPPING = Mapping(bert="BertConfig")
    monkeypatch.setitem(sys.modules, "transformers.models.auto.configuration_auto", loaded)
    monkeypatch.delitem(sys.modules, "mere_ds.model.loading", raising=False)
    make_known()
    assert "bert" in loaded.CONFIG_MAPPING and "mere_ds.model.loading" not in sys.modules
    assert "mere" not in loaded.CONFIG_MAPPING and "mere_ds.model.loading" in sys.modules, "it registers elsewhere"
