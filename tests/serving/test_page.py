"""The page in a real browser: what it asks for, draws and says."""

import json

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from mere_ds.serving.app import Engine
from mere_ds.shards.windows import Window
from tests.serving.served import at_stops, serving

NESTED = "😀 <b>Marie Curie</b> led the Radium Institute in Paris, France, after her time in Warsaw."
ARABIC = "ولد نجيب محفوظ في القاهرة عام 1911."
STATED = {
    NESTED: [
        ("Marie Curie", "led", "Radium Institute in Paris", 0.9),
        ("Radium Institute in Paris", "lies-in", "Paris, France", 0.6),
        ("Marie Curie", "lived-in", "Warsaw", 0.4),
        ("Paris", "lies-in", "France", 0.1),
    ],
    ARABIC: [("نجيب محفوظ", "born-in", "القاهرة", 0.8)],
}


def compute(texts, languages, limits):
    assert limits.min_score == 0, "the page shows and hides by itself"
    read = [text.text if isinstance(text, Window) else text for text in texts]
    return [answer(text, language) for text, language in zip(read, languages, strict=True)]


def answer(text: str, language: str) -> dict:
    def span(words: str) -> dict:
        return {"text": words, "start": text.index(words), "end": text.index(words) + len(words)}

    triples = [
        {"head": span(head), "relation": relation, "tail": span(tail), "score": score}
        for head, relation, tail, score in (STATED.get(text) or STATED.get(f"{text.strip()}.", []))
    ]
    return {"text": text, "lang": language, "triples": triples} | ({} if triples else {"note": "empty text"})


@pytest.fixture(scope="module")
def engine():
    return Engine("runs-a", ("de", "en", "ar"), ("born-in", "led", "lies-in", "lived-in"), 0.5, compute, at_stops)


@pytest.fixture(scope="module")
def server(engine):
    with serving(engine, max_text=200) as its:
        yield its


@pytest.fixture(autouse=True)
def left_as_found(browser):
    """Other tests use this browser too."""
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)


@pytest.fixture
def page(browser, server):
    return opened(browser, server)


def opened(browser, server):
    browser.get(f"http://127.0.0.1:{server.port}/")
    return browser


def until(page, script: str):
    return WebDriverWait(page, 60, 0.02).until(lambda page: page.execute_script(f"return {script}"))


def find(page, *texts: str, language: str = "en") -> list:
    """The list items of the answers to these texts."""
    until(page, "document.querySelectorAll('#language option').length")
    area = page.find_element(By.ID, "texts")
    page.execute_script("arguments[0].value = arguments[1]", area, "\n".join(texts))
    Select(page.find_element(By.ID, "language")).select_by_value(language)
    area.send_keys(Keys.CONTROL, Keys.ENTER)
    until(page, f"document.querySelectorAll('#list > li').length === {len(texts)}")
    return page.find_elements(By.CSS_SELECTOR, "#list > li")


def boxes(page, item, words: str) -> dict:
    """Where the browser draws these words of an item's text."""
    script = """
        const [item, words] = arguments, range = document.createRange();
        const nodes = [], walker = document.createTreeWalker(item.querySelector(".drawn p"), NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) nodes.push(walker.currentNode);
        let [from, to] = [item.querySelector(".drawn p").textContent.indexOf(words), 0];
        to = from + words.length;
        for (const node of nodes) {
          if (from >= 0 && from < node.length) range.setStart(node, from);
          if (to > 0 && to <= node.length) range.setEnd(node, to);
          from -= node.length; to -= node.length;
        }
        return range.getBoundingClientRect().toJSON();
    """
    return page.execute_script(script, item, words)


def drawn(page, item, selector: str) -> list[dict]:
    script = (
        "return [...arguments[0].querySelectorAll(arguments[1])].map((one) => one.getBoundingClientRect().toJSON())"
    )
    return page.execute_script(script, item, selector)


def middle(box: dict) -> float:
    return (box["left"] + box["right"]) / 2


def test_opens_without_errors_and_asks_only_its_own_server(page, server):
    page.get_log("performance")  # also has what other tests opened before
    opened(page, server)
    find(page, NESTED)
    assert not page.get_log("browser")
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    own = f"http://127.0.0.1:{server.port}/"
    assert {url for url in asked if not url.startswith("data:")} == {
        own + name for name in ("", "page.css", "page.js", "drawing.js", "about", "extract")
    }
    page.execute_script("fetch('https://example.org/').catch(() => document.title = 'refused')")
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_entities_have_bars_and_triples_arcs_where_their_words_are(page):
    (item,) = find(page, NESTED)
    assert item.find_element(By.CSS_SELECTOR, ".drawn p").text == NESTED, "markup in a text is text"
    bars = sorted((bar["left"], bar["right"]) for bar in drawn(page, item, ".bar"))
    words = [boxes(page, item, its) for its in ("Marie Curie", "Radium Institute in Paris", "Paris, France")]
    assert bars == [pytest.approx((its["left"] + 1, its["right"] - 1), abs=1) for its in words]
    arrows = drawn(page, item, ".arrow")
    assert len(arrows) == 2, "of the triples above the least score"
    for arrow, tail in zip(arrows, words[1:], strict=True):
        assert tail["left"] <= middle(arrow) <= tail["right"] and arrow["bottom"] <= tail["top"] + 3
    labels = [label.text for label in item.find_elements(By.CSS_SELECTOR, "svg .label")]
    assert labels == ["led", "lies-in"]


