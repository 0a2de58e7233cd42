"""The runs' figures beside the paper's."""

from dataclasses import replace

import pytest

from mere_ds.evaluation.metrics import METRICS
from mere_ds.evaluation.report.paper import PAPER
from mere_ds.evaluation.report.runs import load_rows
from mere_ds.evaluation.report.tables import (
    SCORES,
    Cell,
    Line,
    Table,
    all_scores,
    format_table,
    main_rows,
    table_2,
    table_3,
    table_k,
)


@pytest.fixture(scope="module")
def rows(runs):
    return load_rows(runs)


def test_table_2_has_a_line_a_row_and_the_papers_below(rows):
    table = table_2(rows)
    assert table.columns == ["AVG", "de", "en", "ar", "fa", "uk"], "languages stand in the paper's order"
    names = [line.name for line in table.lines]
    systems = ("mBERT", "mERE (2 seeds)", "mERE (EURO)", "mERE-LS", "mERE-LS-LA (MONO)", "mERE-LS-LA")
    assert names == [name for system in systems for name in (system, "by characters", "paper")], (
        "the sweeps' other runs are in Table 3 and Figure 6"
    )
    euro = table.lines[names.index("mERE (EURO)") + 2]
    assert [cell and cell.value for cell in euro.cells] == [70.9, 72.1, 62.2, None, None, None]
    mbert, mbert_characters, _, mere = table.lines[:4]
    assert mere.cells[0].value == rows[1].triple(None)["mean"]
    assert mere.cells[0].beside == f"±{rows[1].triple(None)['deviation']:.1f}"
    low, high = rows[0].results[0].scores["intervals"]["languages"]["uk"]
    assert mbert.cells[-1].beside == f"{low:.1f}–{high:.1f}"
    scores = rows[0].results[0].scores
    assert mbert_characters.cells[0].value == scores["average"]["triple_characters"] < mbert.cells[0].value
    low, high = scores["intervals_characters"]["average"]
    assert mbert_characters.cells[0].beside == f"{low:.1f}–{high:.1f}"
    for kind in (0, 1):
        for column in zip(*(line.cells for line in table.lines[kind::3]), strict=True):
            best = {cell.value for cell in column if cell and cell.best}
            assert best == {max(cell.value for cell in column if cell)}


def test_nothing_is_best_where_all_are_equal(rows):
    assert not any(cell.best for line in table_2(rows[:1]).lines for cell in line.cells if cell)
    twice = [rows[0], replace(rows[0], name="the same again")]
    assert not any(cell.best for line in table_2(twice).lines for cell in line.cells if cell)


def test_other_settings_stand_in_table_2_where_the_papers_is_not_there(rows):
    others = [row for row in rows if row.name == "mERE, layers 1-3"]
    assert main_rows(others) == others


def test_table_3_and_the_sweep_of_k(rows):
    table = table_3(rows)
    assert [line.name for line in table.lines] == [
        *("mERE (2 seeds)", "by characters", "paper", "mERE, layers 1-3", "by characters", "paper")
    ]
    assert [line.cells[0].value for line in table.lines if line.paper] == [77.9, 77.5]
    sweep = table_k(rows)
    assert list(sweep.columns) == ["k = 1", "k = 3", "k = 6"]
    assert [line.name for line in sweep.lines] == ["mERE", "by characters", "paper"]
    assert [cell.value for cell in sweep.lines[2].cells] == [77.6, 77.87, 77.74]
    assert all(a.value > b.value for a, b in zip(sweep.lines[0].cells, sweep.lines[1].cells, strict=True))


def test_all_scores_are_those_of_the_evaluations(rows):
    table = all_scores(rows)
    assert [line.name for line in table.lines][:2] == ["mBERT", "mERE (2 seeds)"] and len(table.lines) == len(rows)
    scores = rows[0].results[0].scores
    wanted = [scores["average"][metric] for metric in METRICS]
    wanted += [scores[f"without_no_relation{ending}"]["average"]["f1"] for ending in ("", "_characters")]
    wanted += [scores["pooled"][metric] for metric in ("triple", "triple_characters")]
    assert [cell.value for cell in table.lines[0].cells] == wanted and len(SCORES) == len(wanted)
    assert all(cell.beside.startswith("±") for cell in table.lines[1].cells)
    title, *_ = format_table(table).splitlines()[1:]
    assert "  triple  " in title and "  triple characters  " in title and "  head characters  " in title


def test_what_is_lacking_is_said(rows):
    few = [row for row in rows if row.paper == "mBERT"]
    for table in (table_3(few), table_k(few)):
        assert not table.lines and table.note.startswith("Not shown: ")
        assert table.note in format_table(table)


def test_text_has_every_figure(rows):
    table = table_2(rows)
    text = format_table(table)
    assert max(map(len, text.splitlines()[:-1])) < 120
    for line in table.lines:
        assert line.name in text
        assert all(f"{cell.value:.1f}" in text and cell.beside in text for cell in line.cells if cell)


def test_the_papers_averages_are_the_means_of_its_languages():
    for name, row in PAPER["rows"].items():
        values = [value for language, value in row.items() if language != "AVG" and value is not None]
        assert row["AVG"] == pytest.approx(sum(values) / len(values), abs=0.06), name


def test_cells_never_run_together():
    wide = Cell(100.0, "100.0–100.0")
    table = Table("title", "note", ["a", "a column of many letters"], [Line("a name of many letters", [wide, wide])])
    _, columns, values, beside, _ = format_table(table).splitlines()
    assert [part.strip() for part in columns.split("  ") if part.strip()] == ["a", "a column of many letters"]
    assert values.split() == [*["a", "name", "of", "many", "letters"], "100.0", "100.0"]
    assert beside.split() == ["100.0–100.0"] * 2
    assert len({len(line) for line in (columns, values, beside)}) == 1
