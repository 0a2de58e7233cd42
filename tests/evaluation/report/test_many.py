"""The report of runs with any number of triples a sentence."""

import json
import re

import numpy as np
import pytest

from mere_ds.errors import UserError
from mere_ds.evaluation.report.making import make_report
from mere_ds.evaluation.report.many import (
    by_label,
    by_number,
    by_overlap,
    calibration_table,
    figure_reliability,
    precision_and_recall,
)
from mere_ds.evaluation.report.runs import load_rows
from mere_ds.evaluation.report.tables import Table, all_scores, table_2
from tests.evaluation.report.made_up import knobs, make_many_run


@pytest.fixture(scope="module")
def rows(many_runs):
    return load_rows(many_runs)


def line(table: Table, name: str) -> dict:
    (found,) = [line for line in table.lines if line.name == name]
    return dict(zip(table.columns, found.cells, strict=True))


def test_triples_by_language_with_precision_recall_and_relation_sets(rows):
    mbert, mere = rows
    scores = mbert.results[0].scores
    told = line(table_2(rows), "mBERT")
    low, high = scores["intervals"]["languages"]["ko"]
    assert told["ko"].value == scores["languages"]["ko"]["triple"] and told["ko"].beside == f"{low:.1f}–{high:.1f}"
    table = precision_and_recall(rows)
    assert table.columns == ["AVG", "de", "ko", "pooled"]
    for name in ("precision", "recall"):
        cell = line(table, f"mBERT: {name}")["de"]
        low, high = scores[f"intervals_{name}"]["languages"]["de"]
        assert cell.value == scores["by_precision"]["languages"]["de"][name] and low < cell.value < high
        assert cell.beside == f"{low:.1f}–{high:.1f}"
    assert line(table, "mBERT: relation sets")["pooled"].value == scores["pooled"]["relation"]
    seeds = [result.scores["by_precision"]["average"]["recall"] for result in mere.results]
    cell = line(table, "mERE (2 seeds): recall")["AVG"]
    assert cell.value == np.mean(seeds) and cell.beside == f"±{np.std(seeds, ddof=1):.1f}"
    assert "comparable with the paper" not in table_2(rows).note and "one triple a sentence" in table_2(rows).note
    assert not any("NA" in column for column in all_scores(rows).columns)


def test_by_label_number_and_overlap(rows):
    scores = rows[0].results[0].scores
    told = line(by_number(rows), "mBERT")
    assert told["none: got one"].value == scores["without_triples"]["share"] > 0
    assert told["none: got one"].beside and told["4"] is None, "the made-up sentences have no four triples"
    assert told["2"].value == scores["numbers"]["2"]["f1"]
    told = line(by_overlap(rows), "mBERT")
    assert {kind: cell.value for kind, cell in told.items()} == {
        kind: row["recall"] for kind, row in scores["overlaps"].items()
    }
    gold = sum(of["wrote"]["gold"] for of in scores["labels"].values())
    cell = line(by_label(rows), f"wrote ({gold})")["mBERT"]
    low, high = scores["pooled_labels"]["wrote"]["interval"]
    assert cell.value == scores["pooled_labels"]["wrote"]["f1"] and cell.beside == f"{low:.1f}–{high:.1f}"


def test_reliability_before_and_after_calibration(rows):
    content = rows[0].results[0].runs[0].content["calibration"]
    told = line(calibration_table(rows), "mBERT")
    assert told["error, raw"].value == pytest.approx(100 * content["raw"]["error"])
    assert told["error, calibrated"].value == pytest.approx(100 * content["calibrated"]["error"])
    assert told["error, raw"].value > 3 * told["error, calibrated"].value
    assert told["least score"].value == 100 * content["min_score"]
    drawing = figure_reliability(rows)
    panels = drawing.plot.axes
    assert [panel.get_title() for panel in panels] == ["mBERT, seed 0", "mERE, seed 0"]
    for name, drawn in zip(("raw", "calibrated"), panels[0].lines[1:], strict=True):
        bins = [b for b in content[name]["bins"] if b["candidates"]]
        assert drawn.get_xdata() == pytest.approx([b["score"] for b in bins])
        assert drawn.get_ydata() == pytest.approx([b["right"] for b in bins])
        assert drawn.get_label() == f"{name} (error {100 * content[name]['error']:.1f} %)"


def test_models_of_one_language_share_a_diagram(tmp_path):
    folders = [make_many_run(tmp_path / x, knobs("mERE-LS-LA", languages=x), (x,)) for x in ("de", "ko")]
    rows = load_rows(map(str, folders))
    bins = [run.content["calibration"]["raw"]["bins"] for run in rows[0].results[0].runs]
    assert bins[0] != bins[1]
    gaps = [[b["candidates"] * (b["score"] - b["right"]) for b in of_run] for of_run in bins]
    error = 100 * np.abs(np.sum(gaps, axis=0)).sum() / sum(b["candidates"] for of_run in bins for b in of_run)
    assert line(calibration_table(rows), "mERE-LS-LA (MONO)")["error, raw"].value == pytest.approx(error)
    assert len(figure_reliability(rows).plot.axes) == 1


def test_a_model_without_candidates_has_no_calibration_to_show(many_runs, tmp_path):
    nothing = str(make_many_run(tmp_path / "run", knobs("mERE-LS"), candidates=0))
    rows = load_rows([many_runs[-1], nothing])
    table = calibration_table(rows)
    assert set(line(table, "mERE-LS").values()) == {None} and None not in line(table, "mBERT").values()
    assert len(figure_reliability(rows).plot.axes) == 1
    alone = load_rows([nothing])
    assert not calibration_table(alone).lines and figure_reliability(alone).plot is None


def test_page_and_text_have_them_all(many_page):
    text, page = many_page.with_name("tables.txt").read_text(), many_page.read_text(encoding="utf-8")
    for title in ("Precision, recall", "By the number", "By kind of overlap", "By label", "What scores mean"):
        assert title in text and title in page
    assert (many_page.parent / "figures" / "reliability.png").stat().st_size > 10_000
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert data["many"] and any(len(sentence["triples"]) > 1 for sentence in data["sentences"])


def test_both_kinds_in_one_report_are_refused(runs, many_runs, tmp_path):
    for order in ((runs[0], many_runs[0]), (many_runs[0], runs[0])):
        with pytest.raises(UserError) as error:
            make_report(order, str(tmp_path / "report"))
        said = str(error.value)
        assert said.startswith(f"{runs[0]} finds one triple a sentence and {many_runs[0]} any number")
        assert "\n" not in said and not (tmp_path / "report").exists()
