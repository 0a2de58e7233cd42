"""Figures 3 to 8 of the paper, each drawn if the report has the rows for it.

With several seeds, bars and points are means and error bars are standard deviations.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from mere_ds.corpus.languages import sort_languages
from mere_ds.evaluation.report import plots
from mere_ds.evaluation.report.paper import paper_beside
from mere_ds.evaluation.report.runs import Row, have_many
from mere_ds.evaluation.report.tables import LACKING_K, languages_of, main_rows, sweep_of


@dataclass(frozen=True)
class Drawing:
    """A figure of the report."""

    name: str
    """The name of its file, such as figure3."""
    title: str
    note: str
    """What it shows; if `plot` is None, which runs are missing."""
    plot: Figure | None = None
    rows: tuple[Row, ...] = ()
    """The rows whose scores it shows."""


def draw_all(rows: Iterable[Row]) -> list[Drawing]:
    """Every figure, drawn or with a note on which runs are missing."""
    rows = list(rows)
    return [draw(rows) for draw in (figure_3, figure_4, figure_5, figure_6, figure_7, figure_8, figure_k)]


def figure_3(rows: list[Row]) -> Drawing:
    title = "Figure 3: relation and entity pair"
    shown = _wanted(rows, "mERE", "mERE-LS-LA") or main_rows(rows)[:1]
    series = {f"{row.name}, {metric}": _by_language(row, metric) for row in shown for metric in ("relation", "pair")}
    return Drawing(
        "figure3", title, _shown("F1 by language, spans by tokens", shown), plots.bars(series, "F1"), tuple(shown)
    )


def figure_4(rows: list[Row]) -> Drawing:
    row = (_wanted(rows, "mERE") or main_rows(rows))[0]
    languages = languages_of([row])
    labels = sorted({label for r in row.results for x in r.scores["labels"].values() for label in x})
    values_RC = np.array([[_of_label(row, language, label) for language in languages] for label in labels])
    what, whose = ("triples by characters", "triples") if have_many([row]) else ("relation classification", "sentences")
    note = _shown(f"F1 of {what} by label and language (empty: no such {whose})", [row])
    note += f" The numbers beside the names count test {whose}."
    gold = row.results[0].scores["labels"]
    gold_RC = np.array([[gold.get(x, {}).get(label, {}).get("gold", 0) for x in languages] for label in labels])
    of_label = [f"{label} ({n})" for label, n in zip(labels, gold_RC.sum(1), strict=True)]
    of_language = [f"{language}\n{n}" for language, n in zip(languages, gold_RC.sum(0), strict=True)]
    plot = plots.heat_map(values_RC, of_label, of_language, 100, 0, "F1")
    return Drawing("figure4", "Figure 4: relation labels", note, plot, (row,))


def figure_5(rows: list[Row]) -> Drawing:
    row = (_wanted(rows, "mERE") or main_rows(rows))[0]
    series = {metric: _by_language(row, metric) for metric in ("head", "tail")}
    note = _shown("F1 by language, spans by tokens", [row])
    return Drawing("figure5", "Figure 5: head and tail entities", note, plots.bars(series, "F1"), (row,))


def figure_6(rows: list[Row]) -> Drawing:
    title = "Figure 6: sentences that LA sees together"
    shown = [row for row in rows if row.paper == "mERE-LS" and "concatenate" in row.knobs]
    if len({row.knobs["concatenate"] for row in shown}) < 2:
        return Drawing(
            "figure6", title, "Not shown: this needs mERE-LS runs with at least two values of --concatenate."
        )
    series: dict[str, dict[float, plots.Value]] = {}
    for row in shown:
        settings = re.sub(r", s = \d+", "", row.name)  # if other settings than s vary, draw a line for each
        if value := row.triple(None):
            series.setdefault(settings, {})[row.knobs["concatenate"]] = _value(value)
    plot = plots.lines(series, "concatenated sentences s", "average triple F1")
    return Drawing("figure6", title, "Average triple F1 by s.", plot, tuple(shown))


def figure_7(rows: list[Row]) -> Drawing:
    title = "Figure 7: with and without the selection of sub-modules"
    shown = _wanted(rows, "mERE14", "mERE", "mERE-LS-LA")
    if len(shown) < 2:
        return Drawing("figure7", title, "Not shown: this needs runs of at least two of mERE14, mERE and mERE-LS-LA.")
    series = {row.name: _by_language(row, "triple") for row in shown}
    note = _shown("Triple F1 by language, spans by tokens", shown)
    return Drawing("figure7", title, note, plots.bars(series, "triple F1"), tuple(shown))


def figure_8(rows: list[Row]) -> Drawing:
    title = "Figure 8: which sub-modules a language selects"
    for row in main_rows(rows):
        result = row.results[0]
        router = result.runs[0].content["router"]
        if row.paper == "mERE" and router:
            languages = sort_languages(router["languages"])
            columns = [router["languages"].index(language) for language in languages]
            plot = plots.router_heat_map(np.array(router["probabilities"])[columns].T, languages)
            return Drawing("figure8", title, f"Selection probabilities (eq. 5) of {result.name}.", plot, (row,))
    return Drawing("figure8", title, "Not shown: this needs a mERE run with stage two.")


def figure_k(rows: list[Row]) -> Drawing:
    title = "Average triple F1 by k"
    sweep = sweep_of(rows)
    if not sweep:
        return Drawing("figure_k", title, LACKING_K)
    series: dict[str, dict[float, plots.Value]] = {"mERE": {k: _value(value) for k, value in sweep.items()}}
    paper, note = paper_beside(rows)
    if paper["top_k"]:
        series["paper"] = {int(k): (value, 0.0) for k, value in paper["top_k"].items()}
    plot = plots.lines(series, "sub-modules that run, k", "average triple F1")
    return Drawing("figure_k", title, note, plot, tuple(_wanted(rows, "mERE")))


def _wanted(rows: list[Row], *names: str) -> list[Row]:
    """The row of Table 2 of each of these systems that the report has."""
    found = ([row for row in main_rows(rows) if row.paper == name] for name in names)
    return [rows[0] for rows in found if rows]


def _shown(what: str, rows: list[Row]) -> str:
    """A figure's note; spans are compared by tokens, as in the paper."""
    names = (f"{row.name} (mean of {len(row.results)} seeds)" if len(row.results) > 1 else row.name for row in rows)
    return f"{what}: {', '.join(names)}."


def _by_language(row: Row, metric: str) -> dict[str, plots.Value]:
    found = {x: row.triple(x, metric) for x in languages_of([row])}
    return {language: _value(value) for language, value in found.items() if value}


def _value(value: dict) -> plots.Value:
    return value["mean"], value["deviation"] or 0.0


def _of_label(row: Row, language: str, label: str) -> float:
    value = row.mean(lambda s: s["labels"].get(language, {}).get(label, {}).get("f1"))
    return value["mean"] if value else np.nan
