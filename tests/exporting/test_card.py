"""The model card: what the hub reads of it, and that words of users stay words."""

import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mere_ds.exporting.card import card
from mere_ds.exporting.facts import Data, Facts, Score, Scores, Weights
from mere_ds.exporting.markdown import code, plain, table

GFM = MarkdownIt("commonmark").enable(["table", "strikethrough"])
WEIGHTS = Weights("fp32", "train")
INTERVALS = {"triple": [40.0, 60.123], "triple_characters": [30.0, 50.0]}
ROW = Score(20, {"relation": 90.0, "triple": 51.236, "triple_characters": 41.0}, INTERVALS)
FACTS = Facts(
    system="mERE",
    stage=2,
    step=10,
    finished=True,
    lacks_stage_two=False,
    sha256="a" * 64,
    languages=["pt", "no", "pt-BR"],
    labels=["born-in", "wrote"],
    label_mask=[[1, 1], [1, 0], [0, 0]],
    max_length=64,
    finds_many=False,
    min_score=None,
    trained_on="b" * 64,
    data=Data(
        sentences={"train": {"pt": 100, "no": 50}, "dev": {"pt": 5}, "test": {}},
        triples={"born-in": 130},
        cut_off={"train": 3, "dev": 0, "test": 0},
        encoder="bert-base-multilingual-cased, revision 0123abcd",
        base_model="bert-base-multilingual-cased",
    ),
    knobs={"stage one": {"--seed": 0, "--system": "mERE"}, "stage two": {"--seed": 0, "--submodule_layers": [1, 2]}},
    versions={"mere_ds": "0.1.0", "torch": "2.13.0+cpu"},
    scores=[Scores("test", {"pt": ROW, "no": ROW, "average": ROW, "pooled": ROW})],
)

marks = st.sampled_from(
    ["|", "`", "\n", "\r\n", "---", ": ", "#", "<script>", "[x](y)", "*", "\\", "'", '"', "{", "- ", "!"]
)
words = st.lists(marks | st.text(max_size=4), min_size=1, max_size=6).map("".join)
"""What may be in a label, and more of what has a meaning in YAML, Markdown or HTML."""


def shown(text: str) -> str:
    """What a reader sees of a label."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def cells(markdown: str) -> list[list[str]]:
    """The rows of a page's first table as a browser shows them."""
    tokens, rows = GFM.parse(markdown), []
    assert not any(token.type.startswith("html") for token in tokens)
    for token in tokens:
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and rows:
            kinds = {child.type for child in token.children}
            assert kinds <= {"text", "code_inline", "text_special"}, "no link, emphasis, image or HTML"
            rows[-1].append("".join(child.content for child in token.children))
    return rows


def test_the_hub_reads_all_of_the_front_matter(tmp_path):
    text = card("my-model", FACTS, WEIGHTS, "apache-2.0", ("org/corpus",))
    data = ModelCard(text).data
    assert data.language == ["pt", "no"], "without regions, each once; no is a code and not a boolean"
    assert (data.license, data.library_name, data.base_model) == (
        "apache-2.0",
        "mere-ds",
        "bert-base-multilingual-cased",
    )
    assert data.datasets == ["org/corpus"] and data.metrics == ["f1"] and "relation-extraction" in data.tags
    assert data.model_name == "my-model"
    assert data.get("relation_labels") == FACTS.labels
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    stored = metadata_load(tmp_path / "README.md")
    assert stored == data.to_dict()
    name, results = model_index_to_eval_results(stored["model-index"])
    assert eval_results_to_model_index(name, results) == stored["model-index"]


def test_every_score_is_in_the_model_index_with_its_interval():
    results = ModelCard(card("m", FACTS, WEIGHTS, None)).data.eval_results
    assert len(results) == 4 * 3
    found = {(r.dataset_config, r.metric_name): r for r in results}
    triple = found["pt", "Triple F1 by tokens"]
    assert triple.metric_value == 51.24 and triple.dataset_split == "test"
    assert triple.metric_args == {"sentences": 20, "interval_95": [40.0, 60.12]}
    assert found["average", "Relation F1"].metric_args == {"sentences": 20}


