"""The page in a real browser: it opens, shows, filters, and asks nobody for anything."""

import json

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from mere_ds.evaluation.provenance import read_evaluation
from mere_ds.runs.run_folder import RunFolder
from tests.evaluation.report.made_up import LABELS, TEXTS


@pytest.fixture
def opened(browser, page):
    browser.get(page.as_uri())
    return browser


@pytest.fixture(scope="module")
def records(runs):
    """Of the run of mERE-LS-LA."""
    (folder,) = [run for run in runs if run.endswith("/LS-LA")]
    return list(read_evaluation(RunFolder(folder), "test").records())


def choose(browser, **filters):
    for name, value in filters.items():
        Select(browser.find_element(By.ID, name)).select_by_visible_text(value)


def count(browser):
    return int(browser.find_element(By.ID, "place").text.split()[0])


def test_opens_without_errors_and_without_network(opened):
    assert opened.find_element(By.TAG_NAME, "h1").text == "mERE: report"
    assert len(opened.find_elements(By.CSS_SELECTOR, "figure svg")) == 7
    assert not opened.get_log("browser")
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)
    opened.execute_script("fetch('https://example.org/').catch(() => document.title = 'refused')")
    assert any("Content Security Policy" in entry["message"] for entry in opened.get_log("browser"))


def test_filters_show_what_they_say(opened, records):
    choose(opened, run="mERE-LS-LA, seed 0")
    assert count(opened) == len(records)
    for language in TEXTS:
        choose(opened, language=language)
        assert count(opened) == sum(r["lang"] == language for r in records)
        shown = opened.find_elements(By.CSS_SELECTOR, "#list .about span:first-child")
        assert {element.text for element in shown} == {language}
    choose(opened, language="all", answer="triple right")
    assert count(opened) == sum("triple" in r["right"] for r in records)
    choose(opened, answer="head wrong", gold=LABELS[1])
    wanted = [r for r in records if r["gold"] and r["gold"]["relation"] == LABELS[1] and "head" not in r["right"]]
    assert count(opened) == len(wanted) > 0
    opened.find_element(By.CSS_SELECTOR, "#filters button[type=reset]").click()
    assert count(opened) == len(records)
    choose(opened, answer="not read")
    assert opened.find_element(By.CSS_SELECTOR, "#list .wrong").text == "not read: rejected by reader"


def test_search_pages_and_confusion_by_keyboard(opened, records):
    choose(opened, run="mERE-LS-LA, seed 0")
    opened.find_element(By.ID, "next").send_keys(Keys.ENTER)
    assert "page 2 of 3" in opened.find_element(By.ID, "place").text
    assert opened.find_elements(By.CSS_SELECTOR, "#list .about span:last-child")[0].text == records[25]["id"]
    opened.find_element(By.ID, "search").send_keys("кЕЛЬн")
    assert count(opened) == sum(r["lang"] == "uk" for r in records)
    wrong = [r for r in records if r["gold"] and r["gold"]["relation"] != r["predicted"]["relation"]]
    gold, predicted = wrong[0]["gold"]["relation"], wrong[0]["predicted"]["relation"]
    alike = [r for r in wrong if (r["gold"]["relation"], r["predicted"]["relation"]) == (gold, predicted)]
    name = f"{len(alike)} sentences: gold {gold}, predicted {predicted}"
    opened.find_element(By.CSS_SELECTOR, f"button[title='{name}']").send_keys(Keys.ENTER)
    assert count(opened) == len(alike)


def test_right_to_left_sentences_stand_right(opened):
    choose(opened, run="mERE-LS-LA, seed 0")
    for language, direction in (("fa", "rtl"), ("ar", "rtl"), ("de", "ltr")):
        choose(opened, language=language)
        sentence = opened.find_element(By.CSS_SELECTOR, "#list .sentence")
        assert sentence.get_attribute("lang") == language and sentence.value_of_css_property("direction") == direction
        assert sentence.text == TEXTS[language][0]
        head, tail = (sentence.find_element(By.CSS_SELECTOR, f".gold-{side}") for side in ("head", "tail"))
        assert (head.rect["x"] > tail.rect["x"]) == (direction == "rtl"), "the head comes first in reading order"