def test_a_triple_shows_its_entities_by_keyboard(page):
    (item,) = find(page, NESTED)
    first, second = item.find_elements(By.CSS_SELECTOR, ".triples button")
    page.execute_script("arguments[0].focus()", first)
    first.send_keys(Keys.TAB)
    assert page.switch_to.active_element == second

    def marked(side):
        marks = item.find_elements(By.CSS_SELECTOR, f"mark.{side}")
        return "".join(mark.get_property("textContent") for mark in marks)

    assert (marked("head"), marked("tail")) == ("Radium Institute in Paris", "Paris, France")
    assert item.find_element(By.CSS_SELECTOR, "g.chosen .label").text == "lies-in"
    second.send_keys(Keys.ENTER)
    assert second.get_attribute("aria-pressed") == "true"
    second.send_keys(Keys.TAB)
    assert marked("head") == "Radium Institute in Paris", "it stays when pressed"


def test_the_least_score_shows_and_hides(page):
    (item,) = find(page, NESTED)
    slider, count = page.find_element(By.ID, "least"), page.find_element(By.ID, "count")
    assert (slider.get_attribute("value"), count.text) == ("0.5", "2 of 4 triples"), "begins with the model's"
    slider.send_keys(Keys.HOME)
    assert count.text == "4 of 4 triples" and len(item.find_elements(By.CSS_SELECTOR, ".triples li")) == 4
    assert len(drawn(page, item, ".arrow")) == 4
    slider.send_keys(Keys.END)
    assert count.text == "0 of 4 triples" and not drawn(page, item, ".arrow, .bar")
    assert "no triple reaches the least score" in item.text


def test_right_to_left_texts_stand_right(page):
    (item,) = find(page, ARABIC, language="ar")
    text = item.find_element(By.CSS_SELECTOR, ".drawn p")
    assert text.value_of_css_property("direction") == "rtl" and text.get_attribute("lang") == "ar"
    head, tail = (boxes(page, item, words) for words in ("نجيب محفوظ", "القاهرة"))
    assert head["left"] > tail["right"]
    (arrow,) = drawn(page, item, ".arrow")
    assert tail["left"] <= middle(arrow) <= tail["right"]


@pytest.mark.parametrize("width", [360, 700])
def test_narrow_windows(page, width):
    window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    items = find(page, NESTED, ARABIC, NESTED)
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    until(page, f"document.querySelector('.drawn').getBoundingClientRect().right <= {width}")
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    for item in items:
        outer = drawn(page, item, ".drawn")[0]
        for box in drawn(page, item, ".arc, .bar, .label"):
            assert outer["left"] - 2 <= box["left"] and box["right"] <= outer["right"] + 2
            assert outer["top"] - 2 <= box["top"]
    tail = boxes(page, items[1], "القاهرة")
    assert tail["left"] <= middle(drawn(page, items[1], ".arrow")[0]) <= tail["right"], "drawn again in the new width"


def test_all_lines_may_be_one_document(page):
    until(page, "document.querySelectorAll('#language option').length")
    page.find_element(By.ID, "whole").click()
    document = f"One line.\n{ARABIC}\nAnother one."
    (item,) = find(page, document)
    assert item.find_element(By.CSS_SELECTOR, ".drawn p").text == document
    (line,) = item.find_elements(By.CSS_SELECTOR, ".triples button")
    assert "نجيب محفوظ" in line.text and "القاهرة" in line.text
    marked = [mark.text for mark in item.find_elements(By.TAG_NAME, "mark")]
    assert marked == ["نجيب محفوظ", "القاهرة"], "in their places of the document"


def test_what_the_server_says_is_shown(page):
    (item,) = find(page, "Nothing.")
    assert "empty text; no triple" in item.text
    area = page.find_element(By.ID, "texts")
    area.clear()
    area.send_keys("a" * 201)
    page.find_element(By.ID, "extract").click()
    until(page, "document.querySelector('#status.wrong') !== null")
    assert page.find_element(By.ID, "status").text == "text 1 has 201 characters: send at most 200"
    assert page.find_element(By.ID, "extract").is_enabled()


def test_a_token_is_asked_for_when_the_server_wants_one(browser, engine):
    with serving(engine, token="Right-1") as server:
        page = opened(browser, server)
        field = page.find_element(By.ID, "token")
        WebDriverWait(page, 60, 0.02).until(lambda _: field.is_displayed())
        field.send_keys("wrong", Keys.TAB)
        field.clear()
        field.send_keys("Right-1", Keys.TAB)
        (item,) = find(page, NESTED)
        assert len(drawn(page, item, ".arrow")) == 2


def test_dark_and_light(page):
    find(page, NESTED)
    for scheme, is_dark in (("light", False), ("dark", True)):
        wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
        paper, *inks = (
            page.execute_script(f"return getComputedStyle(document.querySelector('{where}')).{what}")
            for where, what in (("body", "backgroundColor"), ("body", "color"), ("svg .label", "fill"))
        )
        assert all((lightness(ink) > lightness(paper)) == is_dark for ink in inks)


def lightness(colour: str) -> int:
    return sum(int(part) for part in colour[4:-1].split(","))