def test_a_license_that_nobody_stated_is_unknown_and_the_card_says_so():
    text = card("m", FACTS, WEIGHTS, None)
    assert ModelCard(text).data.license == "unknown" and "License: unknown." in text


def test_a_model_without_scores_has_no_model_index():
    found = ModelCard(text := card("m", replace(FACTS, scores=[], data=None), WEIGHTS, None))
    assert "model-index" not in text and found.data.eval_results is None and found.data.metrics is None
    assert "No scores of this model are known" in text and "is not known here" in text


def test_scores_on_dev_are_said_to_be_optimistic():
    dev = replace(FACTS, scores=[Scores("dev", {"pt": ROW})])
    assert "The checkpoint was chosen by dev" in card("m", dev, WEIGHTS, None)
    assert "threshold of scores were chosen by dev" in card("m", replace(dev, finds_many=True), WEIGHTS, None)
    assert "optimistic" not in card("m", FACTS, WEIGHTS, None)


def test_what_is_unusual_is_said():
    text = card(
        "m", replace(FACTS, finished=False, lacks_stage_two=True, finds_many=True, min_score=0.25), WEIGHTS, None
    )
    assert "not finished" in text and "stage one alone" in text
    assert "any number of triples" in text and "from 0.250 on" in text
    lossy = Weights("bf16", "train", ("They are rounded.",), {"pt": 0.123, "average": 0.4})
    text = card("m", FACTS, lossy, None)
    assert "They are rounded." in text and "in this folder they are bf16" in text and "| pt | 0.12 |" in text


def test_counts_and_knobs_are_in_tables():
    text = card("m", FACTS, WEIGHTS, None)
    assert "| `born-in` | pt, no | 130 |" in text and "| `wrote` | pt | 0 |" in text
    assert "| pt-BR | 0 | 0 | 0 |" in text and "| all | 150 | 5 | 0 |" in text
    assert "| `--submodule_layers` |  | `[1, 2]` |" in text
    assert "3 of train, 0 of dev, 0 of test" in text


@given(st.lists(words, min_size=1, max_size=4, unique=True))
@example(["a|b", "`c`", "d\n---\ne", "yes", "1.0", "null", "~", "0x1", "&a", "*b", "!!python/object:x", " "])
@example(["\x85", "\u2028", "\ufeff", "\x00", "\x7f", "\U0001f600", "\u202etxet", "\ud800x", "a\x85b", "\xa0"])
def test_labels_survive_the_front_matter_and_are_words_in_the_tables(labels):
    facts = replace(FACTS, labels=labels, label_mask=[[1] * len(labels)] * 3, scores=[])
    text = card("m", facts, WEIGHTS, None)
    found = ModelCard(text)
    assert found.data.get("relation_labels") == labels
    assert found.data.language == ["pt", "no"]
    rows = cells(found.text)
    assert [row[1:] for row in rows] == [
        ["languages", "training triples"],
        *[["all", f"{facts.data.triples.get(x, 0)}"] for x in labels],
    ]
    assert [row[0].strip() for row in rows[1:]] == [shown(label).strip() for label in labels]


@given(words.filter(bool))
@example("-rf")
@example("\udcff")
def test_a_name_is_only_a_name(name):
    text = card(name, FACTS, WEIGHTS, None)
    assert ModelCard(text).data.model_name == name
    _, inline, _ = GFM.parse(next(line for line in text.split("\n") if line.startswith("# ")))
    assert "".join(child.content for child in inline.children).strip() == shown(name).strip()
    (command,) = re.findall(r"^mere-ds extract (\S+) --lang=pt TEXT$", text, re.M)
    assert re.fullmatch(r"[\w.][\w.-]*", command, re.ASCII)


@pytest.mark.parametrize("text", ["born-in", "per:born_in", "a b", "lives, in"])
def test_usual_words_are_not_escaped(text):
    assert code(text) == f"`{text}`" and "\\" not in plain(text.replace(":", " "))


def test_a_table_has_a_line_for_each_row():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
