"""Tables 2 and 3 and the sweep of k, with the paper's scores below the runs'; and all scores of all rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mere_ds.columns import align
from mere_ds.corpus.languages import sort_languages
from mere_ds.evaluation.intervals import LEVEL, spread
from mere_ds.evaluation.metrics import METRICS
from mere_ds.evaluation.report.paper import paper_beside
from mere_ds.evaluation.report.rows import PAPERS_SETTING, layers_label
from mere_ds.evaluation.report.runs import Row, have_many, sweep

AVERAGE = "AVG"


@dataclass(frozen=True)
class Cell:
    value: float
    beside: str = ""
    """The uncertainty: an interval or the spread over seeds."""
    best: bool = False


@dataclass(frozen=True)
class Line:
    name: str
    cells: Sequence[Cell | None]
    paper: bool = False
    """Whether these are the paper's scores."""


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    columns: Sequence[str]
    lines: Sequence[Line]
    """Empty if runs for the table are missing; `note` then says which."""


KINDS = {"": "triple", "by characters": "triple_characters"}
"""The lines of a row: triple F1 by tokens, under the row's own name, and by characters."""

LACKING_K = "Not shown: this needs a mERE run evaluated with several k (mere-ds evaluate RUN --k=1,2,...)."


def main_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows of Table 2: without those of Figure 6 and Table 3, if there is also a row with the paper's setting."""
    rows = list(rows)
    usual = {row.paper for row in rows if not _is_swept(row)}
    return [row for row in rows if not _is_swept(row) or row.paper not in usual]


def _is_swept(row: Row) -> bool:
    return any(name in row.knobs and row.knobs[name] != usual for name, usual in PAPERS_SETTING.items())


def languages_of(rows: Iterable[Row]) -> list[str]:
    """All languages in which a row was scored, in the paper's order."""
    return sort_languages({x for row in rows for result in row.results for x in result.scores["languages"]})


def table_2(rows: Iterable[Row]) -> Table:
    rows = main_rows(rows)
    paper, note = paper_beside(rows)
    papers = {row.paper: paper["rows"].get(row.paper) for row in rows}
    return Table("Table 2: systems", f"{_beside_note(rows)} {note}", *_by_language(rows, papers, lambda row: row.paper))


def _beside_note(rows: Iterable[Row]) -> str:
    what = "over sets, by tokens" if have_many(rows) else "by tokens (comparable with the paper)"
    return (
        f"Triple F1 in percent, {what} and, below, by characters. Beside it is, with one seed, the {LEVEL} % bootstrap "
        "interval over sentences; with several seeds, the score is their mean and ± their standard deviation. Bold: "
        "the best of these runs."
    )


def table_3(rows: Iterable[Row]) -> Table:
    title = "Table 3: layers of the sub-modules"
    rows = sorted((row for row in rows if row.paper == "mERE"), key=lambda row: row.knobs["submodule_layers"])
    if len({_layers(row) for row in rows}) < 2:
        return Table(title, "Not shown: this needs mERE runs with at least two values of --submodule_layers.", (), ())
    paper, note = paper_beside(rows)
    papers = {name: {AVERAGE: average} for name, average in paper["layers"].items()}
    return Table(title, f"{_beside_note(rows)} {note}", *_by_language(rows, papers, _layers))


def _layers(row: Row) -> str:
    return layers_label(row.knobs["submodule_layers"])


def sweep_of(rows: Iterable[Row], metric: str = "triple") -> dict[int, dict]:
    """`{"mean", "deviation"}` over seeds of average triple F1, by k, of the first mERE row evaluated with several k;
    {} if there is none."""
    for row in (row for row in main_rows(rows) if row.paper == "mERE"):
        sweeps = [sweep(run, metric) for result in row.results for run in result.runs]
        shared = set.intersection(*map(set, sweeps))
        if len(shared) > 1:
            return {k: spread([by_k[k] for by_k in sweeps]) for k in sorted(shared)}
    return {}


def table_k(rows: Iterable[Row]) -> Table:
    title = "Sub-modules used: k"
    by_k = sweep_of(rows)
    if not by_k:
        return Table(title, LACKING_K, (), ())
    lines = []
    for name, metric in KINDS.items():
        values = sweep_of(rows, metric).values()
        best = _best(values)
        lines.append(
            Line(name or "mERE", [Cell(v["mean"], deviation_text(v["deviation"]), v["mean"] == best) for v in values])
        )
    paper, beside = paper_beside(rows)
    if paper["top_k"]:
        lines.append(_paper_line([paper["top_k"].get(str(k)) for k in by_k]))
    note = (
        "Average triple F1 in percent, spans by tokens and by characters; ± the standard deviation over seeds. "
        f"{beside}"
    )
    return Table(title, note, [f"k = {k}" for k in by_k], lines)


