"""What comes out of a plan: the report of all its runs, and the table asked for as text."""

from mere_ds.evaluation.report.making import make_report
from mere_ds.evaluation.report.runs import Row, load_rows
from mere_ds.evaluation.report.tables import AVERAGE, Cell, Line, Table, format_table, table_2, table_3, table_k
from mere_ds.reproduction.place import Place
from mere_ds.reproduction.plan import EVERYTHING, Plan


def write_report(target: str, plan: Plan, place: Place) -> str:
    """Write OUT/report and the target's tables as text, OUT/table2.txt and the like; the latter's text."""
    runs = [str(place.run(job.name).root) for job in plan.jobs if job.name not in plan.left_out]
    page = make_report(runs, str(place.out / "report"))
    text = text_of(target, load_rows(runs))
    path = place.out / f"{target.replace(' ', '')}.txt"
    path.write_text(text + "\n", encoding="utf-8")
    return f"{text}\n\nreport: {page}; this text: {path}"


def text_of(target: str, rows: list[Row]) -> str:
    """What a target shows, in figures."""
    own = {"table 3": [table_3], "sweep T": [table_3], "sweep k": [table_k], "figure 6": [_averages]}
    own[EVERYTHING] = [table_2, table_3, table_k, _averages]
    return "\n\n".join(format_table(table(rows)) for table in own.get(target, [table_2]))


def _averages(rows: list[Row]) -> Table:
    """One figure a row, whatever it varies."""
    lines = [Line(row.name, [_cell(mean)]) for row in rows if (mean := row.triple(None))]
    return Table("Average triple F1 in percent", "± is the standard deviation over seeds.", [AVERAGE], lines)


def _cell(mean: dict) -> Cell:
    return Cell(mean["mean"], "" if mean["deviation"] is None else f"±{mean['deviation']:.1f}")