def test_marks_cover_their_words_and_may_overlap(opened):
    choose(opened, run="mERE-LS-LA, seed 0", language="en", answer="head wrong")
    text, head, tail = TEXTS["en"]
    for sentence in opened.find_elements(By.CSS_SELECTOR, "#list .sentence"):
        assert sentence.text == text, "markup in a sentence is text, and letters beyond 16 bits move no mark"
        covered = {
            kind: "".join(mark.get_property("textContent") for mark in sentence.find_elements(By.CLASS_NAME, kind))
            for kind in ("gold-head", "gold-tail", "predicted-head")
        }
        assert (covered["gold-head"], covered["gold-tail"]) == (head, tail)
        assert covered["predicted-head"] in ("", text[text.index(head) : text.index(tail) + len(tail)])
    assert opened.find_elements(By.CSS_SELECTOR, ".predicted-head.gold-tail"), "some answer's head covers the tail"


def test_dark_and_light(opened):
    for scheme, dark in (("light", False), ("dark", True)):
        wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
        ink, paper = (
            opened.execute_script(f"return getComputedStyle(document.querySelector('{where}')).{what}")
            for where, what in (("figure svg text", "fill"), ("body", "backgroundColor"))
        )
        assert (_lightness(ink) > _lightness(paper)) == dark, "the plots' text follows the page"


def _lightness(colour):
    return sum(int(part) for part in colour[4:-1].split(","))


def test_any_number_of_triples(browser, many_page, many_runs):
    browser.get(many_page.as_uri())
    assert not browser.get_log("browser")
    assert browser.find_element(By.ID, "reliability").find_element(By.TAG_NAME, "svg").is_displayed()
    assert not browser.find_element(By.ID, "confusions").is_displayed()
    choose(browser, run="mBERT, seed 0")
    records = list(read_evaluation(RunFolder(many_runs[-1]), "test").records())
    read = [r for r in records if r["gold"] is not None]
    assert count(browser) == len(records)

    right = [r["right"]["triple_characters"] for r in read]
    kinds = {
        "some triple wrong": sum(n < len(r["predicted"]) for r, n in zip(read, right, strict=True)),
        "some triple missed": sum(n < len(r["gold"]) for r, n in zip(read, right, strict=True)) + 1,
        "a triple where there is none": sum(bool(r["predicted"]) and not r["gold"] for r in read),
        "no triple, none found": sum(not r["predicted"] and not r["gold"] for r in read),
        "not read": 1,
    }
    for kind, number in kinds.items():
        choose(browser, answer=kind)
        assert count(browser) == number > 0, kind
    choose(browser, answer="all", gold="wrote", predicted="made-of")
    sides = (("gold", "wrote"), ("predicted", "made-of"))
    fit = [r for r in read if all(label in {t["relation"] for t in r[side]} for side, label in sides)]
    assert count(browser) == len(fit) > 0

    record, item = fit[0], browser.find_element(By.CSS_SELECTOR, "#list li")
    lines = [line.text for line in item.find_elements(By.CLASS_NAME, "triple")]
    assert len(lines) == len(record["gold"]) + len(record["predicted"])
    for triple, line in zip(record["gold"] + record["predicted"], lines, strict=True):
        head, tail = (record["text"][slice(*triple[side])] for side in ("head", "tail"))
        for part in (triple["relation"], head.strip(), tail.strip()):
            assert part in line
        assert ("score" in line) == ("score" in triple)
    marked = {
        kind: [mark.get_property("textContent") for mark in item.find_elements(By.CLASS_NAME, kind)]
        for kind in ("gold-head", "predicted-tail")
    }
    for kind, words in marked.items():
        side, end = kind.split("-")
        places = {n for t in record[side] for n in range(*t[end])}
        assert len("".join(words)) == len(places)