def _average_of(metric: str) -> Callable[[dict], float | None]:
    return lambda s: s["average"].get(metric)


WITHOUT_NO_RELATION: dict[str, Callable[[dict], float | None]] = {
    "no NA": lambda s: s["without_no_relation"]["average"].get("f1"),
    "no NA characters": lambda s: s["without_no_relation_characters"]["average"].get("f1"),
}
"""Scores that only runs of one triple a sentence have."""
SCORES: dict[str, Callable[[dict], float | None]] = {
    **{metric.replace("_", " "): _average_of(metric) for metric in METRICS},
    **WITHOUT_NO_RELATION,
    "pooled": lambda s: s["pooled"].get("triple"),
    "pooled characters": lambda s: s["pooled"].get("triple_characters"),
}


def all_scores(rows: Iterable[Row]) -> Table:
    """All rows with all scores."""
    rows = list(rows)
    shown = {name: score for name, score in SCORES.items() if not (have_many(rows) and name in WITHOUT_NO_RELATION)}
    no_relation = "" if have_many(rows) else "no NA: triples without no_relation; "
    note = (
        "F1 in percent, averaged over languages. characters: spans compared by characters instead of tokens; "
        f"{no_relation}pooled: triples of all sentences together; ±: standard deviation over seeds."
    )
    lines = [
        Line(
            row.name + seeds_of(row),
            [Cell(v["mean"], deviation_text(v["deviation"])) if v else None for v in map(row.mean, shown.values())],
        )
        for row in rows
    ]
    return Table("All scores", note, list(shown), lines)


def _by_language(
    rows: list[Row], papers: Mapping[str, dict | None], key: Callable[[Row], str]
) -> tuple[list[str], list[Line]]:
    """Columns and lines: average and languages of each row, with `papers[key(row)]` below the last row of that key."""
    languages = languages_of(rows)
    best = {
        metric: [_best(row.triple(language, metric) for row in rows) for language in (None, *languages)]
        for metric in KINDS.values()
    }
    lines = []
    for place, row in enumerate(rows):
        for name, metric in KINDS.items():
            cells = [
                Cell(value["mean"], _beside(row, language, value, metric), value["mean"] == top) if value else None
                for language, top in zip((None, *languages), best[metric], strict=True)
                for value in [row.triple(language, metric)]
            ]
            lines.append(Line(name or row.name + seeds_of(row), cells))
        paper = papers.get(key(row))
        if paper and all(key(other) != key(row) for other in rows[place + 1 :]):
            lines.append(_paper_line([paper.get(column) for column in (AVERAGE, *languages)]))
    return [AVERAGE, *languages], lines


def _best(values: Iterable[dict | None]) -> float | None:
    """The highest mean; None if all are equal, so that none is highlighted."""
    means = {value["mean"] for value in values if value}
    return max(means) if len(means) > 1 else None


def _paper_line(values: Iterable[float | None]) -> Line:
    return Line("paper", [None if value is None else Cell(value) for value in values], paper=True)


def seeds_of(row: Row) -> str:
    """What to add to a row's name if it has several."""
    return f" ({len(row.results)} seeds)" if len(row.results) > 1 else ""


def _beside(row: Row, language: str | None, value: dict, metric: str) -> str:
    if len(row.results) > 1:
        return deviation_text(value["deviation"])
    intervals = row.results[0].scores[f"intervals{metric.removeprefix('triple')}"]
    low, high = intervals["languages"][language] if language else intervals["average"]
    return f"{low:.1f}–{high:.1f}"


def deviation_text(deviation: float | None) -> str:
    """What stands beside a mean over seeds."""
    return "" if deviation is None else f"±{deviation:.1f}"


def format_table(table: Table) -> str:
    """The table as text: each line of scores is followed by a line with their uncertainties."""
    if not table.lines:
        return f"{table.title}\n{table.note}"
    grid = [["", *table.columns]]
    for line in table.lines:
        grid.append([line.name, *(f"{c.value:.1f}" if c else "-" for c in line.cells)])
        if any(c and c.beside for c in line.cells):
            grid.append(["", *(c.beside if c else "" for c in line.cells)])
    return "\n".join([table.title, align(grid), table.note])
