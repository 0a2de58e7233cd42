"""What is drawn from which runs, and that the plots are fit for a page."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mere_ds.evaluation.report import plots
from mere_ds.evaluation.report.figures import draw_all
from mere_ds.evaluation.report.runs import load_rows


@pytest.fixture(scope="module")
def rows(runs):
    return load_rows(runs)


def test_every_figure_from_all_runs(rows):
    drawings = {drawing.name: drawing for drawing in draw_all(rows)}
    assert list(drawings) == [*(f"figure{n}" for n in range(3, 9)), "figure_k"]
    assert all(drawing.plot and drawing.rows for drawing in drawings.values())
    shown = {name: [row.name for row in drawing.rows] for name, drawing in drawings.items()}
    assert shown["figure3"] == ["mERE", "mERE-LS-LA"]
    assert shown["figure6"] == ["mERE-LS", "mERE-LS, s = 3"]
    axes = drawings["figure8"].plot.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["de", "en", "ar", "fa", "uk"]
    assert [text.get_text() for text in axes.get_yticklabels()] == [f"θ{t}" for t in range(1, 7)]


def test_one_run_gives_its_own_figures_and_says_what_others_lack(rows):
    alone = [row for row in rows if row.name == "mBERT"]
    drawings = {drawing.name: drawing for drawing in draw_all(alone)}
    assert [name for name, drawing in drawings.items() if drawing.plot] == ["figure3", "figure4", "figure5"]
    assert all(d.note.startswith("Not shown: ") and not d.rows for d in drawings.values() if d.plot is None)
    assert "mBERT" in drawings["figure4"].note
    axes, scores = drawings["figure4"].plot.axes[0], drawings["figure4"].rows[0].results[0].scores
    sentences = [f"{x}\n{row['sentences']}" for x, row in scores["languages"].items() if "missed" not in row]
    assert sentences and set(sentences) <= {label.get_text() for label in axes.get_xticklabels()}
    beside = [int(label.get_text().rsplit("(")[1][:-1]) for label in axes.get_yticklabels()]
    assert sum(beside) == sum(n["gold"] for of in scores["labels"].values() for n in of.values())


def test_heat_map_writes_what_it_colours_and_leaves_gaps():
    values = np.array([[0.25, np.nan], [1.0, 0.5]])
    axes = plots.heat_map(values, ["r", "$s$"], ["c", "d"], 1, 2, "share").axes[0]
    found = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert found == {(0, 0): "0.25", (1, 0): "1.00", (1, 1): "0.50"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["r", "$s$"]


def test_bars_stand_where_their_category_is():
    figure = plots.bars({"a": {"de": (10, 0), "uk": (30, 2)}, "b": {"uk": (40, 1)}}, "F1")
    assert [bar.get_height() for bar in figure.axes[0].patches] == [10, 30, 40]
    assert [round(bar.get_x() + bar.get_width() / 2, 1) for bar in figure.axes[0].patches] == [-0.2, 0.8, 1.2]


def test_svg_stands_alone_and_follows_the_pages_colours():
    figures = [plots.bars({"<b>&": {"de": (10, 1)}}, "F1"), plots.lines({"x": {1: (2, 1), 2: (3, 1)}}, "s", "F1")]
    elements = [plots.svg(figure, name) for figure, name in zip(figures, "ab", strict=True)]
    ids = []
    for element in elements:
        ElementTree.fromstring(element)
        assert "currentColor" in element and plots.INK not in element and "<style" not in element
        own = re.findall(r'\bid="([^"]*)"', element)
        assert all(target in own for target in re.findall(r'(?:href="|url\()#([^")]*)', element))
        assert not re.search(r'(href="|url\()(?!#)', element), "nothing to load"
        ids += own
    assert len(ids) == len(set(ids)), "plots side by side in a page share no id"
    assert "&lt;b&gt;&amp;" in elements[0]


def test_png():
    assert plots.png(plots.lines({"x": {1: (2, 0)}}, "s", "F1"), "of x").startswith(b"\x89PNG")
