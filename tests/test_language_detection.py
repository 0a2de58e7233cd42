"""Which of a model's languages a text is in: what is answered, and what is said when nothing is."""

import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.languages import SMILER_LANGUAGES
from mere_ds.errors import UserError
from mere_ds.language_detection import CERTAIN, Detector, detector_for

SENTENCES = {
    "it": "Il suo lavoro più noto è stato pubblicato a Roma.",
    "fr": "Elle est née dans un petit village près de Lyon.",
    "de": "Sie wurde in einem kleinen Dorf bei Köln geboren.",
    "pt": "Ela nasceu numa pequena aldeia perto de Lisboa.",
    "nl": "Zij werd geboren in een klein dorp bij Utrecht.",
    "en": "She was born in a small village near London.",
    "ko": "그녀는 서울 근처의 작은 마을에서 태어났다.",
    "pl": "Urodziła się w małej wsi niedaleko Krakowa.",
    "es": "Ella nació en un pequeño pueblo cerca de Madrid.",
    "ar": "ولدت في قرية صغيرة بالقرب من القاهرة.",
    "ru": "Она родилась в небольшой деревне под Москвой.",
    "sv": "Hon föddes i en liten by nära Stockholm.",
    "fa": "او در روستای کوچکی نزدیک تهران به دنیا آمد.",
    "uk": "Вона народилася в невеликому селі біля Києва.",
}
OTHERS = {"tr": "Ankara yakınlarında küçük bir köyde doğdu.", "zh": "她出生在北京附近的一个小村庄。"}


@pytest.fixture(scope="module")
def detector():
    return Detector(SMILER_LANGUAGES)


def test_the_papers_languages_are_told_apart(detector):
    found = detector.detect(list(SENTENCES.values()))
    assert [its.language for its in found] == list(SENTENCES)
    for its in found:
        assert its.certainty >= CERTAIN and its.candidates[0] == (its.language, its.certainty) and its.note is None


def test_a_language_that_the_model_does_not_know_is_not_answered(detector):
    turkish, chinese = detector.detect(list(OTHERS.values()))
    assert turkish.language is None and turkish.note == "language not of this model: tr (certainty 1.00)"
    assert chinese.language is None and chinese.candidates[0][0] == "zh" and chinese.certainty == 0.0
    (swedish,) = Detector(["de", "fr"]).detect([SENTENCES["sv"]])
    assert swedish.language is None and "sv" in swedish.note


@pytest.mark.parametrize("text", ["", " \n", "123 456", "!?", "😀", "\ud800", "\0"])
def test_without_words_there_is_no_language(detector, text):
    (its,) = detector.detect([text])
    assert (its.language, its.certainty, its.candidates) == (None, 0.0, [])
    assert its.note == "language unknown: no words to tell it by"


def test_what_fits_several_languages_is_unclear():
    (its,) = Detector(["es", "it", "tr"]).detect(["Costa"])
    assert its.language is None and its.certainty < CERTAIN and its.note.startswith("language unclear: ")
    assert {"es", "it"} <= {code for code, _ in its.candidates}
    assert sum(value for _, value in its.candidates) == pytest.approx(1, abs=0.1)


def test_odd_characters_hide_nothing(detector):
    text = "\0" + SENTENCES["de"] + "\ud800"
    assert detector.detect([text, SENTENCES["de"].upper(), SENTENCES["de"] * 100_000])[0].language == "de"
    assert [its.language for its in detector.detect([SENTENCES["de"].upper(), SENTENCES["de"] * 100_000])] == ["de"] * 2


def test_codes_with_script_or_region_are_answered_as_the_model_spells_them():
    found = Detector(["pt-BR", "zh-Hant", "nb"]).detect(
        [SENTENCES["pt"], OTHERS["zh"], "Hun ble født i en liten bygd."]
    )
    assert [its.language for its in found] == ["pt-BR", "zh-Hant", "nb"]


@pytest.mark.parametrize(
    ("languages", "answered", "missing"),
    [
        (["pt-BR", "pt-PT", "de"], ("de", "pt-BR"), "pt-PT"),
        (["pt-BR", "pt", "de"], ("pt", "de"), "pt-BR"),
        (["sw", "de", "gl"], ("de",), "sw, gl"),
        (["de", "fr"], ("de", "fr"), None),
    ],
)
def test_what_is_never_answered_is_named_once(languages, answered, missing, caplog):
    with caplog.at_level(logging.WARNING, "mere_ds"):
        detector = Detector(languages)
        detector.detect(["Ein Satz.", "Noch ein Satz."])
    assert set(detector.languages) == set(answered)
    expected = [f"detection never answers {missing}: name the language of such texts"] if missing else []
    assert caplog.messages == expected


def test_a_model_none_of_whose_languages_can_be_detected_is_refused():
    with pytest.raises(UserError, match=r"none of the model's languages \(sw, gl\) can be detected"):
        Detector(["sw", "gl"])


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "eldc", None)
    with pytest.raises(UserError, match=r"eldc, which is not installed: pip install 'mere-ds\[languages\]'"):
        Detector(["de"])


@given(st.text(st.characters(), max_size=3000))
def test_any_text_has_certainties_from_0_to_1_in_order(text):
    (its,) = Detector(["de", "ru", "zh"]).detect([text])
    values = [value for _, value in its.candidates]
    assert values == sorted(values, reverse=True) and all(0 < value <= 1 for value in values)
    assert sum(values) <= 1.001 and 0 <= its.certainty <= 1
    assert (its.language is None) == (its.certainty < CERTAIN) == (its.note is not None)


def test_languages_have_one_detector_a_process(caplog):
    with caplog.at_level(logging.WARNING, "mere_ds"):
        assert detector_for(["gl", "es"]) is detector_for(("gl", "es"))
    assert len(caplog.messages) == 1


def test_eight_threads_get_the_answers_of_one(detector):
    texts = [*SENTENCES.values(), *OTHERS.values(), ""] * 50
    expected = detector.detect(texts)
    together = threading.Barrier(8)

    def work(_):
        together.wait(60)
        return detector_for(SMILER_LANGUAGES).detect(texts), detector.detect(texts)

    with ThreadPoolExecutor(8) as threads:
        assert all(own == expected and shared == expected for own, shared in threads.map(work, range(8)))
